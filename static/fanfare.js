/**
 * The browser client of Fanfare: a subscription that survives reloads, restarts and bad networks,
 * over one connection for all tabs of an origin.
 *
 *     import { subscribe } from '/fanfare.js';
 *     subscribe({ streams: 'builds.*', onEvent: (event) => console.log(event.stream, event.data) });
 *
 * Promises: every event once (except after `reset`) and in order; every change of the connection is reported to `onState`.
 * Never: an event that was not selected, a second connection if one suffices.
 *
 * The API and its types are in `fanfare.d.ts`.
 *
 * @module fanfare
 */

import { Parser } from './fanfare/parser.js';
import { selects } from './fanfare/selector.js';
import { LiveSubscription, SubscriptionError } from './fanfare/subscription.js';

/** @type {typeof import('./fanfare.d.ts').subscribe} */
export const subscribe = (options) => new LiveSubscription(options);

export { Parser, SubscriptionError, selects };
