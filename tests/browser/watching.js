// Helpers that subscribe in a page and return the received events.

import { expect } from './hub.js';

/** What browsers log about requests that fail on purpose, and about the missing icon. */
export const NETWORK_ERRORS = /Failed to load resource|net::ERR_|can’t establish a connection|connection to .* was interrupted/;

/** Subscribes with `fanfare.js` on an empty page of the hub. Collects `window.received` and `window.states`. */
export async function subscribe(page, url, options, name = '') {
  if (!page.url().startsWith(url)) await page.goto(`${url}/healthz`);
  await page.evaluate(async ([at, options, name]) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const [received, states] = [window[`received${name}`] = [], window[`states${name}`] = []];
    window[`subscription${name}`] = subscribe({
      url: at, ...options,
      onEvent: (event) => received.push(event),
      onState: (state) => states.push(state),
    });
  }, [url, options, name]);
}

/** Returns the data of the received events. */
export const received = (page, name = '') => page.evaluate((name) => window[`received${name}`].map((event) => event.data), name);
export const states = (page) => page.evaluate(() => window.states);
export const numbers = (to) => Array.from({ length: to }, (_, n) => n);

export async function waitUntilLive(page) {
  await expect.poll(async () => (await states(page)).at(-1)?.state).toBe('live');
}

/** Subscribes with an EventSource. Collects events in `window.received` and others in `window.controlEvents`. */
export async function subscribeByEventSource(page, url, query, types = ['message']) {
  if (!page.url().startsWith(url)) await page.goto(`${url}/healthz`);
  await page.evaluate(([at, types]) => {
    window.received = [];
    window.controlEvents = [];
    window.source = new EventSource(at);
    window.source.onopen = () => window.controlEvents.push({ type: 'open' });
    window.source.onerror = () => window.controlEvents.push({ type: 'error', state: window.source.readyState });
    for (const type of types) {
      window.source.addEventListener(type, (event) => window.received.push({ id: event.lastEventId, data: JSON.parse(event.data) }));
    }
    for (const type of ['hub-open', 'hub-gap', 'hub-end', 'hub-error', 'hub-notice']) {
      window.source.addEventListener(type, (event) => window.controlEvents.push({ type, ...JSON.parse(event.data) }));
    }
  }, [`${url}/events?${query}`, types]);
}

export const controlEvents = (page) => page.evaluate(() => window.controlEvents);

/** Waits until the hub has `count` sessions. */
export const waitForSessions = (hub, count) => expect.poll(async () => (await hub.get('/sessions')).sessions.length).toBe(count);

/** Returns the texts of the drawn rows of a dashboard's tail. */
export const rows = (page) => page.locator('.tail .row .text').allTextContents();
