// Reads one subscription from the connection that tabs share, and from history what that connection did not
// deliver: events before it was joined, and those of messages that were missed.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { Connection } from './connection.js' */
/** @import { LiveSubscription } from './subscription.js' */
/** @import { TabGroup } from './tabs.js' */

import { grantsOf, narrowEvent } from './selector.js';

/** Maximum approximate size of the events that are buffered while history is read. */
const MAX_BUFFERED_BYTES = 16 << 20;

/**
 * Events of the shared connection, buffered while history is read.
 *
 * @typedef {object} CatchUpBuffer
 * @property {string} position Position of that connection when buffering began.
 * @property {LiveState | null} openState The `live` state that the connection opened with.
 * @property {Array<[() => void, number]>} actions Calls to make after catching up, with their sizes.
 * @property {number} bytes Size of all calls, including those dropped beyond the maximum.
 *
 * @typedef {State & { state: 'live' }} LiveState
 */

export class SharedReader {
  /** Connection that reads history; null while live. @type {Connection | null} */
  connection = null;
  /** Events buffered during catch-up; null while live. @type {CatchUpBuffer | null} */
  buffer = null;
  /** True once the subscription follows the shared connection from a known position. */
  isAttached = false;

  /**
   * @param {LiveSubscription} subscription
   * @param {TabGroup} tabGroup
   */
  constructor(subscription, tabGroup) {
    this.subscription = subscription;
    this.tabGroup = tabGroup;
  }

  get streams() {
    return this.subscription.streams;
  }

  leave() {
    this.detach();
    this.tabGroup.leave(this);
  }

  detach() {
    this.connection?.stop();
    this.connection = this.buffer = null;
    this.isAttached = false;
  }

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
      this.detach();
      this.tabGroup.announceStreams();
      return;
    }
    const { subscription } = this;
    // On a connection of its own it is refused, with the reason.
    if (grantsOf(this.streams, openState).granted?.length === 0) return subscription.stopSharing();
    if (!this.isAttached || !this.hasRead(position) || openState.resume === 'reset') {
      return this.catchUp(position, openState);
    }
    if (this.buffer === null) this.reportLive(openState);
  }

  /** Joins a connection that a leader opened for this subscription alone, at its position. @param {LiveState} openState */
  attachInitial(openState) {
    this.isAttached = true;
    this.subscription.handleState(openState, openState.from);
  }

  /** Reads the changed streams of the subscription after its position, from history until the leader reads them. */
  handleStreamsChange() {
    this.detach();
    this.tabGroup.handleStreamsChange(this);
  }

  /** Reports that the subscription is live, unless that is known. @param {LiveState | null} openState */
  reportLive(openState) {
    const { subscription } = this;
    if (subscription.state.state === 'live') return this.updateRole();
    if (openState) subscription.setState({ ...openState, resume: 'resumed', requested: subscription.position });
  }

  /** Reports the role of this tab if it has changed. */
  updateRole() {
    const { state } = this.subscription;
    if (state.state === 'live' && state.shared !== this.tabGroup.role()) this.subscription.setState(state);
  }

  /** Returns true if everything up to `position` was read, in the same epoch. @param {string} position */
  hasRead(position) {
    const { position: lastRead } = this.subscription;
    return lastRead !== null && hasSameEpoch(lastRead, position) && lastRead >= position;
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
    this.connection = this.subscription.openConnection(false, (connection) => this.finishCatchUp(connection));
  }

  /** Delivers the buffered events once history was read. @param {Connection} connection */
  finishCatchUp(connection) {
    const { subscription, tabGroup } = this;
    if (subscription.isFinal || connection !== this.connection || this.buffer === null) return;
    const { position, openState, actions, bytes } = this.buffer;
    if (bytes > MAX_BUFFERED_BYTES) return this.catchUp(tabGroup.position, tabGroup.openState ?? openState);
    this.connection = this.buffer = null;
    if (connection.position !== subscription.position && connection.position) subscription.advanceTo(connection.position);
    // History was read up to `position`.
    const { position: lastRead } = subscription;
    if (lastRead === null || (hasSameEpoch(lastRead, position) && lastRead < position)) subscription.advanceTo(position);
    // If there was nothing to read, no state was reported.
    this.reportLive(openState);
    for (const [action, bytes] of actions) {
      // A callback may have left the connection, or changed the streams.
      if (this.isAttached) this.runOrBuffer(action, bytes);
    }
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
  handleEvents(events, position, bytes) {
    const { subscription } = this;
    const { types } = subscription.options;
    const ofTypes = types ? events.filter((event) => types.includes(event.type)) : events;
    const selected = ofTypes.flatMap((event) => narrowEvent(event, this.streams) ?? []);
    this.runOrBuffer(() => {
      if (subscription.isFinal || this.hasRead(position)) return;
      const lastRead = subscription.position ?? '';
      subscription.deliver(selected.filter(({ id }) => !hasSameEpoch(id, lastRead) || id > lastRead), position);
      if (this.isAttached && this.buffer === null && subscription.queue.isFull()) this.waitForConsumer(position);
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
    this.subscription.queue.waitForCapacity().then(() => {
      if (this.buffer !== buffer || this.subscription.isFinal) return;
      this.catchUp(this.tabGroup.position, this.tabGroup.openState);
    });
  }

  /**
   * Handles a state of the shared connection. During catch-up only ends of streams matter.
   *
   * @param {State} state
   * @param {string} position
   */
  handleState(state, position) {
    if (state.state !== 'stream-ended') {
      if (this.connection === null) this.subscription.handleState(state, null);
    } else if (this.isAttached) {
      this.runOrBuffer(() => this.subscription.handleState(state, this.hasRead(position) ? null : position), 0);
    }
  }
}

/** Returns true if two ids have the same epoch. @param {string} a @param {string} b */
const hasSameEpoch = (a, b) => a.slice(0, 8) === b.slice(0, 8);
