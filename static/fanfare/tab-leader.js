// The tab that leads: it reads the streams of all tabs over one connection, and numbers its messages.

/** @import { State } from '../fanfare.d.ts' */
/** @import { SharedReader } from './shared-reader.js' */
/** @import { LeaderMessage, SequencedMessage, TabGroup } from './tabs.js' */

import { Connection } from './connection.js';

/** Delay before added streams are read, so that tabs that join together cause one reconnect. */
const ADD_STREAMS_DELAY_MS = 20;
/** Time for which streams without a tab are still read, because pages are often reloaded. */
const REMOVE_STREAMS_DELAY_MS = 5_000;

export class TabLeader {
  /** Random name of the leader. */
  id = crypto.randomUUID();
  /** Streams of each tab. @type {Map<string, string[]>} */
  streamsByTab = new Map();
  /** True while the shared connection is open. */
  isOpen = false;
  /** Only subscription of a new group; the connection begins at its position. @type {SharedReader | null} */
  initialReader = null;

  /** @param {TabGroup} group */
  constructor(group) {
    this.group = group;
    this.streamsByTab.set(group.tabId, group.readerStreams());
    const isFirst = group.position === '';
    // The former leader's streams are still read until the tabs had time to announce theirs.
    const formerStreams = isFirst ? [] : group.streams;
    const streams = [...new Set([...this.allStreams(), ...formerStreams])].sort();
    const [reader, ...others] = group.readers;
    const isAlone = isFirst && others.length === 0 && !reader.subscription.queue.isIterated;
    this.initialReader = isAlone ? reader : null;
    // All other subscriptions read earlier events from history.
    const options = isAlone ? reader.subscription.options : { ...group.options, from: 'now', last: undefined };
    this.connection = new Connection(options, streams, { follow: true, secret: group.secret }, {
      onEvents: (events, position, bytes) => this.broadcast({ kind: 'events', events, position, bytes }),
      onState: (state, position) => this.handleState(state, position),
      waitUntilReady: () => Promise.resolve(),
      onCaughtUp: () => {},
      onActivity: () => group.post({ kind: 'alive', leader: this.id }),
    });
    this.connection.position = isAlone ? reader.subscription.position : group.position || null;
  }

  start() {
    this.group.post({ kind: 'request-streams' });
    this.connection.run();
    this.streamUpdateTimer = setTimeout(() => this.scheduleStreamUpdate(), REMOVE_STREAMS_DELAY_MS);
  }

  stop() {
    clearTimeout(this.streamUpdateTimer);
    this.connection.stop();
  }

  // Streams.

  /** Returns the streams of all tabs. */
  allStreams() {
    return [...new Set([...this.streamsByTab.values()].flat())].sort();
  }

  /** Returns true if a tab has a stream that is not read yet. */
  hasUnreadStreams() {
    return this.allStreams().some((stream) => !this.connection.streams.includes(stream));
  }

  /**
   * Records the streams of a tab; an empty list removes the tab.
   *
   * @param {string} tabId
   * @param {string[]} streams
   */
  setTabStreams(tabId, streams) {
    if (streams.length > 0) this.streamsByTab.set(tabId, streams);
    else this.streamsByTab.delete(tabId);
    this.scheduleStreamUpdate();
    const { group, id: leader } = this;
    const { sequence, position, openState: state } = group;
    if (this.hasUnreadStreams() || !this.isOpen || state === null) return group.post({ kind: 'alive', leader });
    /** @type {SequencedMessage} */
    const snapshot = { kind: 'snapshot', leader, sequence, position, streams: this.connection.streams, state };
    if (tabId === group.tabId) group.handleMessage(snapshot);
    else group.post(snapshot);
  }

  /** Removes the tabs whose lock is no longer held. */
  async removeClosedTabs() {
    const { held: locks = [] } = await navigator.locks.query().catch(() => ({ held: [] }));
    if (locks.length === 0 || this.connection.isStopped) return;
    const heldNames = new Set(locks.map((lock) => lock.name));
    const closedTabs = [...this.streamsByTab.keys()].filter((tabId) => !heldNames.has(this.group.tabLockName(tabId)));
    closedTabs.forEach((tabId) => this.setTabStreams(tabId, []));
  }

  /** Schedules a reconnect if the streams of the tabs have changed: soon for added, later for removed ones. */
  scheduleStreamUpdate() {
    const { connection } = this;
    clearTimeout(this.streamUpdateTimer);
    const hasMore = this.hasUnreadStreams();
    const hasFewer = this.allStreams().length < connection.streams.length;
    if (!hasMore && !hasFewer) return;
    const delayMs = hasMore ? ADD_STREAMS_DELAY_MS : REMOVE_STREAMS_DELAY_MS;
    this.streamUpdateTimer = setTimeout(() => connection.changeStreams(this.allStreams()), delayMs);
  }

  // Messages.

  /**
   * Handles a state of the connection.
   *
   * @param {State} state
   * @param {string | null} newPosition
   */
  handleState(state, newPosition) {
    const { group } = this;
    const position = newPosition ?? group.position;
    const { streams } = this.connection;
    switch (state.state) {
      case 'ended': case 'refused': case 'expired':
        // It may concern one subscription only, so each one connects on its own.
        group.post({ kind: 'dissolve', leader: this.id });
        return group.dissolve();
      case 'live':
        this.isOpen = true;
        return this.broadcast({ kind: 'open', position, state, streams });
      case 'gap':
        this.initialReader?.subscription.handleState(state, null);
        // Each subscription now lacks events before `position`, and reads them from history.
        if (group.openState && position !== group.position) {
          this.broadcast({ kind: 'open', position, state: group.openState, streams });
        }
        return;
      case 'reset':
        this.initialReader?.subscription.handleState(state, null);
        return;
      default:
        if (state.state !== 'stream-ended' && state.state !== 'expiring') this.isOpen = false;
        return this.broadcast({ kind: 'state', position, state });
    }
  }

  /**
   * Numbers a message, sends it to the other tabs and handles it in this one.
   *
   * @param {LeaderMessage} message
   */
  broadcast(message) {
    const sequenced = { ...message, leader: this.id, sequence: this.group.sequence + 1 };
    this.group.post(sequenced);
    this.group.handleMessage(sequenced);
  }
}
