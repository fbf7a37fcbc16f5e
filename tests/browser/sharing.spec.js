// Tabs that share a connection: no event is missed or duplicated, even if events arrive while a tab joins, leads or
// hangs.

import { expect, test } from './hub.js';
import { NETWORK_ERRORS, numbers, received, states, subscribe, waitForSessions, waitUntilLive } from './watching.js';

// The browser requests a missing icon, and the hub is down on purpose.
test.use({ expectedErrors: [NETWORK_ERRORS] });

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
  expect(await page.evaluate(() => window.subscription.sharedReader.buffer.actions.length)).toBeLessThan(5);
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

test.describe('tabs of one origin', () => {
  test('share one connection and miss nothing when the leader is closed', async ({ hub, context }) => {
    const pages = [];
    for (let n = 0; n < 8; n += 1) {
      const page = await context.newPage();
      pages.push(page);
      await subscribe(page, hub.url, { streams: n % 2 ? 'n' : ['n', 'other.*'], from: 'start' });
      await waitUntilLive(page);
    }
    await waitForSessions(hub, 1);
    await hub.publishNumbers('n', 0, 100);
    await hub.publishNumbers('other.x', 1_000, 1_001);
    const expected = (n, to) => (n % 2 ? numbers(to) : [...numbers(100), 1_000, ...numbers(to).slice(100)]);
    for (const [n, page] of pages.entries()) await expect.poll(() => received(page)).toEqual(expected(n, 100));
    const shared = await Promise.all(pages.map(async (page) => (await states(page)).findLast((state) => state.state === 'live').shared));
    expect(shared).toEqual(['leader', ...Array(7).fill('follower')]);

    // The leader is closed while events arrive.
    const publishing = (async () => {
      for (let n = 100; n < 1_000; n += 20) await hub.publishNumbers('n', n, n + 20);
    })();
    await expect.poll(async () => (await received(pages[3])).length).toBeGreaterThan(300);
    await pages[0].close();
    await publishing;
    for (const [n, page] of pages.entries()) {
      if (n > 0) await expect.poll(() => received(page)).toEqual(expected(n, 1_000));
    }
    await waitForSessions(hub, 1);
    await hub.kill();
    await hub.restart();
    await hub.publishNumbers('n', 1_000, 1_010);
    for (const [n, page] of pages.entries()) {
      if (n > 0) await expect.poll(() => received(page)).toEqual(expected(n, 1_010));
    }
    await waitForSessions(hub, 1);
  });

  test('replace a leader that hangs', async ({ hub, context }) => {
    const [leader, follower] = [await context.newPage(), await context.newPage()];
    await follower.clock.install();
    await subscribe(leader, hub.url, { streams: 'n' });
    await waitUntilLive(leader);
    await subscribe(follower, hub.url, { streams: 'n' });
    await expect.poll(async () => (await states(follower)).at(-1)?.shared).toBe('follower');
    // Simulates a hang: the leader sends and answers nothing.
    await leader.evaluate(() => {
      const { postMessage } = BroadcastChannel.prototype;
      BroadcastChannel.prototype.postMessage = () => {};
      window.restorePostMessage = () => { BroadcastChannel.prototype.postMessage = postMessage; };
    });
    await hub.publishNumbers('n', 0, 5);
    await follower.clock.runFor(61_000);
    await expect.poll(async () => {
      await follower.clock.runFor(2_000);
      return (await states(follower)).at(-1)?.shared;
    }).toBe('leader');
    await leader.evaluate(() => window.restorePostMessage());
    await hub.publishNumbers('n', 5, 10);
    await expect.poll(() => received(follower)).toEqual(numbers(10));
    // The former leader notices the loss of the lock and follows.
    await expect.poll(() => received(leader)).toEqual(numbers(10));
    await hub.publishNumbers('n', 10, 12);
    await expect.poll(() => received(leader)).toEqual(numbers(12));
    await expect.poll(() => received(follower)).toEqual(numbers(12));
    await waitForSessions(hub, 1);
    expect((await states(leader)).at(-1)).toMatchObject({ state: 'live', shared: 'follower' });
  });

  test('report that a page whose scripts were blocked no longer leads', async ({ hub, context, browserName }) => {
    test.skip(browserName !== 'chromium', 'Firefox handles messages and timers while a page waits for a response');
    const [leader, follower] = [await context.newPage(), await context.newPage()];
    // The clock of Playwright would wait for the blocked page.
    await follower.addInitScript(() => {
      const { setInterval, Date: { now } } = window;
      const callbacks = [];
      let skippedMs = 0;
      Date.now = () => now() + skippedMs;
      window.setInterval = (callback, ms) => (callbacks.push(callback), setInterval(callback, ms));
      window.skip = (ms) => {
        skippedMs += ms;
        callbacks.forEach((callback) => callback());
      };
    });
    await subscribe(leader, hub.url, { streams: 'n' });
    await waitUntilLive(leader);
    await subscribe(follower, hub.url, { streams: 'n' });
    await expect.poll(async () => (await states(follower)).at(-1)?.shared).toBe('follower');
    // The page waits for a response, which blocks its scripts.
    let unblock;
    const unblocked = new Promise((resolve) => { unblock = resolve; });
    let isBlocked = false;
    await leader.route('**/blocks', async (route) => {
      isBlocked = true;
      await unblocked;
      await route.fulfill({ body: '' });
    });
    await leader.evaluate(() => setTimeout(() => {
      const request = new XMLHttpRequest();
      request.open('GET', '/blocks', false);
      request.send();
    }));
    await expect.poll(() => isBlocked).toBe(true);
    await follower.evaluate(() => window.skip(61_000));
    await expect.poll(async () => (await states(follower)).at(-1)?.shared).toBe('leader');
    await hub.publishNumbers('n', 0, 5);
    await expect.poll(() => received(follower)).toEqual(numbers(5));
    unblock();
    await expect.poll(() => received(leader)).toEqual(numbers(5));
    await expect.poll(async () => (await states(leader)).at(-1)).toMatchObject({ state: 'live', shared: 'follower' });
    await hub.publishNumbers('n', 5, 8);
    for (const page of [leader, follower]) await expect.poll(() => received(page)).toEqual(numbers(8));
    await waitForSessions(hub, 1);
  });
});

