// A connection to a hub. It reconnects until it is stopped or the hub has no more events for it.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { Meant } from './subscription.js' */

import { Parser } from './parser.js';
import { Secret } from './secret.js';

/** Interval of heartbeats, and time without any bytes after which the connection counts as lost. */
const HEARTBEAT_S = 15;
export const SILENCE_MS = 45_000;
/** Delay of the first reconnect if the hub has named none, and upper bound of the backoff. */
const RETRY_MS = 2_000;
const MAX_RETRY_MS = 30_000;
/** Bounds of the delays that a hub may ask for. */
const [LEAST_MS, MOST_MS] = [100, 3_600_000];
/** Maximum length of a URL. Proxies may refuse longer ones, so longer lists of streams are posted. */
const MAX_URL_CHARS = 2_000;

/**
 * @typedef {object} Sink
 * @property {(events: FanfareEvent[], place: string, bytes: number) => void} events Receives events
 *   up to `place` and their approximate size in memory.
 * @property {(state: State, place: string | null) => void} told Receives a state; `place` is set if
 *   the state moved it.
 * @property {() => Promise<void>} ready Awaited before more is read.
 * @property {() => void} done Called when everything was read, if `follow` is false.
 * @property {() => void} [alive] Called when bytes arrive that do not move `place`.
 *
 * Reason for which an attempt ended, if another one may follow.
 *
 * @typedef {{ reason: string, limit?: string, detail?: string, after?: number }} Lost
 */

export class Connection {
  /**
   * @param {Meant} options
   * @param {string[]} streams
   * @param {{ follow: boolean, secret: Secret }} how
   * @param {Sink} sink
   */
  constructor(options, streams, { follow, secret }, sink) {
    this.options = options;
    this.secret = secret;
    this.streams = streams;
    this.follow = follow;
    this.sink = sink;
    /** Id up to which everything was received. @type {string | null} */
    this.place = null;
    this.isOpen = false;
    this.isStopped = false;
    this.abort = new AbortController();
    this.retry = RETRY_MS * (0.5 + Math.random());
    /** Set by `reconnect`: skips the delay (`isForced`), reports no `connecting` (`isQuiet`). */
    this.isForced = false;
    this.isQuiet = false;
    /** Ends a wait. */
    this.wake = () => {};
  }

  stop() {
    this.isStopped = true;
    this.abort.abort();
    this.wake();
  }

  /**
   * Reconnects without a delay, and with other streams if they are given.
   *
   * @param {string[]} [streams]
   */
  reconnect(streams) {
    this.streams = streams ?? this.streams;
    this.isForced = true;
    this.isQuiet = streams !== undefined;
    this.abort.abort();
    this.wake();
  }

  async run() {
    for (let failed = 0; !this.isStopped; ) {
      this.isForced = false;
      if (globalThis.navigator?.onLine === false) {
        this.tell({ state: 'offline' });
        await this.wait(MAX_RETRY_MS);
      }
      if (!this.isQuiet) this.tell({ state: 'connecting', attempt: failed });
      this.isQuiet = false;
      if (this.isStopped) return;
      const began = Date.now();
      const why = await this.once();
      if (this.isStopped) return;
      if (why === 'done') return this.sink.done();
      if ('state' in why) return this.tell(why);
      if (this.isForced) continue;
      // A connection that held for longer than `retry` resets the count of failures.
      failed = this.isOpen && Date.now() - began > this.retry ? 0 : failed + 1;
      const delay = Math.round(this.delay(failed, why.after));
      const { reason, limit, detail } = why;
      this.tell({ state: 'waiting', reason, limit, detail, delay, attempt: failed });
      await this.wait(delay);
    }
  }

  /**
   * @param {number} failed
   * @param {number | undefined} after
   */
  delay(failed, after) {
    const grown = Math.min(MAX_RETRY_MS, this.retry * 2 ** (failed - 1)) * (0.5 + Math.random() / 2);
    const asked = after === undefined ? 0 : Math.min(after, MOST_MS) + Math.random() * Math.max(1_000, after / 5);
    // The hub has already jittered its `retry` over all clients that must come back.
    if (failed <= 1) return asked || this.retry;
    return Math.min(MOST_MS, Math.max(asked, grown));
  }

