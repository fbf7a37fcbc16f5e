// Runs of jobs: those that have ended, and the output of those that run.

import { request } from './hub.js';
import { summaryOf } from './row.js';

/** Periods in which ended runs are searched, one after the other. */
const SEARCH_PERIODS_MS = [86_400_000, 8 * 86_400_000];

/**
 * An ended run; `isSuccess` and `durationS` are unknown if its last event was removed.
 *
 * @typedef {{ name: string, last_time: string, events: number, outcome: string, isSuccess?: boolean, durationS?: number }} EndedRun
 */

/**
 * Returns the last ended runs of a job, the newest first. The name of a run begins with its start time and sorts by it.
 *
 * @param {string} job
 * @param {number} count
 * @param {AbortSignal} signal
 * @returns {Promise<EndedRun[]>}
 */
export async function fetchEndedRuns(job, count, signal) {
  for (const periodMs of SEARCH_PERIODS_MS) {
    const from = new Date(Date.now() - periodMs).toISOString().replace(/[-:]|\.\d+/g, '');
    const query = new URLSearchParams({ limit: '1000', prefix: `jobs.${job}.`, after: `jobs.${job}.${from}` });
    const { streams } = await request(`streams?${query}`, { signal });
    const ended = streams.filter((/** @type {any} */ stream) => stream.state === 'ended').slice(-count).reverse();
    if (ended.length === count || periodMs === SEARCH_PERIODS_MS.at(-1)) {
      return Promise.all(ended.map(async (/** @type {any} */ stream) => ({ ...stream, ...(await fetchOutcome(stream.name, signal)) })));
    }
  }
  return [];
}

/** @param {string} stream @param {string} types @param {AbortSignal} signal */
const fetchLast = (stream, types, signal) => request(`streams/${encodeURIComponent(stream)}/events?last=1&types=${types}&follow=false&format=text`, { signal });

/**
 * Returns the outcome of an ended run from its last event; only `ended` if that event was removed.
 *
 * @param {string} stream
 * @param {AbortSignal} signal
 */
async function fetchOutcome(stream, signal) {
  const { reason, code, duration_ms: durationMs } = Object(await fetchLast(stream, 'exit', signal));
  if (reason === undefined) return { outcome: 'ended' };
  return {
    outcome: reason === 'exited' ? `exited with ${code}` : reason.replaceAll('_', ' '),
    isSuccess: code === 0 || reason === 'stopped',
    ...(typeof durationMs === 'number' ? { durationS: durationMs / 1000 } : {}),
  };
}

/**
 * Returns the last line of a running run, and the share that is done if the line has a percentage.
 *
 * @param {string} stream
 * @param {AbortSignal} signal
 * @returns {Promise<{ line: string, share: number | null }>}
 */
export async function fetchProgress(stream, signal) {
  const data = await fetchLast(stream, 'log', signal);
  const line = data === null ? '' : summaryOf(/** @type {any} */ ({ type: 'log', data })).split('\n')[0];
  const percent = line.match(/(?:^|\D)(\d{1,3}(?:\.\d+)?) ?%/)?.[1];
  return { line, share: percent === undefined || Number(percent) > 100 ? null : Number(percent) / 100 };
}
