// A connection to a hub. It reconnects until it is stopped or the hub has no more events for it.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './options.js' */

import { MAX_RETRY_MS, Watchdog, reconnectDelay } from './backoff.js';
import { buildRequest, toEvent, toStates } from './events.js';
import { Parser } from './parser.js';
import { isRetryable, readProblem } from './problem.js';
import { Secret } from './secret.js';

/** Time without any bytes after which the connection counts as lost. */
export const SILENCE_TIMEOUT_MS = 45_000;
/** Delay of the first reconnect if the hub has sent no `retry`. */
const DEFAULT_RETRY_MS = 2_000;
/** Minimum of the delays that a hub may ask for. */
const MIN_RETRY_MS = 100;
/** False if a response that broke off looks like a complete one: undici, the `fetch` of Node, ignores a missing last
 * chunk if the connection is not kept alive. */
const DETECTS_BROKEN_RESPONSES = !(/** @type {any} */ (globalThis).process?.versions?.undici);

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
 * @typedef {{ reason: string, status?: number, limit?: string, detail?: string, retryAfterMs?: number }} RetryableFailure
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
    this.isSleeping = false;
    this.abortController = new AbortController();
    this.retryMs = DEFAULT_RETRY_MS * (0.5 + Math.random());
    /** True if the next attempt follows without a delay. */
    this.isForced = false;
    /** Time until a request for changed streams, which is not reported as `connecting`. @type {number | null} */
    this.changeDelayMs = null;
    /** Ends `sleep` early. */
    this.wake = () => {};
  }

  stop() {
    this.isStopped = true;
    this.abortController.abort();
    this.wake();
  }

  /** Reconnects without a delay. */
  reconnect() {
    this.isForced = true;
    this.changeDelayMs = null;
    this.abortController.abort();
    this.wake();
  }

  /**
   * Reads other streams, over a new request.
   *
   * @param {string[]} streams
   * @param {object} [change]
   * @param {string | null} [change.position] Id to read after; the last received one if omitted.
   * @param {number} [change.delayMs] Delay, so that several changes cause one request.
   */
  changeStreams(streams, { position = this.position, delayMs = 0 } = {}) {
    this.streams = streams;
    this.position = position;
    // A delay that the hub has asked for is kept.
    if (this.isSleeping) return;
    this.isForced = true;
    this.changeDelayMs = delayMs;
    this.abortController.abort();
  }

  /** Connects until the connection is stopped or the hub has no more events. */
  async run() {
    for (let failures = 0; !this.isStopped; ) {
      if (this.changeDelayMs === null) this.reportState({ state: 'connecting', attempt: failures });
      [this.isForced, this.changeDelayMs] = [false, null];
      if (this.isStopped) return;
      const startedAt = Date.now();
      const outcome = await this.connectOnce();
      if (this.isStopped) return;
      if (this.isForced) {
        if (this.changeDelayMs) await this.sleep(this.changeDelayMs);
        continue;
      }
      if (outcome === 'done') return this.handlers.onCaughtUp();
      if (outcome === 'unconfirmed') {
        [failures, this.changeDelayMs] = [0, 0];
        continue;
      }
      if ('state' in outcome) return this.reportState(outcome);
      // A connection that was open for longer than `retryMs` resets the count of failures.
      failures = this.isOpen && Date.now() - startedAt > this.retryMs ? 0 : failures + 1;
      const delay = Math.round(reconnectDelay(failures, this.retryMs, outcome.retryAfterMs));
      this.isSleeping = true;
      this.reportState(this.waitingState(outcome, delay, failures));
      if (!this.isForced) await this.sleep(delay);
    }
  }

  /**
   * Returns the state before the next attempt. `offline` takes a failed attempt, because a hub on this machine can
   * be reached without a network.
   *
   * @param {RetryableFailure} failure
   * @param {number} delay
   * @param {number} attempt
   * @returns {State}
   */
  waitingState({ reason, status, limit, detail }, delay, attempt) {
    const hasNoResponse = !this.isOpen && (reason === 'lost' || reason === 'silent');
    if (hasNoResponse && globalThis.navigator?.onLine === false) return { state: 'offline', delay, attempt };
    return { state: 'waiting', reason, status, limit, detail, delay, attempt };
  }

  /** Waits, at most until `wake` is called or the browser is online again. @param {number} ms */
  async sleep(ms) {
    if (this.isStopped) return;
    /** @type {() => void} */
    let wake = () => {};
    this.isSleeping = true;
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
   * Makes one attempt and returns its outcome: `unconfirmed` if another one must show that no event is left.
   *
   * @returns {Promise<'done' | 'unconfirmed' | State | RetryableFailure>}
   */
  async connectOnce() {
    this.isOpen = this.isSleeping = false;
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
      const { url, ...init } = buildRequest(options, this, credential);
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
   * Returns the outcome of an attempt that the hub answered with an error.
   *
   * @param {Response} response
   * @returns {Promise<State | RetryableFailure>}
   */
  async handleErrorResponse(response) {
    const { status, code, field, limit, detail, retryAfterMs } = await readProblem(response);
    if (status === 401) {
      if (this.secret.markExpired()) return { reason: 'credential', status, detail, retryAfterMs: 0 };
      return { state: code === 'token_expired' ? 'expired' : 'refused', status, code, field, detail };
    }
    if (!isRetryable(status)) return { state: 'refused', status, code, field, detail };
    return { reason: code ?? 'status', status, limit, detail: detail ?? String(status), retryAfterMs };
  }

  /**
   * Reads the events of a response and returns how the attempt ended.
   *
   * @param {ReadableStream<Uint8Array>} body
   * @param {Watchdog} watchdog
   * @returns {Promise<'done' | 'unconfirmed' | State | RetryableFailure>}
   */
  async readBody(body, watchdog) {
    /** @type {FanfareEvent[]} */
    let events = [];
    let chars = 0;
    const firstPosition = this.position;
    /** Reason that the hub gave for closing the connection. @type {RetryableFailure | null} */
    let closeReason = null;
    const flush = () => {
      const [batch, batchChars] = [events, chars];
      [events, chars] = [[], 0];
      if (batch.length > 0 && !this.isStopped && !this.isForced) this.handlers.onEvents(batch, String(this.position), 2 * batchChars);
    };
    const parser = new Parser(({ type, data, lastEventId }) => {
      // The rest of a chunk is requested again.
      if (this.isForced) return;
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
        if (!this.follow && !closeReason) return DETECTS_BROKEN_RESPONSES || this.position === firstPosition ? 'done' : 'unconfirmed';
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