  /** @param {number} ms */
  async wait(ms) {
    if (this.isStopped) return;
    /** @type {() => void} */
    let wake = () => {};
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = wake = () => (clearTimeout(timer), resolve(undefined));
      globalThis.addEventListener?.('online', wake);
    });
    globalThis.removeEventListener?.('online', wake);
  }

  /**
   * @param {State} state
   * @param {string | null} [place]
   */
  tell(state, place = null) {
    if (!this.isStopped) this.sink.told(state, place);
  }

  /**
   * Makes one attempt and returns how it ended.
   *
   * @returns {Promise<'done' | State | Lost>}
   */
  async once() {
    this.isOpen = false;
    this.abort = new AbortController();
    const { secret, options } = this;
    let shown;
    try {
      shown = await secret.get();
    } catch (error) {
      return { reason: 'credential', detail: String(error) };
    }
    if (this.isStopped) return 'done';
    if ((options.token || options.ticket) && !shown) return { state: 'expired', code: 'token_expired' };

    const watch = new Watch(SILENCE_MS, () => this.abort.abort('silent'));
    try {
      const { url, ...init } = this.request(shown);
      const response = await (options.fetch ?? fetch)(url, { ...init, signal: this.abort.signal });
      watch.seen();
      if (response.status === 204) {
        // With the header, a request without `follow` is up to date; without it, the stream has ended.
        const place = response.headers.get('last-event-id');
        this.place = place ?? this.place;
        return place === null ? { state: 'ended' } : 'done';
      }
      if (response.status !== 200) return await this.refused(response);
      secret.wasTaken = true;
      const kind = response.headers.get('content-type') ?? '';
      if (!kind.startsWith('text/event-stream') || !response.body) {
        const detail = `expected text/event-stream, got ${kind || 'no content type'}; is \`url\` a hub?`;
        return { state: 'refused', status: 200, detail };
      }
      return await this.read(response.body, watch);
    } catch (error) {
      const isSilent = this.abort.signal.reason === 'silent';
      return isSilent ? { reason: 'silent' } : { reason: 'lost', detail: String(error) };
    } finally {
      watch.end();
      this.abort.abort();
    }
  }

  /**
   * @param {string | null} secret
   * @returns {RequestInit & { url: URL }}
   */
  request(secret) {
    const { options } = this;
    const url = new URL('events', options.url);
    const query = url.searchParams;
    query.set('envelope', 'true');
    query.set('refusal', 'status');
    query.set('heartbeat', `${HEARTBEAT_S}s`);
    if (!this.follow) query.set('follow', 'false');
    if (this.place !== null) query.set('last_event_id', this.place);
    else if (options.last !== undefined) query.set('last', String(options.last));
    else if (isId(options.from)) query.set('last_event_id', String(options.from));
    else query.set('from', options.from ?? 'now');
    if (options.ticket) query.set('ticket', String(secret));
    /** @type {Record<string, string>} */
    const headers = { ...options.headers, Accept: 'text/event-stream' };
    if (options.token) headers.Authorization = `Bearer ${secret}`;
    const { credentials = 'same-origin' } = options;
    const init = { headers, credentials, cache: /** @type {const} */ ('no-store') };

    const long = new URL(url);
    for (const stream of this.streams) long.searchParams.append('stream', stream);
    if (options.types) long.searchParams.set('types', options.types.join(','));
    if (long.href.length <= MAX_URL_CHARS) return { url: long, ...init };
    headers['Content-Type'] = 'application/json';
    const body = JSON.stringify({ stream: this.streams, types: options.types });
    return { url, method: 'POST', body, ...init };
  }

  /**
   * @param {Response} response
   * @returns {Promise<State | Lost>}
   */
  async refused(response) {
    const { status } = response;
    const text = await response.text();
    const said = attempt(() => JSON.parse(text), true) ?? {};
    const { code = undefined, limit = undefined, detail = text.slice(0, 200) || undefined } = Object(said);
    if (status === 401) {
      if (this.secret.spend()) return { reason: 'credential', detail, after: 0 };
      return { state: code === 'token_expired' ? 'expired' : 'refused', status, code, detail };
    }
    if (status < 500 && status !== 408 && status !== 425 && status !== 429) {
      return { state: 'refused', status, code, detail };
    }
    return { reason: code ?? 'status', limit, detail: detail ?? String(status), after: retryAfter(response) };
  }

  /**
   * @param {ReadableStream<Uint8Array>} body
   * @param {Watch} watch
   * @returns {Promise<'done' | State | Lost>}
   */
  async read(body, watch) {
    /** @type {FanfareEvent[]} */
    let events = [];
    let chars = 0;
    /** Reason that the hub gave for closing the connection. @type {Lost | null} */
    let ended = null;
    const flush = () => {
      const [batch, size] = [events, chars];
      [events, chars] = [[], 0];
      if (batch.length > 0 && !this.isStopped) this.sink.events(batch, String(this.place), 2 * size);
    };
    const parser = new Parser(({ type, data, lastEventId }) => {
      const said = JSON.parse(data);
      if (!type.startsWith('hub-')) {
        this.place = lastEventId;
        events.push(eventOf(lastEventId, said));
        chars += data.length;
        return;
      }
      flush();
      if (lastEventId) this.place = lastEventId;
      if (type === 'hub-error') ended = { reason: said.code, limit: said.limit };
      if (said.code === 'token_expired') this.secret.spend();
      for (const state of statesOf(type, said)) this.tell(state, lastEventId || null);
    });
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (this.isStopped || this.isForced) break;
      if (done) {
        if (!this.follow && !ended) return 'done';
        break;
      }
      watch.seen();
      this.isOpen = true;
      const before = this.place;
      try {
        parser.push(value);
      } finally {
        flush();
      }
      this.retry = Math.min(MOST_MS, Math.max(LEAST_MS, parser.retry ?? this.retry));
      if (this.place === before) this.sink.alive?.();
      // The silence timeout does not run while the consumer is not ready.
      watch.end();
      await this.sink.ready();
      watch.seen();
    }
    const why = ended ?? { reason: 'lost' };
    return this.secret.isSpent ? { ...why, after: 0 } : why;
  }
}

