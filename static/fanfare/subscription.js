// A subscription and its read position. It reads over a connection of its own or over one that tabs share.

/** @import { FanfareEvent, FinalState, State, Subscription, SubscriptionOptions } from '../fanfare.d.ts' */

import { Connection } from './connection.js';
import { SubscriptionError } from './errors.js';
import { createPositionStore } from './memory.js';
import { SUBSCRIPTION_OPTIONS, checkOptions, normalizeOptions, normalizeStreams } from './options.js';
import { Queue } from './queue.js';
import { callSafely } from './safely.js';
import { Secret } from './secret.js';
import { grantsOf, narrowEvent, selects } from './selector.js';
import { SharedReader } from './shared-reader.js';
import { TabGroup, canShare } from './tabs.js';

/** Delay before changed streams are read, so that several changes cause one reconnect. */
const CHANGE_STREAMS_DELAY_MS = 20;

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
  /** Reads over the connection that tabs share. @type {SharedReader | null} */
  sharedReader = null;
  isFinal = false;
  /** True once a state was reported. */
  hasReported = false;
  queue = new Queue();
  /** Names of the streams that have ended. @type {Set<string>} */
  endedStreams = new Set();
  /** Functions that remove event listeners. @type {Array<() => void>} */
  cleanups = [];

  /** @param {SubscriptionOptions} options */
  constructor(options) {
    checkOptions(options, SUBSCRIPTION_OPTIONS);
    this.options = normalizeOptions(options);
    this.streams = this.options.streams;
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
    if (this.sharedReader) this.sharedReader.tabGroup.reconnect();
    else this.connection?.reconnect();
  }

  /** @param {Array<string | string[]>} streams */
  addStreams(...streams) {
    this.changeStreams([...new Set([...this.streams, ...normalizeStreams(streams.flat())])]);
  }

  /** @param {Array<string | string[]>} streams */
  removeStreams(...streams) {
    const removed = new Set(normalizeStreams(streams.flat()));
    const streamsLeft = this.streams.filter((stream) => !removed.has(stream));
    if (streamsLeft.length === 0) throw new TypeError('no stream would be left; close the subscription instead');
    this.changeStreams(streamsLeft);
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

  // Connection.

  pause() {
    if (this.isFinal) return;
    this.disconnect();
    this.setState({ state: 'paused' });
  }

  resume() {
    if (this.isFinal || this.connection || this.sharedReader || this.isHidden()) return;
    if (!this.isStandalone) {
      this.setState({ state: 'connecting', attempt: 0 });
      if (this.isFinal || this.sharedReader) return;
      const tabGroup = callSafely(() => TabGroup.forOptions(this.options), true);
      if (tabGroup) {
        this.sharedReader = new SharedReader(this, tabGroup);
        return tabGroup.join(this.sharedReader);
      }
      this.isStandalone = true;
    }
    this.connection = this.openConnection(true);
  }

  disconnect() {
    const { sharedReader, connection } = this;
    this.sharedReader = this.connection = null;
    sharedReader?.leave();
    connection?.stop();
  }

  /** Continues on a connection of its own, because no other tab can read for this one. */
  stopSharing() {
    this.disconnect();
    this.isStandalone = true;
    this.resume();
  }

  /**
   * Opens a connection at the read position.
   *
   * @param {boolean} follow False ends the connection at the newest event.
   * @param {(connection: Connection) => void} [onCaughtUp] Called at the newest event.
   */
  openConnection(follow, onCaughtUp = () => {}) {
    /** @type {Connection} */
    const connection = new Connection(this.options, this.streams, { follow, secret: this.secret }, {
      onEvents: (events, position) => this.deliver(events, position),
      onState: (state, position) => this.handleState(state, position),
      waitUntilReady: () => this.queue.waitForCapacity(),
      onCaughtUp: () => onCaughtUp(connection),
    });
    connection.position = this.position;
    // The first state is reported once the caller has stored the connection.
    queueMicrotask(() => connection.run());
    return connection;
  }

  /** Reads other streams from the read position on. @param {string[]} streams */
  changeStreams(streams) {
    if (this.isFinal || streams.length === this.streams.length) return;
    this.streams = streams;
    this.queue.replace((event) => narrowEvent(event, streams));
    for (const stream of this.endedStreams) if (!streams.includes(stream)) this.endedStreams.delete(stream);
    if (this.hasEnded()) return this.finish({ state: 'ended' });
    if (this.sharedReader) return this.sharedReader.handleStreamsChange();
    this.connection?.changeStreams(streams, { position: this.position, delayMs: CHANGE_STREAMS_DELAY_MS });
  }

  // Events and states.

  /**
   * Delivers events, after which everything up to `position` was read.
   *
   * @param {FanfareEvent[]} events
   * @param {string} position
   */
  deliver(events, position) {
    const { onEvent, onEvents } = this.options;
    const { streams } = this;
    // A callback may close the subscription or change its streams. The events that follow are then read again.
    const isInterrupted = () => this.isFinal || this.streams !== streams;
    /** @type {FanfareEvent[]} */
    const delivered = [];
    for (const event of events) {
      if (isInterrupted()) break;
      this.position = event.id;
      // A stream that ended and was deleted may begin again.
      for (const stream of event.streams) this.endedStreams.delete(stream);
      this.queue.add(event);
      delivered.push(event);
      if (onEvent) callSafely(() => onEvent(event));
    }
    if (!isInterrupted()) this.position = position;
    if (onEvents && delivered.length > 0) callSafely(() => onEvents(delivered));
    this.advanceTo(this.position);
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

  /** Returns true if no stream can have further events: each is selected by name and has ended. */
  hasEnded() {
    return this.streams.every((selector) => this.endedStreams.has(selector));
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
        if (this.streams.includes(stream)) this.endedStreams.add(stream);
        this.setState(state);
        if (this.hasEnded()) this.finish({ state: 'ended' });
        return;
      }
      default:
        this.setState(state);
    }
  }

  /** Sets and reports the state. @param {State} state */
  setState(state) {
    const { state: previous } = this;
    const isSameAttempt = state.state === 'connecting' && previous.state === 'connecting' && state.attempt === previous.attempt;
    if (isSameAttempt && this.hasReported) return;
    this.hasReported = true;
    const shared = this.sharedReader?.tabGroup.role() ?? null;
    const reported = state.state === 'live' ? { ...state, ...grantsOf(this.streams, state), shared } : state;
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
}
