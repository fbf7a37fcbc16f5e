// A subscription and its read position. It reads over a connection of its own or over one that tabs
// share, and reads from history what the shared connection did not deliver.

/** @import { Final, FanfareEvent, Options, State, Subscription } from '../fanfare.d.ts' */

import { hubAt } from './address.js';
import { Connection, attempt } from './connection.js';
import { memoryOf } from './memory.js';
import { Queue } from './queue.js';
import { Secret } from './secret.js';
import { checkSelector, selects } from './selector.js';
import { Tabs, canShare } from './tabs.js';

/** Maximum approximate size of the events held while a subscription reads from history. */
const MAX_HELD_BYTES = 16 << 20;

/**
 * Options with `url` and `streams` normalised.
 *
 * @typedef {Options & { url: URL, streams: string[] }} Meant
 *
 * Events of a shared connection, held while a subscription reads from history.
 *
 * @typedef {object} Held
 * @property {string} at Position of that connection when this began.
 * @property {Live | null} opening State that that connection began with.
 * @property {Array<[() => void, number]>} acts Calls to make after reading, with their sizes.
 * @property {number} bytes Size of all calls, including those dropped beyond the bound.
 *
 * @typedef {State & { state: 'live' }} Live
 */

/** @implements {Subscription} */
export class LiveSubscription {
  /** Id up to which events were handed on. @type {string | null} */
  lastEventId = null;
  /** Id up to which events were read; ahead of `lastEventId` if the iterator lags. @type {string | null} */
  place = null;
  /** @type {State} */
  state = { state: 'connecting', attempt: 0 };
  /** Connection that only this subscription reads. @type {Connection | null} */
  connection = null;
  /** @type {Tabs | null} */
  tabs = null;
  /** Events held while it catches up; null once it is live. @type {Held | null} */
  held = null;
  /** True once it follows the shared connection from a known position. */
  isAttached = false;
  isFinal = false;
  queue = new Queue();
  /** Names of the streams that have ended. @type {Set<string>} */
  over = new Set();
  /** @type {Array<() => void>} */
  forget = [];

  /** @param {Options} options */
  constructor(options) {
    const streams = [options.streams].flat();
    if (streams.length === 0) throw new TypeError('`streams` names no stream');
    streams.forEach(checkSelector);
    if (options.token && options.ticket) throw new TypeError('a token or a ticket, not both');
    /** @type {Meant} */
    this.options = { ...options, streams, url: hubAt(options.url) };
    this.streams = streams;
    this.memory = memoryOf(this.options);
    this.lastEventId = this.place = this.memory?.load() ?? null;
    this.secret = new Secret(options.token ?? options.ticket);
    this.isAlone = options.share === false || !canShare();
    this.listen();
    // States are reported only after the caller has the subscription.
    queueMicrotask(() => {
      if (options.signal?.aborted) this.close();
      else if (this.isHidden()) this.pause();
      else this.resume();
    });
  }

  close() {
    this.finish({ state: 'closed' });
  }

  reconnect() {
    if (this.tabs) this.tabs.reconnect();
    else this.connection?.reconnect();
  }

  /** @returns {AsyncIterator<FanfareEvent>} */
  [Symbol.asyncIterator]() {
    this.queue.isRead = true;
    /** @type {string | null} */
    let given = null;
    return {
      next: async () => {
        // Requesting the next event acknowledges the previous one.
        if (given) this.handed(given);
        const next = await this.queue.next();
        given = next.value?.id ?? null;
        return next;
      },
      return: async () => {
        this.close();
        return { done: true, value: undefined };
      },
    };
  }

  listen() {
    /** @param {EventTarget | undefined} target @param {string} name @param {(event: any) => void} act */
    const on = (target, name, act) => {
      target?.addEventListener(name, act);
      this.forget.push(() => target?.removeEventListener(name, act));
    };
    on(this.options.signal, 'abort', () => this.close());
    if (typeof document === 'undefined') return;
    const shown = () => (this.isHidden() ? this.pause() : this.resume());
    if (this.options.pauseHidden) on(document, 'visibilitychange', shown);
    // A page in the back-forward cache neither leads nor reads.
    on(window, 'pagehide', () => this.leave());
    on(window, 'pageshow', (event) => event.persisted && this.resume());
  }

