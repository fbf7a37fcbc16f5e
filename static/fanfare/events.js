// Requests of events, and the forms in which the hub sends them.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './options.js' */

/** Requested interval of heartbeats. */
const HEARTBEAT_S = 15;
/** Maximum length of a URL. Proxies may refuse longer ones, so longer lists of streams are posted. */
const MAX_URL_CHARS = 2_000;

/**
 * Returns the URL and the options of a request for events.
 *
 * @param {NormalizedOptions} options
 * @param {object} selection
 * @param {string[]} selection.streams
 * @param {string | null} selection.position Id to start after; otherwise the options say where to start.
 * @param {boolean} selection.follow False ends the response with the newest event.
 * @param {string | null} credential
 * @returns {RequestInit & { url: URL }}
 */
export function buildRequest(options, { streams, position, follow }, credential) {
  const url = new URL('events', options.url);
  const query = url.searchParams;
  query.set('envelope', 'true');
  query.set('refusal', 'status');
  query.set('heartbeat', `${HEARTBEAT_S}s`);
  if (!follow) query.set('follow', 'false');
  if (position !== null) query.set('last_event_id', position);
  else if (options.last !== undefined) query.set('last', String(options.last));
  else if (isEventId(options.from)) query.set('last_event_id', String(options.from));
  else query.set('from', options.from ?? 'now');
  if (options.ticket) query.set('ticket', String(credential));
  /** @type {Record<string, string>} */
  const headers = { ...options.headers, Accept: 'text/event-stream' };
  if (options.token) headers.Authorization = `Bearer ${credential}`;
  const { credentials = 'same-origin' } = options;
  const init = { headers, credentials, cache: /** @type {const} */ ('no-store') };

  const fullUrl = new URL(url);
  for (const stream of streams) fullUrl.searchParams.append('stream', stream);
  if (options.types) fullUrl.searchParams.set('types', options.types.join(','));
  if (fullUrl.href.length <= MAX_URL_CHARS) return { url: fullUrl, ...init };
  headers['Content-Type'] = 'application/json';
  const body = JSON.stringify({ stream: streams, types: options.types });
  return { url, method: 'POST', body, ...init };
}

/** Returns true if the option `from` is the id of an event. @param {string | undefined} from */
function isEventId(from) {
  return /^[0-9a-f]{8}-[0-9a-f]{16}$/.test(from ?? '');
}

/**
 * Returns the event of an envelope.
 *
 * @param {string} id
 * @param {any} envelope
 * @returns {FanfareEvent}
 */
export function toEvent(id, { stream, type, time, data }) {
  const streams = [stream].flat();
  return { id, stream: streams[0], streams, type, time, data };
}

/**
 * Returns the states that a control event of the hub leads to.
 *
 * @param {string} type
 * @param {any} payload
 * @returns {State[]}
 */
export function toStates(type, { resume, requested, missed = null, first = null, stream, reason, ...rest }) {
  const gap = { state: /** @type {const} */ ('gap'), missed, first };
  switch (type) {
    case 'hub-open': {
      const { from, session, granted = null, denied = [] } = rest;
      /** @type {State} */
      const live = { state: 'live', resume, requested, from, session, granted, denied, shared: null };
      if (resume === 'gap') return [live, gap];
      return resume === 'reset' ? [live, { state: 'reset', requested }] : [live];
    }
    case 'hub-gap': return [gap];
    case 'hub-end': return [{ state: 'stream-ended', stream, reason }];
    case 'hub-notice': return rest.code === 'token_expires' ? [{ state: 'expiring', at: rest.at }] : [];
    default: return [];
  }
}
