// A tab that leads, and tabs that read history to join it: nothing is missed or doubled, whatever
// arrives in between.

import { expect, test } from './hub.js';
import { got, live, numbers, subscribe } from './watching.js';

// The browser requests a missing icon.
test.use({ expectedErrors: [/404/] });

/**
 * Opens a tab that leads, and a second one whose request for history is held back. `answer(n)` answers
 * it with the first `n` events.
 */
async function joining(hub, context, before) {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await live(leader);
  await hub.count('n', 0, before);
  const page = await context.newPage();
  let isHeld = false;
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route(/follow=false/, async (route) => {
    const answer = await route.fetch();
    if (isHeld) return route.fulfill({ response: answer });
    isHeld = true;
    const blocks = (await answer.text()).split(/(?<=\n\n)/);
    const events = await released;
    // The first block is `hub-open`.
    return route.fulfill({ response: answer, body: blocks.slice(0, 1 + events).join('') });
  });
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(() => isHeld).toBe(true);
  return { leader, page, answer: release };
}

/** Waits until all tabs have all events, once and in order. */
async function have(pages, from, to) {
  for (const page of pages) await expect.poll(() => got(page)).toEqual(numbers(to).slice(from));
}

test('events that arrive while a tab reads history are not missed', async ({ hub, context }) => {
  const { leader, page, answer } = await joining(hub, context, 3);
  await hub.count('n', 3, 50);
  await have([leader], 0, 50);
  answer(3);
  await have([page], 0, 50);
  await hub.count('n', 50, 60);
  await have([leader, page], 0, 60);
});

test('events of a batch that a tab has already read are not handed on again', async ({ hub, context }) => {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await live(leader);
  const page = await context.newPage();
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  let asked = 0;
  await page.route(/follow=false/, async (route) => {
    asked += 1;
    if (asked > 1) return route.continue();
    await released;
    // History has the events published meanwhile, except the last two of a batch of five.
    const answer = await route.fetch();
    const blocks = (await answer.text()).split(/(?<=\n\n)/);
    return route.fulfill({ response: answer, body: blocks.slice(0, 1 + 7).join('') });
  });
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(() => asked).toBe(1);
  await page.evaluate(() => {
    window.places = [];
    const { subscription } = window;
    setInterval(() => window.places.push(subscription.lastEventId), 1);
  });
  await hub.count('n', 0, 4);
  await hub.count('n', 4, 9);
  await have([leader], 0, 9);
  release();
  await have([page], 0, 9);
  await hub.count('n', 9, 12);
  await have([leader, page], 0, 12);
  const places = (await page.evaluate(() => window.places)).filter(Boolean);
  expect(places, 'the position never goes back').toEqual([...places].sort());
});

test('events beyond the bound on held events are read from history again', async ({ hub, context }) => {
  test.setTimeout(120_000);
  const { leader, page, answer } = await joining(hub, context, 2);
  // 24 MB of text, which take 48 MB in memory.
  const pad = 'x'.repeat(100_000);
  for (let n = 2; n < 242; n += 20) {
    await hub.publish(Array.from({ length: 20 }, (_, i) => ({ stream: 'n', data: { n: n + i, pad } })));
  }
  await hub.count('n', 242, 245);
  const numbersOf = (page) => page.evaluate(() => window.got.map(({ data }) => data.n ?? data));
  await expect.poll(() => numbersOf(leader), { timeout: 60_000 }).toEqual(numbers(245));
  expect(await page.evaluate(() => window.subscription.held.acts.length)).toBeLessThan(5);
  answer(2);
  await expect.poll(() => numbersOf(page), { timeout: 60_000 }).toEqual(numbers(245));
});

test('a tab whose iterator takes nothing holds few events and misses none', async ({ hub, context }) => {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await live(leader);
  const page = await context.newPage();
  await page.goto(`${hub.url}/healthz`);
  await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    window.subscription = subscribe({ url: at, streams: 'n' });
    window.reader = window.subscription[Symbol.asyncIterator]();
  }, hub.url);
  await expect.poll(() => page.evaluate(() => window.subscription.state)).toMatchObject({ state: 'live', shared: 'follower' });
  for (let n = 0; n < 6_000; n += 500) {
    await hub.count('n', n, n + 500);
    // Limits the events that the leader passes to its followers at once.
    await expect.poll(() => leader.evaluate(() => window.got.length)).toBe(n + 500);
  }
  const most = await page.evaluate(() => window.subscription.queue.events.length);
  expect(most).toBeGreaterThanOrEqual(1_000);
  expect(most).toBeLessThan(3_000);
  const all = await page.evaluate(async () => {
    const all = [];
    while (all.length < 6_000) all.push((await window.reader.next()).value.data);
    return all;
  });
  expect(all).toEqual(numbers(6_000));
});

test('a tab that missed messages notices and reads the events from history', async ({ hub, context }) => {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await live(leader);
  const page = await context.newPage();
  await page.addInitScript(() => {
    const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage');
    Object.defineProperty(BroadcastChannel.prototype, 'onmessage', {
      set(hear) { set.call(this, (event) => window.isDeaf || hear(event)); },
    });
  });
  await subscribe(page, hub.url, { streams: 'n' });
  await live(page);
  await hub.count('n', 0, 5);
  await have([leader, page], 0, 5);
  await page.evaluate(() => { window.isDeaf = true; });
  await hub.count('n', 5, 20);
  await have([leader], 0, 20);
  await page.evaluate(() => { window.isDeaf = false; });
  await hub.count('n', 20, 21);
  await have([leader, page], 0, 21);
});
