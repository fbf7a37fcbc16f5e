// Pages that subscribe by `fanfare.js` or by an EventSource, and what they received.

import { expect } from './hub.js';

/** Subscribes on an empty page of the hub; collects `window.got` and `window.states`. */
export async function subscribe(page, url, options, name = '') {
  if (!page.url().startsWith(url)) await page.goto(`${url}/healthz`);
  await page.evaluate(async ([at, options, name]) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const [got, states] = [window[`got${name}`] = [], window[`states${name}`] = []];
    window[`subscription${name}`] = subscribe({
      url: at, ...options,
      onEvent: (event) => got.push(event),
      onState: (state) => states.push(state),
    });
  }, [url, options, name]);
}

export const got = (page, name = '') => page.evaluate((name) => window[`got${name}`].map((event) => event.data), name);
export const states = (page) => page.evaluate(() => window.states);
export const numbers = (to) => Array.from({ length: to }, (_, n) => n);

export async function live(page) {
  await expect.poll(async () => (await states(page)).at(-1)?.state).toBe('live');
}

/** Subscribes by an EventSource; collects events in `window.got`, control events in `window.told`. */
export async function listen(page, url, query, types = ['message']) {
  if (!page.url().startsWith(url)) await page.goto(`${url}/healthz`);
  await page.evaluate(([at, types]) => {
    window.got = [];
    window.told = [];
    window.source = new EventSource(at);
    window.source.onopen = () => window.told.push({ type: 'open' });
    window.source.onerror = () => window.told.push({ type: 'error', state: window.source.readyState });
    for (const type of types) {
      window.source.addEventListener(type, (event) => window.got.push({ id: event.lastEventId, data: JSON.parse(event.data) }));
    }
    for (const type of ['hub-open', 'hub-gap', 'hub-end', 'hub-error', 'hub-notice']) {
      window.source.addEventListener(type, (event) => window.told.push({ type, ...JSON.parse(event.data) }));
    }
  }, [`${url}/events?${query}`, types]);
}

export const told = (page) => page.evaluate(() => window.told);
/** Waits until the hub has `count` sessions. */
export const sessions = (hub, count) => expect.poll(async () => (await hub.get('/sessions')).sessions.length).toBe(count);

/** Returns the texts of the drawn rows of a dashboard's tail. */
export const rows = (page) => page.locator('.tail .row .text').allTextContents();
