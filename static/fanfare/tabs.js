// Shares one connection between all tabs of an origin that use the same credential, because a
// browser opens at most six connections to an HTTP/1.1 origin.
//
// The tab that holds the lock leads: it reads the streams of all tabs and numbers its messages. A tab
// that misses a number, or has just joined, reads from history and continues from there, so that
// nothing depends on when a tab joins. A silent leader loses the lock.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { NormalizedOptions } from './options.js' */
/** @import { LiveState, SharedReader } from './shared-reader.js' */

import { SILENCE_TIMEOUT_MS } from './connection.js';
import { Secret } from './secret.js';
import { TabLeader } from './tab-leader.js';

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
  /** Subscriptions of this tab. @type {Set<SharedReader>} */
  readers = new Set();
  /** Name of the last known leader. */
  leaderId = '';
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

  /** Set while this tab leads. @type {TabLeader | null} */
  leader = null;

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
    this.holdLock(this.tabLockName(this.tabId), {}, () => {}).catch(() => {});
    this.requestLeadership({});
  }

  /** @param {SharedReader} reader */
  join(reader) {
    this.readers.add(reader);
    this.handleStreamsChange(reader);
  }

  /** Announces the streams of a subscription that has joined or has changed them. @param {SharedReader} reader */
  handleStreamsChange(reader) {
    // A connection that is not open yet starts where its first subscription does, but without the added streams.
    if (this.leader?.initialReader === reader && !this.leader.isOpen) this.leader.initialReader = null;
    // Beyond the limit on selectors, a subscription uses a connection of its own.
    const all = new Set([...this.streams, ...this.readerStreams()]);
    if (all.size > MAX_SELECTORS) return reader.subscription.stopSharing();
    this.announceStreams();
  }

  /** @param {SharedReader} reader */
  leave(reader) {
    if (!this.readers.delete(reader)) return;
    if (this.readers.size > 0) return this.announceStreams();
    groups.delete(this.name);
    clearInterval(this.checkTimer);
    this.stepDown();
    this.post({ kind: 'leave', tabId: this.tabId });
    this.abortController.abort();
    this.channel.close();
  }

  /** @returns {'leader' | 'follower'} */
  role() {
    return this.leader ? 'leader' : 'follower';
  }

  reconnect() {
    if (this.leader) this.leader.connection.reconnect();
    else this.post({ kind: 'reconnect' });
  }

  /** Returns the name of the lock that a tab holds while it exists. @param {string} tabId */
  tabLockName(tabId) {
    return `${this.name}/${tabId}`;
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
      for (const reader of [...this.readers]) reader.updateRole();
    };
    this.holdLock(`${this.name}/leader`, options, () => this.lead()).catch(handleError);
  }

  /** Opens the shared connection, because this tab has become the leader. */
  lead() {
    this.stepDown();
    this.leader = new TabLeader(this);
    [this.leaderId, this.sequence] = [this.leader.id, 0];
    this.leader.start();
  }

  stepDown() {
    this.leader?.stop();
    this.leader = null;
  }

  /** Removes closed tabs, if this tab leads; otherwise replaces a silent leader. */
  async checkTabs() {
    if (this.leader) return this.leader.removeClosedTabs();
    if (Date.now() - this.lastMessageAt < SILENCE_TIMEOUT_MS) return;
    // If this tab was suspended, messages of the leader may still be queued.
    const previousMessageAt = this.lastMessageAt;
    this.announceStreams();
    await new Promise((resolve) => setTimeout(resolve, LEADER_ANSWER_MS * (1 + 2 * Math.random())));
    if (this.lastMessageAt !== previousMessageAt || this.abortController.signal.aborted) return;
    this.requestLeadership({ steal: true });
  }

  /** Returns the streams of the subscriptions of this tab. */
  readerStreams() {
    return [...new Set([...this.readers].flatMap((reader) => reader.streams))];
  }

  /** Announces the streams of this tab. */
  announceStreams() {
    const streams = this.readerStreams();
    if (this.leader) this.leader.setTabStreams(this.tabId, streams);
    else this.post({ kind: 'set-streams', tabId: this.tabId, streams });
  }

  // Messages.

  /** Continues every subscription of this tab on a connection of its own. */
  dissolve() {
    for (const reader of [...this.readers]) reader.subscription.stopSharing();
  }

  /** @param {TabMessage} message */
  post(message) {
    this.channel.postMessage(message);
  }

  /** @param {TabMessage} message */
  handleMessage(message) {
    const { leader } = this;
    switch (message.kind) {
      case 'set-streams': return leader?.setTabStreams(message.tabId, message.streams);
      case 'leave': return leader?.setTabStreams(message.tabId, []);
      case 'reconnect': return leader?.connection.reconnect();
      case 'dissolve': return message.leader === this.leaderId ? this.dissolve() : undefined;
      case 'request-streams':
        this.lastMessageAt = Date.now();
        return this.announceStreams();
      default:
    }
    // A former leader may not know yet that it has lost the lock.
    if (leader && message.leader !== this.leaderId) return;
    this.lastMessageAt = Date.now();
    if (message.kind !== 'alive') this.applyLeaderMessage(message);
  }

  /** Applies a numbered message of a leader to the subscriptions. @param {SequencedMessage} message */
  applyLeaderMessage(message) {
    const isOpening = message.kind === 'open' || message.kind === 'snapshot';
    const isSame = message.leader === this.leaderId;
    if (!isSame && !isOpening) {
      // The opening of this leader was missed; until it is repeated, only states can be used.
      if (message.kind === 'state') this.forwardState(message.state, message.position);
      return this.announceStreams();
    }
    const isNext = isSame && message.sequence === this.sequence + (message.kind === 'snapshot' ? 0 : 1);
    [this.leaderId, this.sequence, this.position] = [message.leader, message.sequence, message.position];
    if (isOpening) [this.streams, this.openState] = [message.streams, message.state];
    for (const reader of [...this.readers]) {
      if (isOpening && reader === this.leader?.initialReader) this.attachInitialReader(this.leader, message.state);
      else if (isOpening) {
        // `snapshot` may answer another tab, while this one has missed nothing.
        const isForOther = message.kind === 'snapshot' && isNext && reader.isAttached;
        if (!isForOther) reader.attach(message.position, message.streams, message.state);
      } else if (!reader.isAttached) {
        if (message.kind === 'state') reader.handleState(message.state, message.position);
      } else if (!isNext) reader.catchUp(message.position, this.openState);
      else if (message.kind === 'events') reader.handleEvents(message.events, message.position, message.bytes);
      else reader.handleState(message.state, message.position);
    }
  }

  /**
   * Attaches the subscription that the connection was opened for; afterwards it is like any other.
   *
   * @param {TabLeader} leader
   * @param {LiveState} openState
   */
  attachInitialReader(leader, openState) {
    leader.initialReader?.attachInitial(openState);
    // A gap or a reset follows in the same task.
    queueMicrotask(() => { leader.initialReader = null; });
  }

  /** Passes a state to all subscriptions. @param {State} state @param {string} position */
  forwardState(state, position) {
    if (state.state === 'stream-ended') return;
    for (const reader of [...this.readers]) reader.handleState(state, position);
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
