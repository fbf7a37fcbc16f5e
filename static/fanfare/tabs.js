// One connection for all tabs of an origin that show the same credential, as a browser has six for
// HTTP/1.1.
//
// Whoever has the lock leads: it reads what any tab wants, and numbers what it passes on. A tab that
// finds a number missing, or has just come, reads from history and goes on from there, so that
// nothing depends on who was there when. A leader of whom nothing is heard loses the lead.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { Live, LiveSubscription, Meant } from './subscription.js' */

import { Connection, SILENCE_MS } from './connection.js';
import { Secret } from './secret.js';

/** Tabs that come together are one change of what is read. */
const JOINING_MS = 20;
/** What no tab wants any more is read for so long, as pages are often reloaded. */
const LEAVING_MS = 5_000;
/** Selectors that a hub takes of one subscription (`--max-selectors`). */
const MOST_SELECTORS = 100;
/** Told apart from what another version of this says. */
const VERSION = 2;
/** How long an answer of a leader that was silent may take, and how much longer at random. */
const ANSWER_MS = 1_000;

/**
 * What tabs tell each other. What a leader says is numbered; `at` is where it is with that.
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

/** Outside of a browser, or of a secure context, tabs cannot agree. */
export function canShare() {
  return typeof document !== 'undefined' && typeof BroadcastChannel === 'function' && !!navigator.locks;
}

export class Tabs {
  tab = crypto.randomUUID();
  /** @type {Set<LiveSubscription>} */
  members = new Set();
  /** The leader, as far as it was heard: who, how much of it, where it was. */
  leader = '';
  number = 0;
  at = '';
  /** What it reads, and how its connection began. @type {string[]} */
  streams = [];
  /** @type {Live | null} */
  opening = null;
  heard = Date.now();
  over = new AbortController();

  /** Of a leader: what it leads. @type {Connection | null} */
  connection = null;
  /** What each tab wants. @type {Map<string, string[]>} */
  wants = new Map();
  /** Whether the connection is open. */
  isOpen = false;
  /** For whom alone it reads, from where they are. @type {LiveSubscription | null} */
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
    // Whoever leads knows by this that the tab is still here.
    this.hold(`${name}/${this.tab}`, {}, () => {}).catch(() => {});
    this.stand({});
  }

  /** @param {LiveSubscription} member */
  join(member) {
    this.members.add(member);
    // What is too much for one subscription is read apart.
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

  // Who leads.

  /**
   * Has a lock until this is over.
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
   * Leads as soon as nobody else does, or at once.
   *
   * @param {LockOptions} how
   */
  stand(how) {
    const lost = (/** @type {any} */ error) => {
      if (this.over.signal.aborted) return;
      // Where there are no locks to be had, nobody can lead.
      if (error?.name !== 'AbortError') return this.dissolve();
      // Another took the lead, as nothing was heard of this one.
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
    // What the last one read is read on, until those who want it have said so, or nobody has.
    const before = this.at === '' ? [] : this.streams;
    const streams = [...new Set([...this.union(), ...before])].sort();
    const [member, ...others] = this.members;
    this.founder = this.at === '' && others.length === 0 && !member.queue.isRead ? member : null;
    // Everybody else reads what was before by themselves.
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

  /** Whether the others are still here. */
  async look() {
    if (this.connection) {
      const { held = [] } = await navigator.locks.query().catch(() => ({ held: [] }));
      if (held.length === 0) return;
      const here = new Set(held.map((lock) => lock.name));
      const gone = [...this.wants.keys()].filter((tab) => !here.has(`${this.name}/${tab}`));
      return gone.forEach((tab) => this.wantedBy(tab, []));
    }
    if (Date.now() - this.heard < SILENCE_MS) return;
    // What it has said may wait to be heard by a tab that was asleep.
    const before = this.heard;
    this.want();
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS * (1 + 2 * Math.random())));
    if (this.heard === before && !this.over.signal.aborted) this.stand({ steal: true });
  }

  // What is read.

  wanted() {
    return [...new Set([...this.members].flatMap((member) => member.streams))];
  }

  union() {
    return [...new Set([...this.wants.values()].flat())].sort();
  }

  /** Says what this tab wants. */
  want() {
    const streams = this.wanted();
    if (this.connection) this.wantedBy(this.tab, streams);
    else this.post({ kind: 'want', tab: this.tab, streams });
  }

  /**
   * A leader hears what a tab wants; nothing, where it has gone.
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

  /** A leader reads what is wanted: soon where that is more, and later where it is less. */
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

  // What is said.

  /**
   * A leader is told of its connection.
   *
   * @param {State} state
   * @param {string | null} place
   */
  told(state, place) {
    const at = place ?? this.at;
    const streams = this.connection?.streams ?? [];
    switch (state.state) {
      case 'ended': case 'refused': case 'expired':
        // It may be so for one of them only: each asks for itself.
        this.post({ kind: 'dissolve', leader: this.leader });
        return this.dissolve();
      case 'live':
        this.isOpen = true;
        return this.pass({ kind: 'open', at, state, streams });
      case 'gap':
        if (this.founder) this.founder.hear(state, null);
        // Each finds out what of it was missed by itself, as it now lacks what is before.
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
   * A leader numbers what it says, and hears it, too.
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
    // One that has lost the lead may not know yet.
    if (this.connection && message.leader !== this.leader) return;
    this.heard = Date.now();
    if (message.kind !== 'alive') this.follow(message);
  }

  /** @param {Numbered} message */
  follow(message) {
    const isOpening = message.kind === 'open' || message.kind === 'here';
    const isSame = message.leader === this.leader;
    if (!isSame && !isOpening) {
      // Of one whose beginning was missed nothing is known but what it says of itself.
      if (message.kind === 'state') this.tell(message.state, message.at);
      return this.want();
    }
    const isNext = isSame && message.number === this.number + (message.kind === 'here' ? 0 : 1);
    [this.leader, this.number, this.at] = [message.leader, message.number, message.at];
    if (isOpening) [this.streams, this.opening] = [message.streams, message.state];
    for (const member of [...this.members]) {
      if (isOpening && member === this.founder) this.begin(member, message.state);
      else if (isOpening) {
        // It may be said to another, of whom this one has heard all.
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
   * The one that a connection was begun for has what that was told, once; from then on it is as any.
   *
   * @param {LiveSubscription} member
   * @param {Live} opening
   */
  begin(member, opening) {
    member.found(opening);
    // A gap and a reset are told right after it.
    queueMicrotask(() => { this.founder = null; });
  }

  /** @param {State} state @param {string} at */
  tell(state, at) {
    if (state.state === 'stream-ended') return;
    for (const member of [...this.members]) member.shared(state, at);
  }
}

/**
 * Enough of a hash that two credentials do not meet, and none that tells one.
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
