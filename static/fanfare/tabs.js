// One connection for all tabs of an origin that show the same credential, as a browser has six for
// HTTP/1.1.
//
// Whoever has the lock leads: it reads what any tab wants, and numbers what it passes on. A tab that
// finds a number missing, or has just come, reads from history and goes on from there, so that
// nothing depends on who was there when. A leader of whom nothing is heard loses the lead.

/** @import { FanfareEvent, State } from '../fanfare.d.ts' */
/** @import { LiveSubscription, Meant } from './subscription.js' */

import { Connection, SILENCE_MS } from './connection.js';

/** Tabs that come together are one change of what is read. */
const JOINING_MS = 20;
/** What no tab wants any more is read for so long, as pages are often reloaded. */
const LEAVING_MS = 5_000;
/** How long an answer of a leader that was silent may take, and how much longer at random. */
const ANSWER_MS = 1_000;

/**
 * What tabs tell each other. What a leader says is numbered; `at` is where it is with that.
 *
 * @typedef {{ kind: 'open' | 'here', at: string, streams: string[], state: Live }
 *   | { kind: 'events', at: string, events: FanfareEvent[] }
 *   | { kind: 'state', at: string, state: State }} Said
 * @typedef {Said & { leader: string, number: number }} Numbered
 * @typedef {Numbered
 *   | { kind: 'alive', leader: string }
 *   | { kind: 'want', tab: string, streams: string[] }
 *   | { kind: 'bye', tab: string }
 *   | { kind: 'roll' | 'reconnect' | 'dissolve' }} Message
 * @typedef {State & { state: 'live' }} Live
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
  heard = Date.now();
  over = new AbortController();

  /** Of a leader: what it leads. @type {Connection | null} */
  connection = null;
  /** What each tab wants. @type {Map<string, string[]>} */
  wants = new Map();
  /** How the connection began, while there is one. @type {Live | null} */
  opening = null;

  /** @param {Meant} options */
  static of(options) {
    const { url, types, headers, credentials, token, ticket, share } = options;
    const shown = [token, ticket].map((secret) => (typeof secret === 'function' ? true : secret));
    const same = digest(JSON.stringify([url.href, types, headers, credentials, shown]));
    const name = `fanfare/${typeof share === 'string' ? share : ''}/${same}`;
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
    // Each member reads what was before by itself.
    this.options = { ...options, from: 'now', last: undefined };
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
    const lost = () => {
      if (this.over.signal.aborted) return;
      // Another took the lead, as nothing was heard of this one.
      this.stepDown();
      this.stand({});
    };
    this.hold(`${this.name}/leader`, how, () => this.lead()).catch(lost);
  }

  lead() {
    this.stepDown();
    this.leader = crypto.randomUUID();
    this.number = 0;
    this.wants = new Map([[this.tab, this.wanted()]]);
    this.connection = new Connection(this.options, this.union(), true, {
      events: (events, at) => this.pass({ kind: 'events', events, at }),
      told: (state, at) => this.told(state, at),
      ready: () => Promise.resolve(),
      done: () => {},
      alive: () => this.post({ kind: 'alive', leader: this.leader }),
    });
    this.connection.place = this.at || null;
    this.post({ kind: 'roll' });
    this.connection.run();
  }

  stepDown() {
    clearTimeout(this.change);
    this.connection?.stop();
    this.connection = this.opening = null;
  }

  /** Whether the others are still here. */
  async look() {
    if (this.connection) {
      const { held = [] } = await navigator.locks.query();
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
    clearTimeout(this.change);
    const wanted = this.union();
    const isMore = wanted.some((stream) => !connection.streams.includes(stream));
    const isLess = wanted.length < connection.streams.length;
    const change = () => connection.reconnect(this.union());
    if (isMore || isLess) this.change = setTimeout(change, isMore ? JOINING_MS : LEAVING_MS);
    if (isMore || this.opening === null) return;
    const { leader, number, at, opening: state } = this;
    /** @type {Numbered} */
    const here = { kind: 'here', leader, number, at, streams: connection.streams, state };
    if (tab === this.tab) this.hear(here);
    else this.post(here);
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
    switch (state.state) {
      case 'ended': case 'refused': case 'expired':
        // It may be so for one of them only: each asks for itself.
        this.post({ kind: 'dissolve' });
        return this.dissolve();
      case 'live':
        this.opening = state;
        return this.pass({ kind: 'open', at, state, streams: this.connection?.streams ?? [] });
      case 'gap':
        // Each finds out what of it was missed by itself, as it now lacks what is before.
        if (this.opening === null) return;
        return this.pass({ kind: 'open', at, state: this.opening, streams: this.connection?.streams ?? [] });
      case 'reset': return;
      default:
        if (state.state === 'connecting') this.opening = null;
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
      case 'dissolve': return this.dissolve();
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
    // Of one whose beginning was missed nothing is known.
    if (!isSame && !isOpening) return this.want();
    const isNext = isSame && message.number === this.number + (message.kind === 'here' ? 0 : 1);
    this.leader = message.leader;
    this.number = message.number;
    this.at = message.at;
    for (const member of [...this.members]) {
      if (isOpening) {
        // It may be said to another, of whom this one has heard all.
        const isForOther = message.kind === 'here' && isNext && member.isAttached;
        if (!isForOther) member.attach(message.at, message.streams, message.state);
      } else if (!isNext) member.catchUp(message.at);
      else if (message.kind === 'events') member.offer(message.events, message.at);
      else member.shared(message.state);
    }
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
