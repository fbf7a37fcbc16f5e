/** An event. */
export interface FanfareEvent<Data = any> {
  /** Id to resume after. The ids of one hub sort as text. */
  id: string;
  /** First of `streams`; the event may also be in streams that were not selected. */
  stream: string;
  /** All of its streams that the subscription selects. */
  streams: string[];
  /** `message`, or the type that the publisher gave: `log`, `metric`, … */
  type: string;
  /** Time of the commit (RFC 3339). */
  time: string;
  /** The published JSON, or a string. */
  data: Data;
}

/** Result of resuming after the last id. */
export type Resume = 'live' | 'resumed' | 'gap' | 'reset';

/** States of a subscription, distinguished by `state`. */
export type State =
  | { state: 'connecting'; /** Failed attempts since the last successful one. */ attempt: number }
  | {
      state: 'live';
      /** `live` if no id was known; `resumed`; `gap` and `reset`, which follow as states as well. */
      resume: Resume;
      /** The id that the request asked to resume after. */
      requested: string | null;
      /** Position before the first event that follows. */
      from: string;
      /** Name of the session in the hub's logs and in `GET /sessions`. */
      session: string;
      /** Selectors that are read, if not all that was requested is granted, else null. */
      granted: string[] | null;
      /** Requested selectors that are not granted, or only in part. */
      denied: string[];
      /** `leader` if this tab reads for others, `follower` if another reads for it, else null. `live` is reported
       * again when it changes. */
      shared: 'leader' | 'follower' | null;
    }
  /** Events were removed before they were read; the subscription continues with the first one left. */
  | { state: 'gap'; /** Number of events, if known. */ missed: number | null; first: string | null }
  /**
   * The hub does not know the last id (another journal). Every stored event follows, from the oldest, also
   * those seen before: clear what the page shows.
   */
  | { state: 'reset'; requested: string | null }
  /** A stream has ended; others may continue. */
  | { state: 'stream-ended'; stream: string; reason: string }
  /** The credential expires at `at`. */
  | { state: 'expiring'; at: string }
  /** The next attempt follows in `delay` ms. */
  | {
      state: 'waiting';
      /** `lost`, `silent` (45 s without bytes), `status` (an answer without a code), `credential` (the function
       * failed, or is asked again), or a code of `hub-error` or of a problem document, such as `draining`, or
       * `resource_exhausted` with the `limit` that was reached. */
      reason: string;
      /** Status of the response, if it was an error. */
      status?: number;
      limit?: string;
      detail?: string;
      delay: number;
      attempt: number;
    }
  /** An attempt failed, and the browser has no network. The next one follows once it has, or in `delay` ms. */
  | { state: 'offline'; delay: number; attempt: number }
  /** The tab is hidden, and `pauseHidden` is set. */
  | { state: 'paused' }
  | FinalState;

/** Final states of a subscription. */
export type FinalState =
  /** Every stream has ended. */
  | { state: 'ended' }
  /** The hub refused the subscription (RFC 9457). */
  | { state: 'refused'; status: number; code?: string; field?: string; detail?: string }
  /** The credential has expired, and there is no other. */
  | { state: 'expired'; status?: number; code?: string; field?: string; detail?: string }
  /** Closed by `close()` or the `signal`. */
  | { state: 'closed' };

/**
 * A secret, or a function that supplies one. The function is called first, and again (with `expired`) once
 * the hub no longer accepts the last secret. A function that returns nothing ends the subscription.
 */
export type Credential =
  | string
  | ((reason: 'first' | 'expired') => string | null | undefined | Promise<string | null | undefined>);

