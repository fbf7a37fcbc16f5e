// Shares one connection between all tabs of an origin that use the same credential, because a
// browser opens at most six connections to an HTTP/1.1 origin.
//
// The tab that holds the lock leads: it reads the streams of all tabs and numbers its messages. A tab
// that misses a number, or has just joined, reads from history and continues from there, so that
// nothing depends on when a tab joins. A silent leader loses the lock.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { Live, LiveSubscription, Meant } from './subscription.js' */

import { Connection, SILENCE_MS } from './connection.js';
import { Secret } from './secret.js';

/** Delay before added streams are read, so that tabs that join together cause one reconnect. */
const JOINING_MS = 20;
/** Time for which streams without a tab are still read, because pages are often reloaded. */
const LEAVING_MS = 5_000;
/** Maximum number of selectors of one subscription (`--max-selectors`). */
const MOST_SELECTORS = 100;
/** Version of the messages between tabs, part of the channel's name. */
const VERSION = 2;
/** Minimum time for a silent leader to answer; up to twice as much is added at random. */
const ANSWER_MS = 1_000;

/**
 * Messages between tabs. A leader numbers its messages; `at` is its position after one.
 *
 * @typedef {{ kind: 'open' | 'here', at: string, streams: string[], state: Live }
 *   | { kind: 'events', at: string, events: FanfareEvent[], bytes: number }
 *   | { kind: 'state', at: string, state: State }} Said
 * @typedef {Said & { leader: string, number: number }} Numbered
 * @typedef {Numbered
 *   | { kind: 'alive', leader: string }
 *   | { kind: 'want', tab: string, streams: string[] }
 *   | { kind: 'bye', tab: string }
 *   | { kind: 'dissolve', leader: string }
 *   | { kind: 'roll' | 'reconnect' }} Message
 */

/** @type {Map<string, Tabs>} */
const groups = new Map();

/** Returns true if tabs can share a connection: only in a browser and in a secure context. */
export function canShare() {
  return typeof document !== 'undefined' && typeof BroadcastChannel === 'function' && !!navigator.locks;
}

export class Tabs {
  tab = crypto.randomUUID();
  /** @type {Set<LiveSubscription>} */
  members = new Set();
  /** Name of the leader, number of its last message, and its position. */
  leader = '';
  number = 0;
  at = '';
  /** Streams that the leader reads, and the state that its connection began with. @type {string[]} */
  streams = [];
  /** @type {Live | null} */
  opening = null;
  heard = Date.now();
  over = new AbortController();

  /** The shared connection, if this tab leads. @type {Connection | null} */
  connection = null;
  /** Streams of each tab, if this tab leads. @type {Map<string, string[]>} */
  wants = new Map();
  /** True while the connection is open. */
  isOpen = false;
  /** The only subscription, at whose position the connection begins. @type {LiveSubscription | null} */
  founder = null;

  /** @param {Meant} options */
  static of(options) {
    const { url, types, headers, credentials, token, ticket, share } = options;
    const shown = [token, ticket].map((secret) => (typeof secret === 'function' ? true : secret));
    const same = digest(JSON.stringify([url.href, types, headers, credentials, shown]));
    const name = `fanfare/${VERSION}/${typeof share === 'string' ? share : ''}/${same}`;
    const found = groups.get(name) ?? new Tabs(name, options);
    groups.set(name, found);
    return found;
  }

  /**
   * @param {string} name
   * @param {Meant} options
   */
  constructor(name, options) {
    this.name = name;
    this.options = options;
    this.secret = new Secret(options.token ?? options.ticket);
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => this.hear(data);
    this.timer = setInterval(() => this.look(), SILENCE_MS / 3);
    // This lock shows the leader that the tab still exists.
    this.hold(`${name}/${this.tab}`, {}, () => {}).catch(() => {});
    this.stand({});
  }

  /** @param {LiveSubscription} member */
  join(member) {
    this.members.add(member);
    // Beyond the limit on selectors, a subscription uses a connection of its own.
    const all = new Set([...this.streams, ...this.wanted()]);
    if (all.size > MOST_SELECTORS) return member.goAlone();
    this.want();
  }

