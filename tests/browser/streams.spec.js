// Streams that are added to a subscription and removed from it, and events in batches.

import { FaultyProxy, expect, test } from './hub.js';
import { NETWORK_ERRORS, numbers, received, states, subscribe, waitForSessions, waitUntilLive } from './watching.js';

// The browser requests a missing icon, and a proxy drops connections.
test.use({ expectedErrors: [NETWORK_ERRORS] });

const change = (page, method, ...streams) => page.evaluate(([method, streams]) => window.subscription[method](...streams), [method, streams]);
/** Returns `[stream, data]` of the received events. */
const pairs = (page) => page.evaluate(() => window.received.map(({ stream, data }) => [stream, data]));

for (const share of [true, false]) {
  test.describe(share ? 'over a shared connection' : 'over a connection of its own', () => {
    test('an added stream is read from the last event on, a removed one no longer', async ({ hub, page }) => {
      await subscribe(page, hub.url, { streams: 'a', share });
      await waitUntilLive(page);
      await hub.publish({ stream: 'b', data: 'before' });
      await hub.publish({ stream: 'a', data: 1 });
      await expect.poll(() => pairs(page)).toEqual([['a', 1]]);
      // An event after the last one of `a`, before `b` is added.
      await hub.publish({ stream: 'b', data: 2 });
      await change(page, 'addStreams', 'b', ['c.*']);
      await hub.publish([{ stream: 'a', data: 3 }, { stream: 'b', data: 4 }, { stream: ['a', 'c.1'], data: 5 }]);
      const soFar = [['a', 1], ['b', 2], ['a', 3], ['b', 4], ['a', 5]];
      await expect.poll(() => pairs(page)).toEqual(soFar);
      await waitUntilLive(page);
      await change(page, 'removeStreams', 'a', 'none');
      await hub.publish([{ stream: 'a', data: 6 }, { stream: ['a', 'b'], data: 7 }]);
      await expect.poll(() => pairs(page)).toEqual([...soFar, ['b', 7]]);
      await hub.publish({ stream: 'c.2', data: 8 });
      await expect.poll(() => pairs(page)).toEqual([...soFar, ['b', 7], ['c.2', 8]]);
      expect(await page.evaluate(() => window.subscription.state)).toMatchObject({ state: 'live' });
      await waitForSessions(hub, 1);
    });

    test('no event is lost or duplicated although streams change all the time', async ({ hub, page }) => {
      await subscribe(page, hub.url, { streams: 'n', share });
      await waitUntilLive(page);
      let isOver = false;
      let count = 0;
      const publishing = (async () => {
        for (; !isOver; count += 1) {
          await hub.publish([{ stream: 'n', data: count }, { stream: `m.${count % 3}`, data: count }]);
        }
      })();
      for (let round = 0; round < 12; round += 1) {
        const stream = `m.${round % 3}`;
        await change(page, round % 2 ? 'removeStreams' : 'addStreams', round % 2 ? `m.${(round - 1) % 3}` : stream);
        const before = (await received(page)).length;
        await expect.poll(async () => (await received(page)).length).toBeGreaterThan(before + 5);
      }
      await change(page, 'addStreams', 'm.0');
      const addedAt = await page.evaluate(() => window.subscription.lastEventId);
      isOver = true;
      await publishing;
      await hub.publish({ stream: 'n', data: 'end' });
      await expect.poll(async () => (await received(page)).at(-1)).toBe('end');
      const events = await page.evaluate(() => window.received);
      expect(events.filter(({ stream }) => stream === 'n').map(({ data }) => data)).toEqual([...numbers(count), 'end']);
      const ids = events.map(({ id }) => id);
      expect(ids).toEqual([...new Set(ids)].sort());
      const { events: stored } = await page.evaluate(async ([at, from]) => {
        const { history } = await import(`${at}/fanfare.js`);
        const events = [];
        for await (const { id } of history('m.0', { url: at, from })) events.push(id);
        return { events };
      }, [hub.url, addedAt]);
      expect(ids.filter((id) => stored.includes(id)), 'all events of the added stream').toEqual(stored);
    });

    test('changes within a callback skip nothing', async ({ hub, page }) => {
      const all = Array.from({ length: 300 }, (_, n) => ({ stream: n % 2 ? 'b' : 'a', data: n }));
      await hub.publish(all);
      await page.goto(`${hub.url}/healthz`);
      const data = await page.evaluate(async ([at, share]) => {
        const { subscribe } = await import(`${at}/fanfare.js`);
        const all = [];
        await new Promise((resolve) => {
          const subscription = subscribe({
            url: at, share, streams: 'a', from: 'start',
            onEvent: ({ stream, data }) => {
              all.push(data);
              if (data === 100) subscription.addStreams('b');
              if (data === 201) subscription.removeStreams('a');
              if (data === 299) resolve();
            },
          });
        });
        return all;
      }, [hub.url, share]);
      const isExpected = (n) => (n <= 100 ? n % 2 === 0 : n <= 201 || n % 2 === 1);
      expect(data).toEqual(numbers(300).filter(isExpected));
    });

    test('several changes cause one request, also before the first one', async ({ hub, page }) => {
      await page.goto(`${hub.url}/healthz`);
      const requests = [];
      page.on('request', (request) => request.url().includes('/events?') && !request.url().includes('follow=false') && requests.push(request.url()));
      await page.evaluate(async ([at, share]) => {
        const { subscribe } = await import(`${at}/fanfare.js`);
        window.received = [];
        window.states = [];
        window.subscription = subscribe({
          url: at, streams: 'a.0', share,
          onEvent: (event) => window.received.push(event), onState: (state) => window.states.push(state),
        });
        window.subscription.addStreams('a.1');
      }, [hub.url, share]);
      await waitUntilLive(page);
      expect(requests).toHaveLength(1);
      await page.evaluate(() => {
        for (let n = 2; n < 20; n += 1) window.subscription.addStreams(`a.${n}`);
        window.subscription.addStreams('a.0', 'a.1');
      });
      await expect.poll(() => requests.length).toBe(2);
      await hub.publish({ stream: 'a.19', data: 1 });
      await expect.poll(() => received(page)).toEqual([1]);
      expect(requests).toHaveLength(2);
      expect(new URL(requests[1]).searchParams.getAll('stream')).toHaveLength(20);
    });

    test('the events of a read arrive together in onEvents', async ({ hub, page }) => {
      await hub.publishNumbers('n', 0, 1_000);
      await page.goto(`${hub.url}/healthz`);
      await page.evaluate(async ([at, share]) => {
        const { subscribe } = await import(`${at}/fanfare.js`);
        window.batches = [];
        window.received = [];
        window.subscription = subscribe({
          url: at, streams: 'n', from: 'start', share,
          onEvents: (events) => window.batches.push(events.map(({ data }) => data)),
          onEvent: ({ data }) => window.received.push([data, window.batches.flat().length]),
        });
      }, [hub.url, share]);
      const batches = () => page.evaluate(() => window.batches);
      await expect.poll(async () => (await batches()).flat()).toEqual(numbers(1_000));
      expect((await batches()).length).toBeLessThan(200);
      await hub.publishNumbers('n', 1_000, 1_003);
      await expect.poll(async () => (await batches()).flat()).toEqual(numbers(1_003));
      const single = await page.evaluate(() => window.received);
      expect(single.map(([data]) => data)).toEqual(numbers(1_003));
      expect(single.every(([data, batched]) => batched <= data), 'onEvent is called first').toBe(true);
    });
  });
}

