// Reads stored events: those around an event, and those that a search of the hub finds.

import { HUB, requestLines } from './hub.js';

/** Periods before an event that are read for the events before it, one after the other. */
const PERIODS_MS = [5_000, 60_000, 600_000, 7_200_000, 86_400_000, 30 * 86_400_000];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/** Returns an event of a line; its streams may be a list. @param {any} line @returns {FanfareEvent} */
const toEvent = (line) => ({ ...line, stream: [line.stream].flat()[0], streams: [line.stream].flat() });

/**
 * Returns an event and up to `count` events of its stream before and after it, or none if it is no longer stored.
 *
 * @param {FanfareEvent} event
 * @param {number} count
 * @param {AbortSignal} signal
 * @returns {Promise<FanfareEvent[]>}
 */
export async function fetchContext({ id, stream, time }, count, signal) {
  /** @type {FanfareEvent[]} */
  let events = [];
  for (const periodMs of PERIODS_MS) {
    const from = new Date(Date.parse(time) - periodMs).toISOString();
    const query = new URLSearchParams({ from, follow: 'false', format: 'ndjson', control: 'off' });
    events = [];
    let position = -1;
    let isRemoved = false;
    await requestLines(`streams/${encodeURIComponent(stream)}/events?${query}`, signal, (line) => {
      events.push(toEvent(line));
      if (line.id === id) position = events.length - 1;
      // Events that are further away are not kept.
      if (position < 0 && events.length > count) events.shift();
      isRemoved = position < 0 && line.id > id;
      return isRemoved || (position >= 0 && events.length - position > count);
    });
    if (isRemoved) return [];
    if (position >= count) break;
  }
  return events;
}

/**
 * Reads the figures of the hub that it has kept: those of the last hour.
 *
 * @param {AbortSignal} signal
 * @param {(timeS: number, stats: any) => void} onStats
 * @param {string} stream
 */
export async function fetchHubStats(signal, onStats, stream = 'hub.stats') {
  const query = new URLSearchParams({ from: '1h', follow: 'false', format: 'ndjson', control: 'off' });
  await requestLines(`streams/${stream}/events?${query}`, signal, ({ data }) => {
    onStats(Date.parse(data.timestamp) / 1000, data);
    return false;
  });
}

/**
 * Progress of a search.
 *
 * @typedef {{ scanned: number, matched: number, time?: string, isDone: boolean, isComplete: boolean, next: string | null }} Progress
 */

/**
 * Searches the history of streams. Aborting the signal ends the search in the hub as well.
 *
 * @param {object} options
 * @param {string[]} options.streams
 * @param {string} options.filter
 * @param {string} options.from Start of the search.
 * @param {string | null} options.after Id of the event to continue after, instead of the start.
 * @param {number} options.limit
 * @param {AbortSignal} options.signal
 * @param {(events: FanfareEvent[], progress: Progress) => void} options.onResult
 */
export async function searchHistory({ streams, filter, from, after, limit, signal, onResult }) {
  const url = new URL('search', HUB);
  for (const stream of streams) url.searchParams.append('stream', stream);
  url.searchParams.set('q', filter);
  if (after === null) url.searchParams.set('from', from);
  else url.searchParams.set('last_event_id', after);
  url.searchParams.set('limit', String(limit));
  /** @type {Progress} */
  let progress = { scanned: 0, matched: 0, isDone: false, isComplete: false, next: null };
  /** @type {FanfareEvent[]} */
  let found = [];
  await requestLines(url.href, signal, ({ type, data, ...line }) => {
    if (type === 'hub-progress' || type === 'hub-done') {
      progress = { ...progress, ...data, isDone: type === 'hub-done', isComplete: data.complete === true, next: data.next ?? null };
      onResult(found, progress);
      found = [];
    } else if (!String(type).startsWith('hub-')) {
      found.push(toEvent({ type, data, ...line }));
    }
    return false;
  }, () => {
    if (found.length > 0) onResult(found, progress);
    found = [];
  });
  if (!progress.isDone) throw new Error('the connection was lost before the end of the search');
}