/** Storage of the last id: a `Storage`, or an object with these two methods. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Options of every request. */
export interface RequestOptions {
  /** Base URL of the hub; by default the hub that served this module. */
  url?: string | URL;
  /** An API key or JWT, sent as `Authorization: Bearer`. */
  token?: Credential;
  /** Sending of cookies, as for `fetch`; `same-origin` by default. */
  credentials?: 'omit' | 'same-origin' | 'include';
  /** Headers of each request. */
  headers?: Record<string, string>;
  /** Ends the request or subscription. */
  signal?: AbortSignal;
  /** Replacement of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface SubscriptionOptions<Data = any> extends RequestOptions {
  /** Names or patterns: `builds.42`, `builds.*`, `builds.**`, `**`. */
  streams: string | string[];
  /** Types of events to receive; all if omitted. */
  types?: string[];
  /** A ticket of `POST /tickets`, sent in the query. */
  ticket?: Credential;
  /** Start: `now` (default), `start`, `10m`, a time (RFC 3339), or the id of an event to start after. */
  from?: string;
  /** Number of newest events to begin with, in place of `from`. */
  last?: number;
  onEvent?: (event: FanfareEvent<Data>) => void;
  /**
   * Receives the events of each read together, after `onEvent` got each of them: one of a slow stream, up to some
   * thousands while history is read.
   */
  onEvents?: (events: FanfareEvent<Data>[]) => void;
  onState?: (state: State) => void;
  /**
   * Resumes after a reload of the page. The last id is stored in `sessionStorage`, under this name if one
   * is given, or in the given storage. A stored id overrides `from` and `last`, so earlier events do not come
   * again after a reload.
   */
  remember?: boolean | string | { storage: PositionStorage; key: string };
  /**
   * Shares one connection between the tabs of an origin (default; only in a secure context). If a
   * credential is a function, a name separates subscriptions that must not share.
   */
  share?: boolean | string;
  /** Reads nothing while the tab is hidden. Missed events arrive once it is shown. */
  pauseHidden?: boolean;
}

/**
 * Subscribes to streams of a hub until the subscription is closed or no more events can follow.
 *
 * @throws {TypeError} if an option is unknown or has the wrong type, or `token` and `ticket` are both set; values
 *   that the hub does not accept end in `refused`
 */
export function subscribe<Data = any>(options: SubscriptionOptions<Data>): Subscription<Data>;

/**
 * A subscription. Its async iterator reads no faster than its consumer, ends with the subscription, and
 * throws a {@link SubscriptionError} if that was refused or has expired. Leaving the loop (`break`) closes the
 * subscription; all iterators of one share a queue. Events before iteration go to `onEvent` alone.
 */
export interface Subscription<Data = any> extends AsyncIterable<FanfareEvent<Data>> {
  /** Id of the last event that was handed on, or the position that reading began at. */
  readonly lastEventId: string | null;
  /** The last state. */
  readonly state: State;
  /** Ends the subscription as `closed`; without effect after a final state. */
  close(): void;
  /** Drops the connection, that of all tabs if shared, and resumes at once. */
  reconnect(): void;
  /**
   * Reads further streams, from the last read event on, over a new request. Several changes cause one. Streams that
   * are read already are ignored.
   *
   * @throws {TypeError} if a name or pattern is invalid
   */
  addStreams(...streams: (string | string[])[]): void;
  /**
   * No longer reads streams. No event of them follows.
   *
   * @throws {TypeError} if no stream would be left
   */
  removeStreams(...streams: (string | string[])[]): void;
}

/** Members of a problem document (RFC 9457). */
export interface ProblemDetails {
  /** Status of the response; undefined if there was none. */
  status?: number;
  /** Code of the hub; `lost` or `silent` without a response, `status` for a response without a code. */
  code?: string;
  /** Part of the request that is wrong. */
  field?: string;
  /** Limit that was reached. */
  limit?: string;
  detail?: string;
  /** Delay after which the request may be repeated, if the hub gave one (`Retry-After`). */
  retryAfterMs?: number;
  cause?: unknown;
}