test('tabs add and remove streams over one connection', async ({ hub, context }) => {
  const [leader, follower] = [await context.newPage(), await context.newPage()];
  for (const page of [leader, follower]) {
    await subscribe(page, hub.url, { streams: 'a' });
    await waitUntilLive(page);
  }
  await change(follower, 'addStreams', 'b');
  const [, { id }] = await hub.publish([{ stream: 'a', data: 1 }, { stream: 'b', data: 2 }]);
  await expect.poll(() => received(follower)).toEqual([1, 2]);
  // The leader reads `b` already, and its last id is that of an event it did not select.
  await expect.poll(() => leader.evaluate(() => window.subscription.lastEventId)).toBe(id);
  expect(await received(leader)).toEqual([1]);
  await change(leader, 'addStreams', 'b');
  await change(follower, 'removeStreams', 'b');
  await hub.publish([{ stream: 'b', data: 3 }, { stream: 'a', data: 4 }]);
  await expect.poll(() => received(follower)).toEqual([1, 2, 4]);
  await expect.poll(() => received(leader)).toEqual([1, 3, 4]);
  await waitForSessions(hub, 1);
});

test('a change during a delay takes effect with the next attempt', async ({ hub, page }) => {
  const proxy = await FaultyProxy.start(hub);
  await subscribe(page, proxy.url, { streams: 'a', share: false });
  await waitUntilLive(page);
  proxy.block();
  await expect.poll(async () => (await states(page)).at(-1).state).toBe('waiting');
  await change(page, 'addStreams', 'b');
  await hub.publish([{ stream: 'b', data: 1 }, { stream: 'a', data: 2 }]);
  proxy.unblock();
  await expect.poll(() => received(page)).toEqual([1, 2]);
  proxy.stop();
});

test('removed streams leave the queue of an iterator, and their end is not awaited', async ({ hub, page }) => {
  await hub.publish([{ stream: 'a', data: 1 }, { stream: 'b', data: 2 }, { stream: ['a', 'b'], data: 3 }]);
  await page.goto(`${hub.url}/healthz`);
  const [data, error, state] = await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const subscription = subscribe({ url: at, streams: ['a', 'b'], from: 'start' });
    const iterator = subscription[Symbol.asyncIterator]();
    const data = [(await iterator.next()).value.data];
    while (subscription.queue.events.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    subscription.removeStreams('b');
    const { value } = await iterator.next();
    data.push([value.data, value.streams]);
    let error;
    try {
      subscription.removeStreams('a');
    } catch (caught) {
      error = caught.message;
    }
    await fetch(`${at}/streams/a/end`, { method: 'POST' });
    const { done } = await iterator.next();
    return [data, error, [done, subscription.state.state]];
  }, hub.url);
  expect(data).toEqual([1, [3, ['a']]]);
  expect(error).toContain('close the subscription');
  expect(state).toEqual([true, 'ended']);
});
