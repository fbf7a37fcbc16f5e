// A connection to a hub. It reconnects until it is stopped or the hub has no more events for it.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './subscription.js' */

import { Parser } from './parser.js';
import { Secret } from './secret.js';

/** Interval of heartbeats that the hub is asked for. */
const HEARTBEAT_S = 15;
/** Time without any bytes after which the connection counts as lost. */
export const SILENCE_TIMEOUT_MS = 45_000;
/** Delay of the first reconnect if the hub has sent no `retry`. */
const DEFAULT_RETRY_MS = 2_000;
/** Maximum delay by backoff. */
const MAX_BACKOFF_MS = 30_000;
/** Minimum and maximum of the delays that a hub may ask for. */
const [MIN_RETRY_MS, MAX_RETRY_MS] = [100, 3_600_000];
/** Maximum length of a URL. Proxies may refuse longer ones, so longer lists of streams are posted. */
const MAX_URL_CHARS = 2_000;

/**
 * @typedef {object} ConnectionHandlers
 * @property {(events: FanfareEvent[], position: string, bytes: number) => void} onEvents Receives events
 *   up to `position` and their approximate size in memory.
 * @property {(state: State, position: string | null) => void} onState Receives a state; `position` is
 *   set if it has changed with the state.
 * @property {() => Promise<void>} waitUntilReady Awaited before more is read.
 * @property {() => void} onCaughtUp Called when everything was read, if `follow` is false.
 * @property {() => void} [onActivity] Called when bytes arrive that do not change `position`.
 *
 * Failure of an attempt after which another one may follow.
 *
 * @typedef {{ reason: string, limit?: string, detail?: string, retryAfterMs?: number }} RetryableFailure
 */

export class Connection {
  /**
   * @param {NormalizedOptions} options
   * @param {string[]} streams
   * @param {{ follow: boolean, secret: Secret }} mode
   * @param {ConnectionHandlers} handlers
   */
  constructor(options, streams, { follow, secret }, handlers) {
    this.options = options;
    this.secret = secret;
    this.streams = streams;
    this.follow = follow;
    this.handlers = handlers;
    /** Id of the last event that was received. @type {string | null} */
    this.position = null;
    this.isOpen = false;
    this.isStopped = false;
    this.abortController = new AbortController();
    this.retryMs = DEFAULT_RETRY_MS * (0.5 + Math.random());
    /** Set by `reconnect`: skips the delay (`isForced`), reports no `connecting` (`isQuiet`). */
    this.isForced = false;
    this.isQuiet = false;
    /** Ends `sleep` early. */
    this.wake = () => {};
  }

  stop() {
    this.isStopped = true;
    this.abortController.abort();
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
    this.abortController.abort();
    this.wake();
  }

  /** Connects until the connection is stopped or the hub has no more events. */
  async run() {
    for (let failures = 0; !this.isStopped; ) {
      this.isForced = false;
      if (globalThis.navigator?.onLine === false) {
        this.reportState({ state: 'offline' });
        await this.sleep(MAX_BACKOFF_MS);
      }
      if (!this.isQuiet) this.reportState({ state: 'connecting', attempt: failures });
      this.isQuiet = false;
      if (this.isStopped) return;
      const startedAt = Date.now();
      const outcome = await this.connectOnce();
      if (this.isStopped) return;
      if (outcome === 'done') return this.handlers.onCaughtUp();
      if ('state' in outcome) return this.reportState(outcome);
      if (this.isForced) continue;
      // A connection that was open for longer than `retryMs` resets the count of failures.
      failures = this.isOpen && Date.now() - startedAt > this.retryMs ? 0 : failures + 1;
      const delay = Math.round(this.reconnectDelay(failures, outcome.retryAfterMs));
      const { reason, limit, detail } = outcome;
      this.reportState({ state: 'waiting', reason, limit, detail, delay, attempt: failures });
      await this.sleep(delay);
    }
  }