/** Error of a request that the hub refused, or that did not reach it. */
export class HubError extends Error implements ProblemDetails {
  constructor(problem: ProblemDetails, prefix?: string);
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly field: string | undefined;
  readonly limit: string | undefined;
  readonly detail: string | undefined;
  readonly retryAfterMs: number | undefined;
}

/** Error of an iterated subscription that was refused or has expired. */
export class SubscriptionError extends HubError {
  constructor(state: Extract<FinalState, { state: 'refused' | 'expired' }>);
  readonly state: Extract<FinalState, { state: 'refused' | 'expired' }>;
}

export interface PublishOptions extends RequestOptions {
  /** `message` by default. */
  type?: string;
  /** Idempotency key: the event is published once, even if the request is repeated. */
  key?: string;
}

/** Receipt of a published event. */
export interface Receipt {
  id: string;
  /** As published. */
  stream: string | string[];
  /** Number of sessions that the event goes to; 0 for a duplicate. */
  subscribers: number;
  /** True if the key was used before, so that nothing was published. */
  duplicate: boolean;
}

/**
 * Publishes an event to a stream, or to several. With a `key` a failed request is repeated up to four times; without
 * one it is not, because the event could be published twice.
 *
 * @throws {HubError} if the hub refused the event or did not answer
 */
export function publish(stream: string | string[], data: unknown, options?: PublishOptions): Promise<Receipt>;

export interface HistoryOptions extends RequestOptions {
  /** A ticket of `POST /tickets`, sent in the query. */
  ticket?: Credential;
  types?: string[];
  /** As for `subscribe`; `start` by default. */
  from?: string;
  /** Number of newest events to begin with, in place of `from`. */
  last?: number;
  /** Maximum number of events. */
  limit?: number;
  /** Receives the states of the connection, such as `gap`. */
  onState?: (state: State) => void;
}

/**
 * Reads the stored events of streams and ends with the newest one. A connection that breaks is resumed.
 *
 * @throws {HubError} from the iterator, if the hub refused the request or five attempts in a row have failed
 */
export function history<Data = any>(
  streams: string | string[],
  options?: HistoryOptions,
): AsyncGenerator<FanfareEvent<Data>, void, void>;

/** Subscribers of a stream. */
export interface Presence {
  stream: string;
  /** Number of sessions that an event on the stream would go to. */
  sessions: number;
  /** Those of them without a credential. */
  anonymous: number;
  /** At most 1,000 subjects, most sessions first. */
  subjects: { subject: string; sessions: number }[];
  /** Number of all subjects. */
  subjectCount: number;
  /** Hubs of the cluster that did not answer; their sessions are not counted. */
  silentHubs: string[];
}

/**
 * Returns the subscribers of a stream. Requires the grant `admin`.
 *
 * @throws {HubError}
 */
export function presence(stream: string, options?: RequestOptions): Promise<Presence>;

export interface TicketOptions extends RequestOptions {
  /** Time until the ticket expires: `10m` by default, `1h` at most. */
  ttl?: string;
}

export interface Ticket {
  ticket: string;
  /** RFC 3339. */
  expiresAt: string;
}

/**
 * Creates a ticket to read streams, for an `EventSource` or a page without a credential.
 *
 * @throws {HubError}
 */
export function ticket(streams: string | string[], options?: TicketOptions): Promise<Ticket>;

/** Parses `text/event-stream` (WHATWG HTML §9.2.6) from bytes in chunks of any size. */
export class Parser {
  constructor(onBlock: (block: { type: string; data: string; lastEventId: string }) => void);
  /** Last event id, kept until another one arrives. */
  readonly lastEventId: string;
  /** Reconnect delay in milliseconds, if the server has set one. */
  readonly retry: number | null;
  push(bytes: Uint8Array): void;
}

/**
 * Returns true if a selector matches a stream: `*` matches one part, a final `**` one or more; no wildcard
 * matches `chat.…`; only patterns that begin with `hub.` match `hub.…`.
 */
export function selects(selector: string, stream: string): boolean;
