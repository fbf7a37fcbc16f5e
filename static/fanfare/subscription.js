// A subscription: what it has, and where it gets the rest. It reads from a connection of its own, or
// from one that tabs share; and from history whatever that one did not bring.

/** @import { Final, FanfareEvent, Options, State, Subscription } from '../fanfare.d.ts' */

import { hubAt } from './address.js';
import { Connection, attempt } from './connection.js';
import { memoryOf } from './memory.js';
import { Queue } from './queue.js';
import { Secret } from './secret.js';
import { checkSelector, selects } from './selector.js';
import { Tabs, canShare } from './tabs.js';

/** What is held for a subscription while it reads from history, in about how much memory. */
const MAX_HELD_BYTES = 16 << 20;

/**
 * Options as they are meant.
 *
 * @typedef {Options & { url: URL, streams: string[] }} Meant
 *
 * What a shared connection brought while a subscription reads from history.
 *
 * @typedef {object} Held
 * @property {string} at Where that connection was when this began.
 * @property {Live | null} opening How that connection began.
 * @property {Array<[() => void, number]>} acts To be done once it has read.
 * @property {number} bytes What they take, and those that were too many would.
 *
 * @typedef {State & { state: 'live' }} Live
 */

/** @implements {Subscription} */
export class LiveSubscription {
  /** What was handed on. @type {string | null} */
  lastEventId = null;
  /** What was read; more than that, where a reader is behind. @type {string | null} */
  place = null;
  /** @type {State} */
  state = { state: 'connecting', attempt: 0 };
  /** Its own connection. @type {Connection | null} */
  connection = null;
  /** @type {Tabs | null} */
  tabs = null;
  /** Null once it is live. @type {Held | null} */
  held = null;
  /** Whether it has what the shared connection had before. */
  isAttached = false;
  isFinal = false;
  queue = new Queue();
  /** Streams, by their names, that have ended. @type {Set<string>} */
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
    // Nothing is told before the caller has what it is told of.
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
        // Whoever asks for the next is done with the last.
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
    // A page that is kept for the back button neither leads nor reads.
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

  /** Reads by itself from now on, as no other tab can for it. */
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
   * Hands on `events`; with them it has everything up to `place`.
   *
   * @param {FanfareEvent[]} events
   * @param {string} place
   */
  take(events, place) {
    for (const event of events) {
      if (this.isFinal) break;
      this.place = event.id;
      // One that ended and was deleted may begin again.
      for (const stream of event.streams) this.over.delete(stream);
      this.queue.add(event);
      attempt(() => this.options.onEvent?.(event));
    }
    this.moveTo(this.isFinal ? this.place : place);
  }

  /**
   * It has everything up to there.
   *
   * @param {string | null} place
   */
  moveTo(place) {
    this.place = place;
    // Otherwise it is handed on when it is asked for.
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
        // Of those that were named, which is what it can end with.
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

  // What follows is of a connection that is shared.

  /**
   * A leader reads what is after `at`, in `streams`.
   *
   * @param {string} at
   * @param {string[]} streams
   * @param {Live} opening
   */
  attach(at, streams, opening) {
    if (!this.streams.every((stream) => streams.includes(stream))) {
      // It is read once the leader has heard of it; nothing that comes until then is of all of it.
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
   * A leader reads for it alone, and from its place.
   *
   * @param {Live} opening
   */
  found(opening) {
    this.isAttached = true;
    this.hear(opening, opening.from);
  }

  /** Whether it has everything up to `at`, of the same journal. @param {string} at */
  hasUpTo(at) {
    return this.place !== null && isSame(this.place, at) && this.place >= at;
  }

  /**
   * Reads what it lacks from history, and goes on with what came meanwhile.
   *
   * @param {string} at Where the shared connection is.
   * @param {Live | null} opening How that began.
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
    // Nothing was there to be read, so that nothing was said of it.
    if (this.state.state !== 'live' && opening) {
      this.tell({ ...opening, resume: 'resumed', requested: this.place });
    }
    // Whatever there is up to there was read.
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
    // What is too much to hold is read from history once more.
    if (this.held.bytes > MAX_HELD_BYTES) this.held.acts = [];
    else this.held.acts.push([act, bytes]);
  }

  /**
   * What the shared connection brought.
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
   * Leaves to history what its reader is not ready for.
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
   * What the shared connection was told; not of interest while it has its own.
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

/** Why an iterated subscription has no more events. */
export class SubscriptionError extends Error {
  /** @param {Final} state */
  constructor(state) {
    const { code, detail, status } = /** @type {{ code?: string, detail?: string, status?: number }} */ (state);
    super(`${state.state}: ${detail ?? code ?? status}`);
    this.name = 'SubscriptionError';
    this.state = state;
  }
}

/** Whether two ids are of one journal. @param {string} one @param {string} other */
const isSame = (one, other) => one.slice(0, 8) === other.slice(0, 8);
