// A subscription and its read position. It reads over a connection of its own or over one that tabs
// share, and reads from history what the shared connection did not deliver.

/** @import { FanfareEvent, FinalState, State, Subscription, SubscriptionOptions } from '../fanfare.d.ts' */

import { resolveHubUrl } from './address.js';
import { Connection, callSafely } from './connection.js';
import { createPositionStore } from './memory.js';
import { Queue } from './queue.js';
import { Secret } from './secret.js';
import { checkSelector, grantsOf, selects } from './selector.js';
import { TabGroup, canShare } from './tabs.js';

/** Maximum approximate size of the events that are buffered while a subscription reads from history. */
const MAX_BUFFERED_BYTES = 16 << 20;

/**
 * Options with `url` and `streams` normalised.
 *
 * @typedef {SubscriptionOptions & { url: URL, streams: string[] }} NormalizedOptions
 *
 * Events of a shared connection, buffered while a subscription reads from history.
 *
 * @typedef {object} CatchUpBuffer
 * @property {string} position Position of that connection when buffering began.
 * @property {LiveState | null} openState The `live` state that the connection opened with.
 * @property {Array<[() => void, number]>} actions Calls to make after catching up, with their sizes.
 * @property {number} bytes Size of all calls, including those dropped beyond the maximum.
 *
 * @typedef {State & { state: 'live' }} LiveState
 */

/** @implements {Subscription} */
export class LiveSubscription {
  /** Id of the last event that was delivered. @type {string | null} */
  lastEventId = null;
  /** Id of the last event that was read; ahead of `lastEventId` if the iterator lags. @type {string | null} */
  position = null;
  /** @type {State} */
  state = { state: 'connecting', attempt: 0 };
  /** Connection of this subscription alone. @type {Connection | null} */
  connection = null;
  /** @type {TabGroup | null} */
  tabGroup = null;
  /** Events buffered during catch-up; null while live. @type {CatchUpBuffer | null} */
  buffer = null;
  /** True once the subscription follows the shared connection from a known position. */
  isAttached = false;
  isFinal = false;
  queue = new Queue();
  /** Names of the streams that have ended. @type {Set<string>} */
  endedStreams = new Set();
  /** Functions that remove event listeners. @type {Array<() => void>} */
  cleanups = [];

  /** @param {SubscriptionOptions} options */
  constructor(options) {
    const streams = [options.streams].flat();
    if (streams.length === 0) throw new TypeError('`streams` names no stream');
    streams.forEach(checkSelector);
    if (options.token && options.ticket) throw new TypeError('a token or a ticket, not both');
    /** @type {NormalizedOptions} */
    this.options = { ...options, streams, url: resolveHubUrl(options.url) };
    this.streams = streams;
    this.positionStore = createPositionStore(this.options);
    this.lastEventId = this.position = this.positionStore?.load() ?? null;
    this.secret = new Secret(options.token ?? options.ticket);
    this.isStandalone = options.share === false || !canShare();
    this.addListeners();
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
    if (this.tabGroup) this.tabGroup.reconnect();
    else this.connection?.reconnect();
  }

  /** @returns {AsyncIterator<FanfareEvent>} */
  [Symbol.asyncIterator]() {
    this.queue.isIterated = true;
    /** @type {string | null} */
    let deliveredId = null;
    return {
      next: async () => {
        // Requesting the next event acknowledges the previous one.
        if (deliveredId) this.acknowledge(deliveredId);
        const result = await this.queue.next();
        deliveredId = result.value?.id ?? null;
        return result;
      },
      return: async () => {
        this.close();
        return { done: true, value: undefined };
      },
    };
  }

  addListeners() {
    /** @param {EventTarget | undefined} target @param {string} name @param {(event: any) => void} listener */
    const addListener = (target, name, listener) => {
      target?.addEventListener(name, listener);
      this.cleanups.push(() => target?.removeEventListener(name, listener));
    };
    addListener(this.options.signal, 'abort', () => this.close());
    if (typeof document === 'undefined') return;
    const onVisibilityChange = () => (this.isHidden() ? this.pause() : this.resume());
    if (this.options.pauseHidden) addListener(document, 'visibilitychange', onVisibilityChange);
    // A page in the back-forward cache neither leads nor reads.
    addListener(window, 'pagehide', () => this.disconnect());
    addListener(window, 'pageshow', (event) => event.persisted && this.resume());
  }

  isHidden() {
    return this.options.pauseHidden === true && typeof document !== 'undefined' && document.hidden;
  }

  pause() {
    if (this.isFinal) return;
    this.disconnect();
    this.setState({ state: 'paused' });
  }