  /**
   * Returns the delay before the next attempt, in milliseconds.
   *
   * @param {number} failures
   * @param {number | undefined} retryAfterMs
   */
  reconnectDelay(failures, retryAfterMs) {
    const backoff = Math.min(MAX_BACKOFF_MS, this.retryMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
    const requestedDelay = retryAfterMs === undefined
      ? 0
      : Math.min(retryAfterMs, MAX_RETRY_MS) + Math.random() * Math.max(1_000, retryAfterMs / 5);
    // The hub has already jittered its `retry` over all clients that must come back.
    if (failures <= 1) return requestedDelay || this.retryMs;
    return Math.min(MAX_RETRY_MS, Math.max(requestedDelay, backoff));
  }

  /** Waits, at most until `wake` is called or the browser is online again. @param {number} ms */
  async sleep(ms) {
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
   * @param {string | null} [position]
   */
  reportState(state, position = null) {
    if (!this.isStopped) this.handlers.onState(state, position);
  }

  /**
   * Makes one attempt and returns its outcome.
   *
   * @returns {Promise<'done' | State | RetryableFailure>}
   */
  async connectOnce() {
    this.isOpen = false;
    this.abortController = new AbortController();
    const { secret, options } = this;
    let credential;
    try {
      credential = await secret.get();
    } catch (error) {
      return { reason: 'credential', detail: String(error) };
    }
    if (this.isStopped) return 'done';
    if ((options.token || options.ticket) && !credential) return { state: 'expired', code: 'token_expired' };

    const watchdog = new Watchdog(SILENCE_TIMEOUT_MS, () => this.abortController.abort('silent'));
    try {
      const { url, ...init } = this.buildRequest(credential);
      const response = await (options.fetch ?? fetch)(url, { ...init, signal: this.abortController.signal });
      watchdog.reset();
      if (response.status === 204) {
        // With the header, a request without `follow` is up to date; without it, the stream has ended.
        const lastEventId = response.headers.get('last-event-id');
        this.position = lastEventId ?? this.position;
        return lastEventId === null ? { state: 'ended' } : 'done';
      }
      if (response.status !== 200) return await this.handleErrorResponse(response);
      secret.wasAccepted = true;
      const contentType = response.headers.get('content-type') ?? '';
      if (!contentType.startsWith('text/event-stream') || !response.body) {
        const detail = `expected text/event-stream, got ${contentType || 'no content type'}; is \`url\` a hub?`;
        return { state: 'refused', status: 200, detail };
      }
      return await this.readBody(response.body, watchdog);
    } catch (error) {
      const isSilent = this.abortController.signal.reason === 'silent';
      return isSilent ? { reason: 'silent' } : { reason: 'lost', detail: String(error) };
    } finally {
      watchdog.stop();
      this.abortController.abort();
    }
  }

  /**
   * Returns the URL and the options of a request.
   *
   * @param {string | null} credential
   * @returns {RequestInit & { url: URL }}
   */
  buildRequest(credential) {
    const { options } = this;
    const url = new URL('events', options.url);
    const query = url.searchParams;
    query.set('envelope', 'true');
    query.set('refusal', 'status');
    query.set('heartbeat', `${HEARTBEAT_S}s`);
    if (!this.follow) query.set('follow', 'false');
    if (this.position !== null) query.set('last_event_id', this.position);
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
    for (const stream of this.streams) fullUrl.searchParams.append('stream', stream);
    if (options.types) fullUrl.searchParams.set('types', options.types.join(','));
    if (fullUrl.href.length <= MAX_URL_CHARS) return { url: fullUrl, ...init };
    headers['Content-Type'] = 'application/json';
    const body = JSON.stringify({ stream: this.streams, types: options.types });
    return { url, method: 'POST', body, ...init };
  }

  /**
   * Returns the outcome of an attempt that the hub answered with an error.
   *
   * @param {Response} response
   * @returns {Promise<State | RetryableFailure>}
   */
  async handleErrorResponse(response) {
    const { status } = response;
    const text = await response.text();
    const problem = callSafely(() => JSON.parse(text), true) ?? {};
    const { code = undefined, limit = undefined, detail = text.slice(0, 200) || undefined } = Object(problem);
    if (status === 401) {
      if (this.secret.markExpired()) return { reason: 'credential', detail, retryAfterMs: 0 };
      return { state: code === 'token_expired' ? 'expired' : 'refused', status, code, detail };
    }
    if (status < 500 && status !== 408 && status !== 425 && status !== 429) {
      return { state: 'refused', status, code, detail };
    }
    const retryAfterMs = parseRetryAfter(response);
    return { reason: code ?? 'status', limit, detail: detail ?? String(status), retryAfterMs };
  }

  /**
   * Reads the events of a response and returns how the attempt ended.
   *
   * @param {ReadableStream<Uint8Array>} body
   * @param {Watchdog} watchdog
   * @returns {Promise<'done' | State | RetryableFailure>}
   */
  async readBody(body, watchdog) {
    /** @type {FanfareEvent[]} */
    let events = [];
    let chars = 0;
    /** Reason that the hub gave for closing the connection. @type {RetryableFailure | null} */
    let closeReason = null;
    const flush = () => {
      const [batch, batchChars] = [events, chars];
      [events, chars] = [[], 0];
      if (batch.length > 0 && !this.isStopped) this.handlers.onEvents(batch, String(this.position), 2 * batchChars);
    };
    const parser = new Parser(({ type, data, lastEventId }) => {
      const payload = JSON.parse(data);
      if (!type.startsWith('hub-')) {
        this.position = lastEventId;
        events.push(toEvent(lastEventId, payload));
        chars += data.length;
        return;
      }
      flush();
      if (lastEventId) this.position = lastEventId;
      if (type === 'hub-error') closeReason = { reason: payload.code, limit: payload.limit };
      if (payload.code === 'token_expired') this.secret.markExpired();
      for (const state of toStates(type, payload)) this.reportState(state, lastEventId || null);
    });
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (this.isStopped || this.isForced) break;
      if (done) {
        if (!this.follow && !closeReason) return 'done';
        break;
      }
      watchdog.reset();
      this.isOpen = true;
      const previousPosition = this.position;
      try {
        parser.push(value);
      } finally {
        flush();
      }
      this.retryMs = Math.min(MAX_RETRY_MS, Math.max(MIN_RETRY_MS, parser.retry ?? this.retryMs));
      if (this.position === previousPosition) this.handlers.onActivity?.();
      // The silence timeout does not run while the consumer is not ready.
      watchdog.stop();
      await this.handlers.waitUntilReady();
      watchdog.reset();
    }
    const failure = closeReason ?? { reason: 'lost' };
    return this.secret.isExpired ? { ...failure, retryAfterMs: 0 } : failure;
  }
}

/** Timer that calls `onTimeout` unless it is reset within `timeoutMs`. */
class Watchdog {
  /**
   * @param {number} timeoutMs
   * @param {() => void} onTimeout
   */
  constructor(timeoutMs, onTimeout) {
    this.timeoutMs = timeoutMs;
    this.onTimeout = onTimeout;
    this.reset();
  }

  reset() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.onTimeout, this.timeoutMs);
  }

  stop() {
    clearTimeout(this.timer);
  }
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
function toEvent(id, { stream, type, time, data }) {
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
function toStates(type, { resume, requested, missed = null, first = null, stream, reason, ...rest }) {
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

/**
 * Returns the delay of the `Retry-After` header, in milliseconds (RFC 9110 §10.2.3).
 *
 * @param {Response} response
 */
function parseRetryAfter(response) {
  const header = response.headers.get('retry-after');
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/**
 * Calls a function; an error that it throws is reported, but not passed on.
 *
 * @template T
 * @param {() => T} callback
 * @param {boolean} [isExpected] True if errors are expected and not reported.
 * @returns {T | undefined}
 */
export function callSafely(callback, isExpected = false) {
  try {
    return callback();
  } catch (error) {
    if (!isExpected) (globalThis.reportError ?? console.error)(error);
    return undefined;
  }
}