/** Timer that acts once nothing was seen for `ms`. */
class Watch {
  /**
   * @param {number} ms
   * @param {() => void} act
   */
  constructor(ms, act) {
    this.ms = ms;
    this.act = act;
    this.seen();
  }

  seen() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.act, this.ms);
  }

  end() {
    clearTimeout(this.timer);
  }
}

/** @param {string | undefined} from */
function isId(from) {
  return /^[0-9a-f]{8}-[0-9a-f]{16}$/.test(from ?? '');
}

/**
 * @param {string} id
 * @param {any} envelope
 * @returns {FanfareEvent}
 */
function eventOf(id, { stream, type, time, data }) {
  const streams = [stream].flat();
  return { id, stream: streams[0], streams, type, time, data };
}

/**
 * Returns the states that a control event of the hub stands for.
 *
 * @param {string} type
 * @param {any} said
 * @returns {State[]}
 */
function statesOf(type, { resume, requested, missed = null, first = null, stream, reason, ...said }) {
  const gap = { state: /** @type {const} */ ('gap'), missed, first };
  switch (type) {
    case 'hub-open': {
      const { from, session } = said;
      /** @type {State} */
      const live = { state: 'live', resume, requested, from, session, shared: null };
      if (resume === 'gap') return [live, gap];
      return resume === 'reset' ? [live, { state: 'reset', requested }] : [live];
    }
    case 'hub-gap': return [gap];
    case 'hub-end': return [{ state: 'stream-ended', stream, reason }];
    case 'hub-notice': return said.code === 'token_expires' ? [{ state: 'expiring', at: said.at }] : [];
    default: return [];
  }
}

/**
 * Returns the delay of the `Retry-After` header, in milliseconds (RFC 9110 §10.2.3).
 *
 * @param {Response} response
 */
function retryAfter(response) {
  const said = response.headers.get('retry-after');
  if (said === null) return undefined;
  const ms = /^\d+$/.test(said) ? Number(said) * 1_000 : Date.parse(said) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/**
 * Calls `act` and reports an error that it throws instead of passing it on.
 *
 * @template T
 * @param {() => T} act
 * @param {boolean} [isExpected] True if an error is not reported.
 * @returns {T | undefined}
 */
export function attempt(act, isExpected = false) {
  try {
    return act();
  } catch (error) {
    if (!isExpected) (globalThis.reportError ?? console.error)(error);
    return undefined;
  }
}
