/**
 * The browser client of Fanfare: a subscription that survives reloads, restarts and bad networks,
 * over one connection for all tabs of an origin.
 *
 *     import { subscribe } from '/fanfare.js';
 *     subscribe({ streams: 'builds.*', onEvent: (event) => console.log(event.stream, event.data) });
 *
 * Promises: every event once and in order; whatever becomes of the connection is told to `onState`.
 * Never: an event that was not selected, a second connection where one does, a reconnect without a wait.
 *
 * What there is, and its types: `fanfare.d.ts`.
 *
 * @module fanfare
 */

import { Parser } from './fanfare/parser.js';
import { selects } from './fanfare/selector.js';
import { LiveSubscription, SubscriptionError } from './fanfare/subscription.js';

/** @type {typeof import('./fanfare.d.ts').subscribe} */
export const subscribe = (options) => new LiveSubscription(options);

export { Parser, SubscriptionError, selects };