  resume() {
    if (this.isFinal || this.connection || this.tabGroup || this.isHidden()) return;
    if (!this.isStandalone) {
      this.setState({ state: 'connecting', attempt: 0 });
      if (this.isFinal || this.tabGroup) return;
      this.tabGroup = callSafely(() => TabGroup.forOptions(this.options), true) ?? null;
      if (this.tabGroup) return this.tabGroup.join(this);
      this.isStandalone = true;
    }
    this.connect(true);
  }

  disconnect() {
    this.tabGroup?.leave(this);
    this.connection?.stop();
    this.tabGroup = this.connection = this.buffer = null;
    this.isAttached = false;
  }

  /** Continues on a connection of its own, because no other tab can read for this one. */
  stopSharing() {
    this.disconnect();
    this.isStandalone = true;
    this.resume();
  }

  /** Opens a connection; without `follow` it ends at the newest event. @param {boolean} follow */
  connect(follow) {
    /** @type {Connection} */
    const connection = new Connection(this.options, this.streams, { follow, secret: this.secret }, {
      onEvents: (events, position) => this.deliver(events, position),
      onState: (state, position) => this.handleState(state, position),
      waitUntilReady: () => this.queue.waitForCapacity(),
      onCaughtUp: () => this.finishCatchUp(connection),
    });
    connection.position = this.position;
    this.connection = connection;
    connection.run();
  }

  /**
   * Delivers events, after which everything up to `position` was read.
   *
   * @param {FanfareEvent[]} events
   * @param {string} position
   */
  deliver(events, position) {
    for (const event of events) {
      if (this.isFinal) break;
      this.position = event.id;
      // A stream that ended and was deleted may begin again.
      for (const stream of event.streams) this.endedStreams.delete(stream);
      this.queue.add(event);
      callSafely(() => this.options.onEvent?.(event));
    }
    this.advanceTo(this.isFinal ? this.position : position);
  }

  /**
   * Records that everything up to `position` was read.
   *
   * @param {string | null} position
   */
  advanceTo(position) {
    this.position = position;
    // Otherwise the iterator acknowledges it later.
    if (position !== null && this.queue.isEmpty()) this.acknowledge(position);
  }

  /** Records the last delivered id. @param {string} id */
  acknowledge(id) {
    this.lastEventId = id;
    this.positionStore?.save(id);
  }

  /** Handles a state of a connection. @param {State} state @param {string | null} position */
  handleState(state, position) {
    if (this.isFinal) return;
    if (position) this.advanceTo(position);
    switch (state.state) {
      case 'ended': case 'refused': case 'expired': case 'closed':
        return this.finish(state);
      case 'stream-ended': {
        const { stream } = state;
        if (this.endedStreams.has(stream) || !this.streams.some((selector) => selects(selector, stream))) return;
        // Only the end of streams that are selected by name can end the subscription.
        if (this.streams.includes(stream)) this.endedStreams.add(stream);
        this.setState(state);
        if (this.streams.every((selector) => this.endedStreams.has(selector))) this.finish({ state: 'ended' });
        return;
      }
      default:
        this.setState(state);
    }
  }

  /** Sets and reports the state. @param {State} state */
  setState(state) {
    const reported = state.state === 'live' ? { ...state, ...grantsOf(this.streams, state), shared: this.tabGroup?.role() ?? null } : state;
    this.state = reported;
    callSafely(() => this.options.onState?.(reported));
  }

  /** Ends the subscription. @param {FinalState} state */
  finish(state) {
    if (this.isFinal) return;
    this.disconnect();
    this.isFinal = true;
    this.cleanups.forEach((cleanup) => cleanup());
    this.setState(state);
    const isRefused = state.state === 'refused' || state.state === 'expired';
    this.queue.end(isRefused ? new SubscriptionError(state) : null);
  }

  // Shared connection.

  /**
   * Joins the connection of a leader, which reads `streams` after `position`.
   *
   * @param {string} position
   * @param {string[]} streams
   * @param {LiveState} openState
   */
  attach(position, streams, openState) {
    if (!this.streams.every((stream) => streams.includes(stream))) {
      // The leader does not read all of its streams yet; until it does, its events are incomplete.
      this.connection?.stop();
      this.connection = this.buffer = null;
      this.isAttached = false;
      this.tabGroup?.announceStreams();
      return;
    }
    // On a connection of its own it is refused, with the reason.
    if (grantsOf(this.streams, openState).granted?.length === 0) return this.stopSharing();
    if (!this.isAttached || !this.hasRead(position) || openState.resume === 'reset') {
      return this.catchUp(position, openState);
    }
    if (this.buffer === null && this.state.state !== 'live') {
      this.setState({ ...openState, resume: 'resumed', requested: this.position });
    }
  }

