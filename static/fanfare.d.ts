/** An event. */
export interface FanfareEvent<Data = any> {
  /** What a later subscription may go on after. The ids of one hub sort as text. */
  id: string;
  /** The stream it was published to: the first of `streams`. */
  stream: string;
  /** All of its streams that were asked for. */
  streams: string[];
  /** `message`, or what its publisher named it: `log`, `metric`, … */
  type: string;
  /** When it was committed (RFC 3339). */
  time: string;
  /** JSON as it was published, or a text. */
  data: Data;
}

/** What became of the last id that the hub was told. */
export type Resume = 'live' | 'resumed' | 'gap' | 'reset';

/** What becomes of a subscription, told apart by `state`. */
export type State =
  | { state: 'connecting'; /** Attempts that failed since the last that did not. */ attempt: number }
  | {
      state: 'live';
      /** `live` where no id was known; `resumed`; `gap` and `reset` are told once more by themselves. */
      resume: Resume;
      /** The last id that the hub was told. */
      requested: string | null;
      /** The place before the first event to come. */
      from: string;
      /** The name of the connection in the hub's logs and in `GET /sessions`. */
      session: string;
      /** Whether this tab reads for others, another reads for it, or neither. */
      shared: 'leader' | 'follower' | null;
    }
  /** Events were removed before they could be read; it goes on with the first that is left. */
  | { state: 'gap'; /** How many, where that is known. */ missed: number | null; first: string | null }
  /** The last id means nothing to the hub, whose journal is another. It goes on from its start. */
  | { state: 'reset'; requested: string | null }
  /** One stream has ended; others may go on. */
  | { state: 'stream-ended'; stream: string; reason: string }
  /** The credential is good until then. */
  | { state: 'expiring'; at: string }
  /** The next attempt is in `delay` ms. */
  | {
      state: 'waiting';
      /** `lost` and `silent` connections, `status`, `credential`, or the hub's own word, such as
       * `draining`, or `resource_exhausted` with the `limit` that was hit. */
      reason: string;
      limit?: string;
      detail?: string;
      delay: number;
      attempt: number;
    }
  /** The browser has no network. It goes on as soon as there is one. */
  | { state: 'offline' }
  /** The tab is hidden, and `pauseHidden` was asked for. */
  | { state: 'paused' }
  | Final;

/** What is told last. */
export type Final =
  /** Every stream has ended. */
  | { state: 'ended' }
  /** The hub does not let this subscription be (RFC 9457). */
  | { state: 'refused'; status: number; code?: string; detail?: string }
  /** The credential is good no longer, and there is no other. */
  | { state: 'expired'; status?: number; code?: string; detail?: string }
  /** By `close()` or the `signal`. */
  | { state: 'closed' };

/**
 * A secret, or who is asked for one: at first, and again (`why` is `expired`) once the hub does not take
 * the last any more. One that answers nothing gives up.
 */
export type Credential =
  | string
  | ((why: 'first' | 'expired') => string | null | undefined | Promise<string | null | undefined>);

/** Where an id is kept: a `Storage`, or what does as much of it. */
export interface Place {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface Options {
  /** Names or patterns: `builds.42`, `builds.*`, `builds.**`, `**`. */
  streams: string | string[];
  /** Where the hub is; where this module came from, unless given. */
  url?: string | URL;
  /** Only events of these types. */
  types?: string[];
  /** An API key or JWT, sent as `Authorization: Bearer`. */
  token?: Credential;
  /** What `POST /tickets` gave, sent in the query. */
  ticket?: Credential;
  /** Whether cookies are sent: `same-origin`, unless given. */
  credentials?: 'omit' | 'same-origin' | 'include';
  /** Sent with each request. */
  headers?: Record<string, string>;
  /** Where to begin: `now` (unless given), `start`, `10m`, a time (RFC 3339), or after an event's id. */
  from?: string;
  /** Or with the newest so many. */
  last?: number;
  onEvent?: (event: FanfareEvent) => void;
  onState?: (state: State) => void;
  /**
   * Goes on after a reload of the page: the last id is kept in `sessionStorage`, by this name where one is
   * given, or where it is told to. It then counts before `from` and `last`.
   */
  remember?: boolean | string | { storage: Place; key: string };
  /**
   * Whether the tabs of an origin share a connection (`true`, unless given; only in a secure context). A
   * name keeps apart what does not belong together, where a credential is a function.
   */
  share?: boolean | string;
  /** Whether nothing is read while the tab is hidden. What was missed comes when it is shown. */
  pauseHidden?: boolean;
  /** Closes the subscription. */
  signal?: AbortSignal;
  /** In place of the global `fetch`. */
  fetch?: typeof fetch;
}

/**
 * Subscribes to streams of a hub, and goes on until it is closed or nothing more can come.
 *
 * @throws {TypeError} where an option is none that a hub could take
 */
export function subscribe(options: Options): Subscription;

/**
 * A subscription. As an async iterable it waits for its reader, ends with the subscription, and throws a
 * {@link SubscriptionError} where that was refused or has expired.
 */
export interface Subscription extends AsyncIterable<FanfareEvent> {
  /** The last event that was handed on, or the place that reading began from. */
  readonly lastEventId: string | null;
  /** What was told last. */
  readonly state: State;
  /** Ends it; `closed` is the last that is told. */
  close(): void;
  /** Drops the connection and takes it up again after the last event. */
  reconnect(): void;
}

/** Why an iterated subscription has no more events. */
export class SubscriptionError extends Error {
  constructor(state: Final);
  readonly state: Final;
}

/** Reads `text/event-stream` as WHATWG HTML §9.2.6 says, from bytes cut anywhere. */
export class Parser {
  constructor(onBlock: (block: { type: string; data: string; lastEventId: string }) => void);
  /** The last id, which stays until another comes. */
  readonly lastEventId: string;
  /** How many milliseconds to wait before a reconnect, where that was said. */
  readonly retry: number | null;
  push(bytes: Uint8Array): void;
}

/** Whether a selector means a stream: `*` stands for one part, a last `**` for one or more. */
export function selects(selector: string, stream: string): boolean;
