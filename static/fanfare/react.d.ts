import type { FanfareEvent, State, SubscriptionOptions } from '../fanfare.js';

export interface StreamOptions<Data = any> extends SubscriptionOptions<Data> {
  /** Number of newest events in `events`; 100 by default. */
  limit?: number;
}

export interface StreamResult<Data = any> {
  /** The newest events, oldest first. */
  events: FanfareEvent<Data>[];
  /** The newest event. */
  event: FanfareEvent<Data> | null;
  /** State of the subscription; null without options. */
  state: State | null;
}

/**
 * Subscribes while the component is mounted, and renders again for each batch of events and each state. Without
 * options it does not subscribe. Changed options begin another subscription, with no events; changed functions
 * take effect without one. Nothing is requested on a server, where the result has no events.
 *
 * @throws {TypeError} in an effect, if an option is unknown or has the wrong type
 */
export function useStream<Data = any>(options: StreamOptions<Data> | null | undefined): StreamResult<Data>;