  /** Joins a connection that a leader opened for this subscription alone, at its position. @param {LiveState} openState */
  attachInitial(openState) {
    this.isAttached = true;
    this.handleState(openState, openState.from);
  }

  /** Returns true if everything up to `position` was read, in the same epoch. @param {string} position */
  hasRead(position) {
    return this.position !== null && hasSameEpoch(this.position, position) && this.position >= position;
  }

  /**
   * Reads missing events from history, then delivers the events that were buffered meanwhile.
   *
   * @param {string} position Position of the shared connection.
   * @param {LiveState | null} openState The `live` state that the connection opened with.
   */
  catchUp(position, openState) {
    this.connection?.stop();
    this.isAttached = true;
    this.buffer = { position, openState, actions: [], bytes: 0 };
    this.connect(false);
  }

  /** Delivers the buffered events once history was read. @param {Connection} connection */
  finishCatchUp(connection) {
    if (this.isFinal || connection !== this.connection || this.buffer === null) return;
    const { position, openState, actions, bytes } = this.buffer;
    if (bytes > MAX_BUFFERED_BYTES) {
      return this.catchUp(this.tabGroup?.position ?? position, this.tabGroup?.openState ?? openState);
    }
    this.connection = this.buffer = null;
    if (connection.position !== this.position && connection.position) this.advanceTo(connection.position);
    // There was nothing to read, so no state was reported.
    if (this.state.state !== 'live' && openState) {
      this.setState({ ...openState, resume: 'resumed', requested: this.position });
    }
    // History was read up to `position`.
    if (this.position === null || (hasSameEpoch(this.position, position) && this.position < position)) {
      this.advanceTo(position);
    }
    for (const [action, bytes] of actions) this.runOrBuffer(action, bytes);
  }

  /**
   * Runs an action, or buffers it during catch-up.
   *
   * @param {() => void} action
   * @param {number} bytes
   */
  runOrBuffer(action, bytes) {
    if (this.buffer === null) return action();
    this.buffer.bytes += bytes;
    // Beyond the maximum, events are dropped and read from history again.
    if (this.buffer.bytes > MAX_BUFFERED_BYTES) this.buffer.actions = [];
    else this.buffer.actions.push([action, bytes]);
  }

  /**
   * Handles events of the shared connection.
   *
   * @param {FanfareEvent[]} events
   * @param {string} position
   * @param {number} bytes
   */
  handleSharedEvents(events, position, bytes) {
    const { types } = this.options;
    /** @type {FanfareEvent[]} */
    const selected = [];
    for (const event of events) {
      if (types && !types.includes(event.type)) continue;
      const streams = event.streams.filter((name) => this.streams.some((selector) => selects(selector, name)));
      if (streams.length > 0) selected.push({ ...event, stream: streams[0], streams });
    }
    this.runOrBuffer(() => {
      if (this.isFinal || this.hasRead(position)) return;
      const lastRead = this.position ?? '';
      this.deliver(selected.filter(({ id }) => !hasSameEpoch(id, lastRead) || id > lastRead), position);
      if (!this.isFinal && this.queue.isFull()) this.waitForConsumer(position);
    }, bytes);
  }

  /**
   * Waits until the iterator has room, then reads the events after `position` from history.
   *
   * @param {string} position
   */
  waitForConsumer(position) {
    /** @type {CatchUpBuffer} */
    const buffer = { position, openState: null, actions: [], bytes: MAX_BUFFERED_BYTES + 1 };
    this.buffer = buffer;
    this.queue.waitForCapacity().then(() => {
      if (this.buffer !== buffer || this.isFinal) return;
      this.catchUp(this.tabGroup?.position ?? position, this.tabGroup?.openState ?? null);
    });
  }

  /**
   * Handles a state of the shared connection. During catch-up only ends of streams matter.
   *
   * @param {State} state
   * @param {string} position
   */
  handleSharedState(state, position) {
    if (state.state !== 'stream-ended') {
      if (this.connection === null) this.handleState(state, null);
    } else if (this.isAttached) {
      this.runOrBuffer(() => this.handleState(state, this.hasRead(position) ? null : position), 0);
    }
  }
}

/** Error of an iterated subscription that was refused or has expired. */
export class SubscriptionError extends Error {
  /** @param {Extract<FinalState, { state: 'refused' | 'expired' }>} state */
  constructor(state) {
    const { code, detail, status } = /** @type {{ code?: string, detail?: string, status?: number }} */ (state);
    super(`${state.state}: ${detail ?? code ?? status}`);
    this.name = 'SubscriptionError';
    this.state = state;
  }
}

/** Returns true if two ids have the same epoch. @param {string} a @param {string} b */
const hasSameEpoch = (a, b) => a.slice(0, 8) === b.slice(0, 8);