  isHidden() {
    return this.options.pauseHidden === true && typeof document !== 'undefined' && document.hidden;
  }

  pause() {
    if (this.isFinal) return;
    this.leave();
    this.tell({ state: 'paused' });
  }

  resume() {
    if (this.isFinal || this.connection || this.tabs || this.isHidden()) return;
    if (!this.isAlone) {
      this.tell({ state: 'connecting', attempt: 0 });
      if (this.isFinal || this.tabs) return;
      this.tabs = attempt(() => Tabs.of(this.options), true) ?? null;
      if (this.tabs) return this.tabs.join(this);
      this.isAlone = true;
    }
    this.read(true);
  }

  leave() {
    this.tabs?.leave(this);
    this.connection?.stop();
    this.tabs = this.connection = this.held = null;
    this.isAttached = false;
  }

  /** Stops sharing, because no other tab can read for this one. */
  goAlone() {
    this.leave();
    this.isAlone = true;
    this.resume();
  }

  /** @param {boolean} follow */
  read(follow) {
    /** @type {Connection} */
    const connection = new Connection(this.options, this.streams, { follow, secret: this.secret }, {
      events: (events, place) => this.take(events, place),
      told: (state, place) => this.hear(state, place),
      ready: () => this.queue.ready(),
      done: () => this.caughtUp(connection),
    });
    connection.place = this.place;
    this.connection = connection;
    connection.run();
  }

  /**
   * Hands on `events`, which complete everything up to `place`.
   *
   * @param {FanfareEvent[]} events
   * @param {string} place
   */
  take(events, place) {
    for (const event of events) {
      if (this.isFinal) break;
      this.place = event.id;
      // A stream that ended and was deleted may begin again.
      for (const stream of event.streams) this.over.delete(stream);
      this.queue.add(event);
      attempt(() => this.options.onEvent?.(event));
    }
    this.moveTo(this.isFinal ? this.place : place);
  }

  /**
   * Records that everything up to `place` was read.
   *
   * @param {string | null} place
   */
  moveTo(place) {
    this.place = place;
    // Otherwise the iterator acknowledges it later.
    if (place !== null && this.queue.isEmpty()) this.handed(place);
  }

  /** @param {string} place */
  handed(place) {
    this.lastEventId = place;
    this.memory?.save(place);
  }

  /**
   * @param {State} state
   * @param {string | null} place
   */
  hear(state, place) {
    if (this.isFinal) return;
    if (place) this.moveTo(place);
    switch (state.state) {
      case 'ended': case 'refused': case 'expired': case 'closed':
        return this.finish(state);
      case 'stream-ended': {
        const { stream } = state;
        if (this.over.has(stream) || !this.streams.some((wanted) => selects(wanted, stream))) return;
        // Only the end of streams that are selected by name can end the subscription.
        if (this.streams.includes(stream)) this.over.add(stream);
        this.tell(state);
        if (this.streams.every((wanted) => this.over.has(wanted))) this.finish({ state: 'ended' });
        return;
      }
      default:
        this.tell(state);
    }
  }

  /** @param {State} state */
  tell(state) {
    const told = state.state === 'live' ? { ...state, shared: this.tabs?.role() ?? null } : state;
    this.state = told;
    attempt(() => this.options.onState?.(told));
  }

  /** @param {Final} state */
  finish(state) {
    if (this.isFinal) return;
    this.leave();
    this.isFinal = true;
    this.forget.forEach((forget) => forget());
    this.tell(state);
    const isRefused = state.state === 'refused' || state.state === 'expired';
    this.queue.end(isRefused ? new SubscriptionError(state) : null);
  }

  // Shared connection.

  /**
   * Joins the connection of a leader, which reads `streams` after `at`.
   *
   * @param {string} at
   * @param {string[]} streams
   * @param {Live} opening
   */
  attach(at, streams, opening) {
    if (!this.streams.every((stream) => streams.includes(stream))) {
      // The leader does not read all of its streams yet; until it does, its events are incomplete.
      this.connection?.stop();
      this.connection = this.held = null;
      this.isAttached = false;
      this.tabs?.want();
      return;
    }
    if (!this.isAttached || !this.hasUpTo(at) || opening.resume === 'reset') return this.catchUp(at, opening);
    if (this.held === null && this.state.state !== 'live') {
      this.tell({ ...opening, resume: 'resumed', requested: this.place });
    }
  }

