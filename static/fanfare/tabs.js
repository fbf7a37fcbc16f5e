// Shares one connection between all tabs of an origin that use the same credential, because a
// browser opens at most six connections to an HTTP/1.1 origin.
//
// The tab that holds the lock leads: it reads the streams of all tabs and numbers its messages. A tab
// that misses a number, or has just joined, reads from history and continues from there, so that
// nothing depends on when a tab joins. A silent leader loses the lock.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { LiveState, LiveSubscription, NormalizedOptions } from './subscription.js' */

import { Connection, SILENCE_TIMEOUT_MS } from './connection.js';
import { Secret } from './secret.js';

/** Delay before added streams are read, so that tabs that join together cause one reconnect. */
const ADD_STREAMS_DELAY_MS = 20;
/** Time for which streams without a tab are still read, because pages are often reloaded. */
const REMOVE_STREAMS_DELAY_MS = 5_000;
/** Maximum number of selectors of one subscription (`--max-selectors`). */
const MAX_SELECTORS = 100;
/** Version of the messages between tabs, part of the channel's name. */
const PROTOCOL_VERSION = 3;
/** Minimum time for a silent leader to answer; up to twice as much is added at random. */
const LEADER_ANSWER_MS = 1_000;

/**
 * Messages between tabs. A leader numbers its messages; `position` is its position after it.
 *
 * @typedef {{ kind: 'open' | 'snapshot', position: string, streams: string[], state: LiveState }
 *   | { kind: 'events', position: string, events: FanfareEvent[], bytes: number }
 *   | { kind: 'state', position: string, state: State }} LeaderMessage
 * @typedef {LeaderMessage & { leader: string, sequence: number }} SequencedMessage
 * @typedef {SequencedMessage
 *   | { kind: 'alive', leader: string }
 *   | { kind: 'set-streams', tabId: string, streams: string[] }
 *   | { kind: 'leave', tabId: string }
 *   | { kind: 'dissolve', leader: string }
 *   | { kind: 'request-streams' | 'reconnect' }} TabMessage
 */

/** @type {Map<string, TabGroup>} */
const groups = new Map();

/** Returns true if tabs can share a connection: only in a browser and in a secure context. */
export function canShare() {
  return typeof document !== 'undefined' && typeof BroadcastChannel === 'function' && !!navigator.locks;
}

export class TabGroup {
  tabId = crypto.randomUUID();
  /** @type {Set<LiveSubscription>} */
  members = new Set();
  /** Random name of the leader. */
  leader = '';
  /** Number of the leader's last message. */
  sequence = 0;
  /** Position of the leader. */
  position = '';
  /** Streams that the leader reads. @type {string[]} */
  streams = [];
  /** The `live` state that the leader's connection opened with. @type {LiveState | null} */
  openState = null;
  /** Time of the last message of a leader. */
  lastMessageAt = Date.now();
  abortController = new AbortController();

  /** The shared connection, if this tab leads. @type {Connection | null} */
  connection = null;
  /** Streams of each tab, if this tab leads. @type {Map<string, string[]>} */
  streamsByTab = new Map();
  /** True while the shared connection is open. */
  isOpen = false;
  /** Only subscription of a new group; the connection begins at its position. @type {LiveSubscription | null} */
  initialMember = null;

  /** Returns the group that shares a connection for these options. @param {NormalizedOptions} options */
  static forOptions(options) {
    const { url, types, headers, credentials, token, ticket, share } = options;
    const secrets = [token, ticket].map((secret) => (typeof secret === 'function' ? true : secret));
    const hash = digest(JSON.stringify([url.href, types, headers, credentials, secrets]));
    const name = `fanfare/${PROTOCOL_VERSION}/${typeof share === 'string' ? share : ''}/${hash}`;
    const group = groups.get(name) ?? new TabGroup(name, options);
    groups.set(name, group);
    return group;
  }

