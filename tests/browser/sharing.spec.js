// A leading tab, and tabs that read history to join it: no event is missed or duplicated, even if events
// arrive in between.

import { expect, test } from './hub.js';
import { numbers, received, subscribe, waitUntilLive } from './watching.js';

// The browser requests a missing icon.
test.use({ expectedErrors: [/404/] });

/**
 * Opens a leading tab, and a second one whose request for history is held back. `releaseHistory(n)` answers
 * it with the first `n` events.
 */
async function openLeaderAndJoiningTab(hub, context, eventCount) {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await waitUntilLive(leader);
  await hub.publishNumbers('n', 0, eventCount);
  const page = await context.newPage();
  let isHeld = false;
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  await page.route(/follow=false/, async (route) => {
    const response = await route.fetch();
    if (isHeld) return route.fulfill({ response });
    isHeld = true;
    const blocks = (await response.text()).split(/(?<=\n\n)/);
    const events = await released;
    // The first block is `hub-open`.
    return route.fulfill({ response, body: blocks.slice(0, 1 + events).join('') });
  });
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(() => isHeld).toBe(true);
  return { leader, page, releaseHistory: release };
}

/** Waits until each tab has received each event once and in order. */
async function expectEvents(pages, from, to) {
  for (const page of pages) await expect.poll(() => received(page)).toEqual(numbers(to).slice(from));
}

test('events that arrive while a tab reads history are not missed', async ({ hub, context }) => {
  const { leader, page, releaseHistory } = await openLeaderAndJoiningTab(hub, context, 3);
  await hub.publishNumbers('n', 3, 50);
  await expectEvents([leader], 0, 50);
  releaseHistory(3);
  await expectEvents([page], 0, 50);
  await hub.publishNumbers('n', 50, 60);
  await expectEvents([leader, page], 0, 60);
});

test('events of a batch that a tab has already read are not handed on again', async ({ hub, context }) => {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await waitUntilLive(leader);
  const page = await context.newPage();
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  let requests = 0;
  await page.route(/follow=false/, async (route) => {
    requests += 1;
    if (requests > 1) return route.continue();
    await released;
    // History has the events published meanwhile, except the last two of a batch of five.
    const response = await route.fetch();
    const blocks = (await response.text()).split(/(?<=\n\n)/);
    return route.fulfill({ response, body: blocks.slice(0, 1 + 7).join('') });
  });
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(() => requests).toBe(1);
  await page.evaluate(() => {
    window.positions = [];
    const { subscription } = window;
    setInterval(() => window.positions.push(subscription.lastEventId), 1);
  });
  await hub.publishNumbers('n', 0, 4);
  await hub.publishNumbers('n', 4, 9);
  await expectEvents([leader], 0, 9);
  release();
  await expectEvents([page], 0, 9);
  await hub.publishNumbers('n', 9, 12);
  await expectEvents([leader, page], 0, 12);
  const positions = (await page.evaluate(() => window.positions)).filter(Boolean);
  expect(positions, 'the position never goes back').toEqual([...positions].sort());
});

test('events beyond the bound on held events are read from history again', async ({ hub, context }) => {
  test.setTimeout(120_000);
  const { leader, page, releaseHistory } = await openLeaderAndJoiningTab(hub, context, 2);
  // 24 MB of text, which take 48 MB in memory.
  const pad = 'x'.repeat(100_000);
  for (let n = 2; n < 242; n += 20) {
    await hub.publish(Array.from({ length: 20 }, (_, i) => ({ stream: 'n', data: { n: n + i, pad } })));
  }
  await hub.publishNumbers('n', 242, 245);
  const numbersOf = (page) => page.evaluate(() => window.received.map(({ data }) => data.n ?? data));
  await expect.poll(() => numbersOf(leader)).toEqual(numbers(245));
  expect(await page.evaluate(() => window.subscription.buffer.actions.length)).toBeLessThan(5);
  releaseHistory(2);
  await expect.poll(() => numbersOf(page)).toEqual(numbers(245));
});

test('a tab whose iterator takes nothing holds few events and misses none', async ({ hub, context }) => {
  const leader = await context.newPage();
  await subscribe(leader, hub.url, { streams: 'n' });
  await waitUntilLive(leader);
  const page = await context.newPage();
  await page.goto(`${hub.url}/healthz`);
  await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    window.subscription = subscribe({ url: at, streams: 'n' });
    window.reader = window.subscription[Symbol.asyncIterator]();
  }, hub.url);
  await expect.poll(() => page.evaluate(() => window.subscription.state)).toMatchObject({ state: 'live', shared: 'follower' });
  for (let n = 0; n < 6_000; n += 500) {
    await hub.publishNumbers('n', n, n + 500);
    // Limits the events that the leader passes to its followers at once.
    await expect.poll(() => leader.evaluate(() => window.received.length)).toBe(n + 500);
  }
  const queued = await page.evaluate(() => window.subscription.queue.events.length);
  expect(queued).toBeGreaterThanOrEqual(1_000);
  expect(queued).toBeLessThan(3_000);
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
  await waitUntilLive(leader);
  const page = await context.newPage();
  await page.addInitScript(() => {
    const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage');
    Object.defineProperty(BroadcastChannel.prototype, 'onmessage', {
      set(handler) { set.call(this, (event) => window.dropsMessages || handler(event)); },
    });
  });
  await subscribe(page, hub.url, { streams: 'n' });
  await waitUntilLive(page);
  await hub.publishNumbers('n', 0, 5);
  await expectEvents([leader, page], 0, 5);
  await page.evaluate(() => { window.dropsMessages = true; });
  await hub.publishNumbers('n', 5, 20);
  await expectEvents([leader], 0, 20);
  await page.evaluate(() => { window.dropsMessages = false; });
  await hub.publishNumbers('n', 20, 21);
  await expectEvents([leader, page], 0, 21);
});