  /**
   * Joins a connection that a leader opened for this subscription alone, at its position.
   *
   * @param {Live} opening
   */
  found(opening) {
    this.isAttached = true;
    this.hear(opening, opening.from);
  }

  /** Returns true if everything up to `at` was read, in the same epoch. @param {string} at */
  hasUpTo(at) {
    return this.place !== null && isSame(this.place, at) && this.place >= at;
  }

  /**
   * Reads missing events from history, then takes the events that were held meanwhile.
   *
   * @param {string} at Position of the shared connection.
   * @param {Live | null} opening State that that connection began with.
   */
  catchUp(at, opening) {
    this.connection?.stop();
    this.isAttached = true;
    this.held = { at, opening, acts: [], bytes: 0 };
    this.read(false);
  }

  /** @param {Connection} connection */
  caughtUp(connection) {
    if (this.isFinal || connection !== this.connection || this.held === null) return;
    const { at, opening, acts, bytes } = this.held;
    if (bytes > MAX_HELD_BYTES) return this.catchUp(this.tabs?.at ?? at, this.tabs?.opening ?? opening);
    this.connection = this.held = null;
    if (connection.place !== this.place && connection.place) this.moveTo(connection.place);
    // There was nothing to read, so no state was reported.
    if (this.state.state !== 'live' && opening) {
      this.tell({ ...opening, resume: 'resumed', requested: this.place });
    }
    // History was read up to `at`.
    if (this.place === null || (isSame(this.place, at) && this.place < at)) this.moveTo(at);
    for (const [act, bytes] of acts) this.hold(act, bytes);
  }

  /**
   * @param {() => void} act
   * @param {number} bytes
   */
  hold(act, bytes) {
    if (this.held === null) return act();
    this.held.bytes += bytes;
    // Beyond the bound, events are dropped and read from history again.
    if (this.held.bytes > MAX_HELD_BYTES) this.held.acts = [];
    else this.held.acts.push([act, bytes]);
  }

  /**
   * Takes events of the shared connection.
   *
   * @param {FanfareEvent[]} events
   * @param {string} place
   * @param {number} bytes
   */
  offer(events, place, bytes) {
    const { types } = this.options;
    /** @type {FanfareEvent[]} */
    const mine = [];
    for (const event of events) {
      if (types && !types.includes(event.type)) continue;
      const streams = event.streams.filter((name) => this.streams.some((wanted) => selects(wanted, name)));
      if (streams.length > 0) mine.push({ ...event, stream: streams[0], streams });
    }
    this.hold(() => {
      if (this.isFinal || this.hasUpTo(place)) return;
      const has = this.place ?? '';
      this.take(mine.filter(({ id }) => !isSame(id, has) || id > has), place);
      if (!this.isFinal && this.queue.isFull()) this.wait(place);
    }, bytes);
  }

  /**
   * Waits until the iterator has room, then reads the events after `at` from history.
   *
   * @param {string} at
   */
  wait(at) {
    /** @type {Held} */
    const held = { at, opening: null, acts: [], bytes: MAX_HELD_BYTES + 1 };
    this.held = held;
    this.queue.ready().then(() => {
      if (this.held === held && !this.isFinal) this.catchUp(this.tabs?.at ?? at, this.tabs?.opening ?? null);
    });
  }

  /**
   * Takes a state of the shared connection. While it reads on its own, only ends of streams matter.
   *
   * @param {State} state
   * @param {string} at
   */
  shared(state, at) {
    if (state.state !== 'stream-ended') {
      if (this.connection === null) this.hear(state, null);
    } else if (this.isAttached) {
      this.hold(() => this.hear(state, this.hasUpTo(at) ? null : at), 0);
    }
  }
}

/** Error of an iterated subscription that was refused or has expired. */
export class SubscriptionError extends Error {
  /** @param {Extract<Final, { state: 'refused' | 'expired' }>} state */
  constructor(state) {
    const { code, detail, status } = /** @type {{ code?: string, detail?: string, status?: number }} */ (state);
    super(`${state.state}: ${detail ?? code ?? status}`);
    this.name = 'SubscriptionError';
    this.state = state;
  }
}

/** Returns true if two ids have the same epoch. @param {string} one @param {string} other */
const isSame = (one, other) => one.slice(0, 8) === other.slice(0, 8);