  /**
   * @param {string} name
   * @param {NormalizedOptions} options
   */
  constructor(name, options) {
    this.name = name;
    this.options = options;
    this.secret = new Secret(options.token ?? options.ticket);
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => this.handleMessage(data);
    this.checkTimer = setInterval(() => this.checkTabs(), SILENCE_TIMEOUT_MS / 3);
    // This lock shows the leader that the tab still exists.
    this.holdLock(`${name}/${this.tabId}`, {}, () => {}).catch(() => {});
    this.requestLeadership({});
  }

  /** @param {LiveSubscription} member */
  join(member) {
    this.members.add(member);
    // Beyond the limit on selectors, a subscription uses a connection of its own.
    const all = new Set([...this.streams, ...this.memberStreams()]);
    if (all.size > MAX_SELECTORS) return member.stopSharing();
    this.announceStreams();
  }

  /** @param {LiveSubscription} member */
  leave(member) {
    if (!this.members.delete(member)) return;
    if (this.members.size > 0) return this.announceStreams();
    groups.delete(this.name);
    clearInterval(this.checkTimer);
    this.stepDown();
    this.post({ kind: 'leave', tabId: this.tabId });
    this.abortController.abort();
    this.channel.close();
  }

  /** @returns {'leader' | 'follower'} */
  role() {
    return this.connection ? 'leader' : 'follower';
  }

  reconnect() {
    if (this.connection) this.connection.reconnect();
    else this.post({ kind: 'reconnect' });
  }

  // Election.

  /**
   * Calls `onGranted` once a lock is granted, and holds the lock until this instance ends.
   *
   * @param {string} name
   * @param {LockOptions} options
   * @param {() => void} onGranted
   */
  holdLock(name, options, onGranted) {
    const { signal } = this.abortController;
    const callback = () => {
      if (signal.aborted) return;
      onGranted();
      if (signal.aborted) return;
      return new Promise((resolve) => signal.addEventListener('abort', resolve));
    };
    return navigator.locks.request(name, options.steal ? options : { ...options, signal }, callback);
  }

  /** Becomes the leader once the lock is free, or takes the lock away (`steal`). @param {LockOptions} options */
  requestLeadership(options) {
    const handleError = (/** @type {any} */ error) => {
      if (this.abortController.signal.aborted) return;
      // Without locks no tab can lead.
      if (error?.name !== 'AbortError') return this.dissolve();
      // Another tab took the lock, because this one was silent.
      this.stepDown();
      this.requestLeadership({});
      this.announceStreams();
    };
    this.holdLock(`${this.name}/leader`, options, () => this.lead()).catch(handleError);
  }

  /** Opens the shared connection, because this tab has become the leader. */
  lead() {
    this.stepDown();
    this.leader = crypto.randomUUID();
    this.sequence = 0;
    this.streamsByTab = new Map([[this.tabId, this.memberStreams()]]);
    // The former leader's streams are still read until the tabs had time to announce theirs.
    const formerStreams = this.position === '' ? [] : this.streams;
    const streams = [...new Set([...this.allStreams(), ...formerStreams])].sort();
    const [member, ...others] = this.members;
    this.initialMember = this.position === '' && others.length === 0 && !member.queue.isIterated ? member : null;
    // All other subscriptions read earlier events from history.
    const options = this.initialMember ? member.options : { ...this.options, from: 'now', last: undefined };
    this.connection = new Connection(options, streams, { follow: true, secret: this.secret }, {
      onEvents: (events, position, bytes) => this.broadcast({ kind: 'events', events, position, bytes }),
      onState: (state, position) => this.handleState(state, position),
      waitUntilReady: () => Promise.resolve(),
      onCaughtUp: () => {},
      onActivity: () => this.post({ kind: 'alive', leader: this.leader }),
    });
    this.connection.position = this.initialMember ? member.position : this.position || null;
    this.post({ kind: 'request-streams' });
    this.connection.run();
    this.streamUpdateTimer = setTimeout(() => this.scheduleStreamUpdate(), REMOVE_STREAMS_DELAY_MS);
  }