test.describe('subscriptions to different streams', () => {
  test('miss nothing if they join a page later', async ({ hub, page }) => {
    await hub.publishNumbers('m', 0, 50);
    await subscribe(page, hub.url, { streams: 'n' });
    await waitUntilLive(page);
    // History is read while events of the other stream arrive.
    const publishing = (async () => {
      for (let n = 0; n < 200; n += 1) await hub.publishNumbers('n', n, n + 1);
    })();
    for (const name of ['a', 'b', 'c']) await subscribe(page, hub.url, { streams: 'm', from: 'start' }, name);
    await publishing;
    await hub.publishNumbers('m', 50, 60);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => received(page, name)).toEqual(numbers(60));
    await expect.poll(() => received(page)).toEqual(numbers(200));
    await waitForSessions(hub, 1);
  });

  test('miss nothing while another tab takes the lead', async ({ hub, context }) => {
    const streams = ['n', 'n', 'm'];
    const pages = [];
    for (const stream of streams) {
      const page = await context.newPage();
      pages.push(page);
      await subscribe(page, hub.url, { streams: stream });
      await waitUntilLive(page);
    }
    let isOver = false;
    let count = 0;
    const publishing = (async () => {
      for (; !isOver || count < 300; count += 1) {
        await hub.publish([{ stream: 'n', data: count }, { stream: 'm', data: count }]);
      }
    })();
    await expect.poll(async () => (await received(pages[2])).length).toBeGreaterThan(50);
    await pages[0].close();
    const before = (await received(pages[2])).length;
    await expect.poll(async () => (await received(pages[2])).length).toBeGreaterThan(before + 50);
    isOver = true;
    await publishing;
    for (const page of pages.slice(1)) await expect.poll(() => received(page)).toEqual(numbers(count));
  });

  test('use connections of their own beyond the limit on selectors', async ({ hub, page }) => {
    const list = (name) => Array.from({ length: 60 }, (_, n) => `${name}.${n}`);
    for (const name of ['a', 'b', 'c']) await subscribe(page, hub.url, { streams: list(name) }, name);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => page.evaluate((name) => window[`states${name}`].at(-1)?.state, name)).toBe('live');
    for (const name of ['a', 'b', 'c']) await hub.publishNumbers(`${name}.59`, 0, 3);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => received(page, name)).toEqual([0, 1, 2]);
    expect((await hub.get('/stats')).refusals.subscribers, 'no request is refused').toEqual({});
  });
});
