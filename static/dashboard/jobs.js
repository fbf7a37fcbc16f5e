// Page `Jobs`: starts, watches and stops the commands that the hub runs by name.

import { h, notify, replaceChildren } from './dom.js';
import { formatCount, formatTime } from './figures.js';
import { errorMessage, poll, request } from './hub.js';

const POLL_INTERVAL_MS = 2_000;
/** Number of ended runs that are shown for each job. */
const ENDED_RUNS = 5;
/** Periods in which ended runs are searched, one after the other. */
const SEARCH_PERIODS_MS = [86_400_000, 8 * 86_400_000];

const streamLink = (/** @type {string} */ stream, /** @type {string} */ name) => h('a', { href: `#/streams/${encodeURIComponent(stream)}?from=start` }, name);

/** @param {import('./main.js').Context} context */
export function jobs({ main, signal }) {
  const list = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Jobs'), list);
  const startRun = async (/** @type {string} */ name) => {
    try {
      const { stream } = await request(`jobs/${encodeURIComponent(name)}/runs`, { method: 'POST' });
      location.hash = `#/streams/${encodeURIComponent(stream)}?from=start`;
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };
  const stopRun = async (/** @type {string} */ name, /** @type {string} */ run) => {
    try {
      await request(`jobs/${encodeURIComponent(name)}/runs/${encodeURIComponent(run)}`, { method: 'DELETE' });
      notify('Stop requested.', 'good');
      await refresh();
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };

  /** Running runs of each job at the last request, and its ended runs. @type {Map<string, [string, any[]]>} */
  const runsByJob = new Map();
  let lastJson = '';
  const refresh = async () => {
    const { jobs } = await request('jobs', { signal });
    for (const { name, running } of jobs) {
      const runs = running.map((/** @type {any} */ { run }) => run).join();
      if (runsByJob.get(name)?.[0] !== runs) runsByJob.set(name, [runs, await fetchEndedRuns(name, signal)]);
    }
    // Draws only if something changed, so that no focus and no click is lost.
    const json = JSON.stringify([jobs, [...runsByJob]]);
    if (json === lastJson) return;
    lastJson = json;
    const focused = document.activeElement?.id;
    replaceChildren(list, jobs.length > 0 ? jobs.map((/** @type {any} */ job) => createCard(job)) : createHint());
    if (focused) document.getElementById(focused)?.focus();
  };
  /** @param {any} job */
  const createCard = ({ name, running, at_most: maxRuns }) => h('section', { class: 'card' },
    h('div', { class: 'bar' }, h('h2', {}, name),
      h('button', { type: 'button', class: 'main', id: `start-${name}`, 'aria-label': `Start ${name}`, disabled: running.length >= maxRuns, onclick: () => startRun(name) }, 'Start'),
      h('span', { class: 'muted' }, `${formatCount(running.length)} of ${formatCount(maxRuns)} at once`)),
    running.map((/** @type {any} */ { run, stream, since }) => h('div', { class: 'bar run' },
      streamLink(stream, run),
      h('span', { class: 'muted' }, `runs since ${formatTime(since)}`),
      h('button', { type: 'button', id: `stop-${run}`, 'aria-label': `Stop ${run}`, onclick: () => stopRun(name, run) }, 'Stop'))),
    (runsByJob.get(name)?.[1] ?? []).map((/** @type {any} */ stream) => h('div', { class: 'bar run' },
      streamLink(stream.name, stream.name.split('.').at(-1)),
      h('span', { class: stream.isSuccess === false ? 'bad' : 'muted' }, `${stream.outcome} at ${formatTime(stream.last_time)}, ${formatCount(stream.events)} events`))));
  poll(signal, POLL_INTERVAL_MS, refresh);
}

const createHint = () => [
  h('p', {}, 'No job is configured, or granted to you. A configuration file names them:'),
  h('pre', { class: 'command' }, '[job.backup]\ncommand = ["/usr/local/bin/backup", "--all"]\ntimeout = "2h"'),
];

/**
 * Returns the last ended runs of a job. The name of a run begins with its start time and sorts by it.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 */
async function fetchEndedRuns(name, signal) {
  for (const periodMs of SEARCH_PERIODS_MS) {
    const from = new Date(Date.now() - periodMs).toISOString().replace(/[-:]|\.\d+/g, '');
    const query = new URLSearchParams({ limit: '1000', prefix: `jobs.${name}.`, after: `jobs.${name}.${from}` });
    const { streams } = await request(`streams?${query}`, { signal });
    const ended = streams.filter((/** @type {any} */ stream) => stream.state === 'ended').slice(-ENDED_RUNS).reverse();
    if (ended.length === ENDED_RUNS || periodMs === SEARCH_PERIODS_MS.at(-1)) {
      return Promise.all(ended.map(async (/** @type {any} */ stream) => ({ ...stream, ...(await fetchOutcome(stream.name, signal)) })));
    }
  }
  return [];
}

/**
 * Returns the outcome of an ended run from its last event; only `ended` if that event was removed.
 *
 * @param {string} stream
 * @param {AbortSignal} signal
 */
async function fetchOutcome(stream, signal) {
  const exit = await request(`streams/${encodeURIComponent(stream)}/events?last=1&types=exit&follow=false&format=text`, { signal });
  const { reason, code } = Object(exit);
  if (reason === undefined) return { outcome: 'ended' };
  return { outcome: reason === 'exited' ? `exited with ${code}` : reason.replaceAll('_', ' '), isSuccess: code === 0 || reason === 'stopped' };
}