  stepDown() {
    clearTimeout(this.streamUpdateTimer);
    this.connection?.stop();
    this.connection = this.initialMember = null;
    this.isOpen = false;
  }

  /** Removes closed tabs, if this tab leads; otherwise replaces a silent leader. */
  async checkTabs() {
    if (this.connection) {
      const { held: locks = [] } = await navigator.locks.query().catch(() => ({ held: [] }));
      if (locks.length === 0) return;
      const heldNames = new Set(locks.map((lock) => lock.name));
      const closedTabs = [...this.streamsByTab.keys()].filter((tabId) => !heldNames.has(`${this.name}/${tabId}`));
      return closedTabs.forEach((tabId) => this.setTabStreams(tabId, []));
    }
    if (Date.now() - this.lastMessageAt < SILENCE_TIMEOUT_MS) return;
    // If this tab was suspended, messages of the leader may still be queued.
    const previousMessageAt = this.lastMessageAt;
    this.announceStreams();
    await new Promise((resolve) => setTimeout(resolve, LEADER_ANSWER_MS * (1 + 2 * Math.random())));
    if (this.lastMessageAt !== previousMessageAt || this.abortController.signal.aborted) return;
    this.requestLeadership({ steal: true });
  }

  // Streams.

  /** Returns the streams of the subscriptions of this tab. */
  memberStreams() {
    return [...new Set([...this.members].flatMap((member) => member.streams))];
  }

  /** Returns the streams of all tabs, if this tab leads. */
  allStreams() {
    return [...new Set([...this.streamsByTab.values()].flat())].sort();
  }

  /** Announces the streams of this tab. */
  announceStreams() {
    const streams = this.memberStreams();
    if (this.connection) this.setTabStreams(this.tabId, streams);
    else this.post({ kind: 'set-streams', tabId: this.tabId, streams });
  }

  /**
   * Records the streams of a tab, if this tab leads; an empty list removes the tab.
   *
   * @param {string} tabId
   * @param {string[]} streams
   */
  setTabStreams(tabId, streams) {
    const { connection } = this;
    if (connection === null) return;
    if (streams.length > 0) this.streamsByTab.set(tabId, streams);
    else this.streamsByTab.delete(tabId);
    this.scheduleStreamUpdate();
    const { leader, sequence, position, openState: state } = this;
    const hasMore = this.allStreams().some((stream) => !connection.streams.includes(stream));
    if (hasMore || !this.isOpen || state === null) return this.post({ kind: 'alive', leader });
    /** @type {SequencedMessage} */
    const snapshot = { kind: 'snapshot', leader, sequence, position, streams: connection.streams, state };
    if (tabId === this.tabId) this.handleMessage(snapshot);
    else this.post(snapshot);
  }

  /** Schedules a reconnect if the streams of the tabs have changed: soon for added, later for removed ones. */
  scheduleStreamUpdate() {
    const { connection } = this;
    if (connection === null) return;
    clearTimeout(this.streamUpdateTimer);
    const streams = this.allStreams();
    const hasMore = streams.some((stream) => !connection.streams.includes(stream));
    const hasFewer = streams.length < connection.streams.length;
    if (!hasMore && !hasFewer) return;
    const delayMs = hasMore ? ADD_STREAMS_DELAY_MS : REMOVE_STREAMS_DELAY_MS;
    this.streamUpdateTimer = setTimeout(() => connection.reconnect(this.allStreams()), delayMs);
  }

  // Messages.

  /**
   * Handles a state of the connection that this tab leads.
   *
   * @param {State} state
   * @param {string | null} newPosition
   */
  handleState(state, newPosition) {
    const position = newPosition ?? this.position;
    const streams = this.connection?.streams ?? [];
    switch (state.state) {
      case 'ended': case 'refused': case 'expired':
        // It may concern one subscription only, so each one connects on its own.
        this.post({ kind: 'dissolve', leader: this.leader });
        return this.dissolve();
      case 'live':
        this.isOpen = true;
        return this.broadcast({ kind: 'open', position, state, streams });
      case 'gap':
        if (this.initialMember) this.initialMember.handleState(state, null);
        // Each subscription now lacks events before `position`, and reads them from history.
        if (this.openState && position !== this.position) {
          this.broadcast({ kind: 'open', position, state: this.openState, streams });
        }
        return;
      case 'reset':
        this.initialMember?.handleState(state, null);
        return;
      default:
        if (state.state !== 'stream-ended' && state.state !== 'expiring') this.isOpen = false;
        return this.broadcast({ kind: 'state', position, state });
    }
  }

