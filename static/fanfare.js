/**
 * The browser client of Fanfare: a subscription that survives reloads, restarts and bad networks,
 * over one connection for all tabs of an origin; and requests to publish, to read history and the like.
 *
 *     import { publish, subscribe } from '/fanfare.js';
 *     subscribe({ streams: 'builds.*', onEvent: (event) => console.log(event.stream, event.data) });
 *     await publish('builds.7', { step: 3 });
 *
 * Promises: every event once (except after `reset`) and in order; every change of the connection is reported to `onState`.
 * Never: an event that was not selected, a second connection if one suffices, an event published twice.
 *
 * The API and its types are in `fanfare.d.ts`.
 *
 * @module fanfare
 */

import { HubError, SubscriptionError } from './fanfare/errors.js';
import { history } from './fanfare/history.js';
import { Parser } from './fanfare/parser.js';
import { presence, publish, ticket } from './fanfare/requests.js';
import { selects } from './fanfare/selector.js';
import { LiveSubscription } from './fanfare/subscription.js';

/** @type {typeof import('./fanfare.d.ts').subscribe} */
export const subscribe = (options) => new LiveSubscription(options);

export { HubError, Parser, SubscriptionError, history, presence, publish, selects, ticket };