  /** @param {LiveSubscription} member */
  leave(member) {
    if (!this.members.delete(member)) return;
    if (this.members.size > 0) return this.want();
    groups.delete(this.name);
    clearInterval(this.timer);
    this.stepDown();
    this.post({ kind: 'bye', tab: this.tab });
    this.over.abort();
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
   * Calls `have` once a lock is granted, and holds the lock until this instance ends.
   *
   * @param {string} lock
   * @param {LockOptions} how
   * @param {() => void} have
   */
  hold(lock, how, have) {
    const { signal } = this.over;
    const held = () => {
      if (signal.aborted) return;
      have();
      if (signal.aborted) return;
      return new Promise((resolve) => signal.addEventListener('abort', resolve));
    };
    return navigator.locks.request(lock, how.steal ? how : { ...how, signal }, held);
  }

  /**
   * Leads once the lock is free, or takes the lock away (`steal`).
   *
   * @param {LockOptions} how
   */
  stand(how) {
    const lost = (/** @type {any} */ error) => {
      if (this.over.signal.aborted) return;
      // Without locks no tab can lead.
      if (error?.name !== 'AbortError') return this.dissolve();
      // Another tab took the lock, because this one was silent.
      this.stepDown();
      this.stand({});
      this.want();
    };
    this.hold(`${this.name}/leader`, how, () => this.lead()).catch(lost);
  }

  lead() {
    this.stepDown();
    this.leader = crypto.randomUUID();
    this.number = 0;
    this.wants = new Map([[this.tab, this.wanted()]]);
    // The former leader's streams are still read until the tabs had time to announce theirs.
    const before = this.at === '' ? [] : this.streams;
    const streams = [...new Set([...this.union(), ...before])].sort();
    const [member, ...others] = this.members;
    this.founder = this.at === '' && others.length === 0 && !member.queue.isRead ? member : null;
    // All other subscriptions read earlier events from history.
    const options = this.founder ? member.options : { ...this.options, from: 'now', last: undefined };
    this.connection = new Connection(options, streams, { follow: true, secret: this.secret }, {
      events: (events, at, bytes) => this.pass({ kind: 'events', events, at, bytes }),
      told: (state, at) => this.told(state, at),
      ready: () => Promise.resolve(),
      done: () => {},
      alive: () => this.post({ kind: 'alive', leader: this.leader }),
    });
    this.connection.place = this.founder ? member.place : this.at || null;
    this.post({ kind: 'roll' });
    this.connection.run();
    this.change = setTimeout(() => this.settle(), LEAVING_MS);
  }

  stepDown() {
    clearTimeout(this.change);
    this.connection?.stop();
    this.connection = this.founder = null;
    this.isOpen = false;
  }

  /** Removes tabs that are gone, if this tab leads; otherwise replaces a silent leader. */
  async look() {
    if (this.connection) {
      const { held = [] } = await navigator.locks.query().catch(() => ({ held: [] }));
      if (held.length === 0) return;
      const here = new Set(held.map((lock) => lock.name));
      const gone = [...this.wants.keys()].filter((tab) => !here.has(`${this.name}/${tab}`));
      return gone.forEach((tab) => this.wantedBy(tab, []));
    }
    if (Date.now() - this.heard < SILENCE_MS) return;
    // If this tab was suspended, messages of the leader may still be queued.
    const before = this.heard;
    this.want();
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS * (1 + 2 * Math.random())));
    if (this.heard === before && !this.over.signal.aborted) this.stand({ steal: true });
  }

  // Streams.

  wanted() {
    return [...new Set([...this.members].flatMap((member) => member.streams))];
  }

  union() {
    return [...new Set([...this.wants.values()].flat())].sort();
  }

  /** Announces the streams of this tab. */
  want() {
    const streams = this.wanted();
    if (this.connection) this.wantedBy(this.tab, streams);
    else this.post({ kind: 'want', tab: this.tab, streams });
  }

  /**
   * Records the streams of a tab, if this tab leads; an empty list removes the tab.
   *
   * @param {string} tab
   * @param {string[]} streams
   */
  wantedBy(tab, streams) {
    const { connection } = this;
    if (connection === null) return;
    if (streams.length > 0) this.wants.set(tab, streams);
    else this.wants.delete(tab);
    this.settle();
    const { leader, number, at, opening: state } = this;
    const isMore = this.union().some((stream) => !connection.streams.includes(stream));
    if (isMore || !this.isOpen || state === null) return this.post({ kind: 'alive', leader });
    /** @type {Numbered} */
    const here = { kind: 'here', leader, number, at, streams: connection.streams, state };
    if (tab === this.tab) this.hear(here);
    else this.post(here);
  }

  /** Reconnects for the streams of all tabs: soon if there are more, later if there are fewer. */
  settle() {
    const { connection } = this;
    if (connection === null) return;
    clearTimeout(this.change);
    const wanted = this.union();
    const isMore = wanted.some((stream) => !connection.streams.includes(stream));
    const isLess = wanted.length < connection.streams.length;
    if (!isMore && !isLess) return;
    this.change = setTimeout(() => connection.reconnect(this.union()), isMore ? JOINING_MS : LEAVING_MS);
  }

  // Messages.

  /**
   * Handles a state of the connection that this tab leads.
   *
   * @param {State} state
   * @param {string | null} place
   */
  told(state, place) {
    const at = place ?? this.at;
    const streams = this.connection?.streams ?? [];
    switch (state.state) {
      case 'ended': case 'refused': case 'expired':
        // It may concern one subscription only, so each one connects on its own.
        this.post({ kind: 'dissolve', leader: this.leader });
        return this.dissolve();
      case 'live':
        this.isOpen = true;
        return this.pass({ kind: 'open', at, state, streams });
      case 'gap':
        if (this.founder) this.founder.hear(state, null);
        // Each subscription now lacks what is before `at`, and reads from history what it missed.
        if (this.opening && at !== this.at) this.pass({ kind: 'open', at, state: this.opening, streams });
        return;
      case 'reset':
        this.founder?.hear(state, null);
        return;
      default:
        if (state.state !== 'stream-ended' && state.state !== 'expiring') this.isOpen = false;
        return this.pass({ kind: 'state', at, state });
    }
  }

  dissolve() {
    for (const member of [...this.members]) member.goAlone();
  }

  /**
   * Numbers a message, sends it to the other tabs and handles it in this one.
   *
   * @param {Said} said
   */
  pass(said) {
    const numbered = { ...said, leader: this.leader, number: this.number + 1 };
    this.post(numbered);
    this.hear(numbered);
  }

  /** @param {Message} message */
  post(message) {
    this.channel.postMessage(message);
  }

  /** @param {Message} message */
  hear(message) {
    switch (message.kind) {
      case 'want': return this.wantedBy(message.tab, message.streams);
      case 'bye': return this.wantedBy(message.tab, []);
      case 'reconnect': return this.connection?.reconnect();
      case 'dissolve': return message.leader === this.leader ? this.dissolve() : undefined;
      case 'roll':
        this.heard = Date.now();
        return this.want();
      default:
    }
    // A former leader may not know yet that it has lost the lock.
    if (this.connection && message.leader !== this.leader) return;
    this.heard = Date.now();
    if (message.kind !== 'alive') this.follow(message);
  }

  /** @param {Numbered} message */
  follow(message) {
    const isOpening = message.kind === 'open' || message.kind === 'here';
    const isSame = message.leader === this.leader;
    if (!isSame && !isOpening) {
      // The opening of this leader was missed; until it is repeated, only states can be used.
      if (message.kind === 'state') this.tell(message.state, message.at);
      return this.want();
    }
    const isNext = isSame && message.number === this.number + (message.kind === 'here' ? 0 : 1);
    [this.leader, this.number, this.at] = [message.leader, message.number, message.at];
    if (isOpening) [this.streams, this.opening] = [message.streams, message.state];
    for (const member of [...this.members]) {
      if (isOpening && member === this.founder) this.begin(member, message.state);
      else if (isOpening) {
        // `here` may answer another tab, while this one has missed nothing.
        const isForOther = message.kind === 'here' && isNext && member.isAttached;
        if (!isForOther) member.attach(message.at, message.streams, message.state);
      } else if (!member.isAttached) {
        if (message.kind === 'state') member.shared(message.state, message.at);
      } else if (!isNext) member.catchUp(message.at, this.opening);
      else if (message.kind === 'events') member.offer(message.events, message.at, message.bytes);
      else member.shared(message.state, message.at);
    }
  }

  /**
   * Joins the subscription that the connection was opened for; afterwards it is like any other.
   *
   * @param {LiveSubscription} member
   * @param {Live} opening
   */
  begin(member, opening) {
    member.found(opening);
    // A gap or a reset follows in the same task.
    queueMicrotask(() => { this.founder = null; });
  }

  /** @param {State} state @param {string} at */
  tell(state, at) {
    if (state.state === 'stream-ended') return;
    for (const member of [...this.members]) member.shared(state, at);
  }
}

/**
 * Returns a hash that keeps credentials apart without revealing them.
 *
 * @param {string} text
 */
function digest(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 2654435761);
    b = Math.imul(b ^ text.charCodeAt(i), 1597334677);
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