  /** Continues every subscription of this tab on a connection of its own. */
  dissolve() {
    for (const member of [...this.members]) member.stopSharing();
  }

  /**
   * Numbers a message, sends it to the other tabs and handles it in this one.
   *
   * @param {LeaderMessage} message
   */
  broadcast(message) {
    const sequenced = { ...message, leader: this.leader, sequence: this.sequence + 1 };
    this.post(sequenced);
    this.handleMessage(sequenced);
  }

  /** @param {TabMessage} message */
  post(message) {
    this.channel.postMessage(message);
  }

  /** @param {TabMessage} message */
  handleMessage(message) {
    switch (message.kind) {
      case 'set-streams': return this.setTabStreams(message.tabId, message.streams);
      case 'leave': return this.setTabStreams(message.tabId, []);
      case 'reconnect': return this.connection?.reconnect();
      case 'dissolve': return message.leader === this.leader ? this.dissolve() : undefined;
      case 'request-streams':
        this.lastMessageAt = Date.now();
        return this.announceStreams();
      default:
    }
    // A former leader may not know yet that it has lost the lock.
    if (this.connection && message.leader !== this.leader) return;
    this.lastMessageAt = Date.now();
    if (message.kind !== 'alive') this.applyLeaderMessage(message);
  }

  /** Applies a numbered message of a leader to the subscriptions. @param {SequencedMessage} message */
  applyLeaderMessage(message) {
    const isOpening = message.kind === 'open' || message.kind === 'snapshot';
    const isSame = message.leader === this.leader;
    if (!isSame && !isOpening) {
      // The opening of this leader was missed; until it is repeated, only states can be used.
      if (message.kind === 'state') this.forwardState(message.state, message.position);
      return this.announceStreams();
    }
    const isNext = isSame && message.sequence === this.sequence + (message.kind === 'snapshot' ? 0 : 1);
    [this.leader, this.sequence, this.position] = [message.leader, message.sequence, message.position];
    if (isOpening) [this.streams, this.openState] = [message.streams, message.state];
    for (const member of [...this.members]) {
      if (isOpening && member === this.initialMember) this.attachInitialMember(member, message.state);
      else if (isOpening) {
        // `snapshot` may answer another tab, while this one has missed nothing.
        const isForOther = message.kind === 'snapshot' && isNext && member.isAttached;
        if (!isForOther) member.attach(message.position, message.streams, message.state);
      } else if (!member.isAttached) {
        if (message.kind === 'state') member.handleSharedState(message.state, message.position);
      } else if (!isNext) member.catchUp(message.position, this.openState);
      else if (message.kind === 'events') member.handleSharedEvents(message.events, message.position, message.bytes);
      else member.handleSharedState(message.state, message.position);
    }
  }

  /**
   * Attaches the subscription that the connection was opened for; afterwards it is like any other.
   *
   * @param {LiveSubscription} member
   * @param {LiveState} openState
   */
  attachInitialMember(member, openState) {
    member.attachInitial(openState);
    // A gap or a reset follows in the same task.
    queueMicrotask(() => { this.initialMember = null; });
  }

  /** Passes a state to all subscriptions. @param {State} state @param {string} position */
  forwardState(state, position) {
    if (state.state === 'stream-ended') return;
    for (const member of [...this.members]) member.handleSharedState(state, position);
  }
}

/** Returns a hash that distinguishes credentials without revealing them. @param {string} text */
function digest(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 2654435761);
    b = Math.imul(b ^ text.charCodeAt(i), 1597334677);
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
