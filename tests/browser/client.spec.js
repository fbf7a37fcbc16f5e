// `fanfare.js` in a real browser, against a real hub.

import { FaultyProxy, expect, test } from './hub.js';
import { NETWORK_ERRORS, controlEvents, numbers, received, states, subscribe, subscribeByEventSource, waitForSessions, waitUntilLive } from './watching.js';

// The hub is down or refuses requests on purpose.
test.use({ expectedErrors: [NETWORK_ERRORS] });

for (const share of [true, false]) {
  test.describe(share ? 'over a shared connection' : 'over a connection of its own', () => {
    test('delivers every event once and in order although the hub is killed', async ({ hub, page }) => {
      await hub.publishNumbers('n', 0, 10);
      await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
      await expect.poll(() => received(page)).toEqual(numbers(10));
      await hub.publishNumbers('n', 10, 20);
      await expect.poll(() => received(page)).toEqual(numbers(20));
      await hub.kill();
      await expect.poll(async () => (await states(page)).at(-1).state).toBe('waiting');
      await hub.restart();
      await hub.publishNumbers('n', 20, 5_000);
      await expect.poll(() => received(page)).toEqual(numbers(5_000));
      await waitUntilLive(page);
      expect((await states(page)).at(-1)).toMatchObject({ resume: 'resumed', shared: share ? 'leader' : null });
    });

    test('resumes where it was after a reload of the page', async ({ hub, page }) => {
      const options = { streams: 'n', from: 'start', remember: true, share };
      await hub.publishNumbers('n', 0, 3);
      await subscribe(page, hub.url, options);
      await expect.poll(() => received(page)).toEqual([0, 1, 2]);
      await page.goto('about:blank');
      await hub.publishNumbers('n', 3, 5);
      await subscribe(page, hub.url, options);
      await expect.poll(() => received(page)).toEqual([3, 4]);
      expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'live', resume: 'resumed' }));
      // Another reload, without new events.
      await page.goto('about:blank');
      await subscribe(page, hub.url, options);
      await waitUntilLive(page);
      await hub.publishNumbers('n', 5, 6);
      await expect.poll(() => received(page)).toEqual([5]);
    });

    test('resumes after its connection is cut in the middle of a replay', async ({ hub, page }) => {
      const proxy = await FaultyProxy.start(hub);
      await hub.publishNumbers('n', 0, 20_000);
      await subscribe(page, proxy.url, { streams: 'n', from: 'start', share });
      for (let cuts = 0; cuts < 4; cuts += 1) {
        const before = (await received(page)).length;
        await expect.poll(async () => (await received(page)).length).toBeGreaterThan(Math.min(before, 19_999));
        proxy.dropConnections();
      }
      await expect.poll(async () => (await received(page)).length).toBe(20_000);
      expect(await received(page)).toEqual(numbers(20_000));
      proxy.stop();
    });

    test('reports each state once at the start', async ({ hub, page }) => {
      await subscribe(page, hub.url, { streams: 'n', share });
      await waitUntilLive(page);
      expect((await states(page)).map(({ state }) => state)).toEqual(['connecting', 'live']);
    });

    test('reaches a hub on this machine without a network', async ({ hub, page }) => {
      await page.addInitScript(() => Object.defineProperty(navigator, 'onLine', { get: () => false }));
      await subscribe(page, hub.url, { streams: 'n', share });
      await waitUntilLive(page);
      expect((await states(page)).map(({ state }) => state)).not.toContain('offline');
      await hub.kill();
      await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'offline', attempt: expect.any(Number), delay: expect.any(Number) });
      await hub.restart();
      await hub.publishNumbers('n', 0, 2);
      await expect.poll(() => received(page)).toEqual([0, 1]);
    });

    test('reports a browser that is offline and reconnects by itself', async ({ hub, page, context }) => {
      const proxy = await FaultyProxy.start(hub);
      await subscribe(page, proxy.url, { streams: 'n', share });
      await waitUntilLive(page);
      await context.setOffline(true);
      // An offline browser keeps open connections, so the proxy drops this one.
      proxy.dropConnections();
      const kinds = async () => (await states(page)).map((state) => state.state);
      await expect.poll(kinds).toContain('offline');
      await hub.publishNumbers('n', 0, 2);
      await context.setOffline(false);
      await expect.poll(() => received(page)).toEqual([0, 1]);
      proxy.stop();
    });
  });
}

test.describe('if retention overtakes a reader', () => {
  test.use({ flags: ['--max-events', '10'] });

  test('a late reconnect reports how many events are missing', async ({ hub, page, context }) => {
    const proxy = await FaultyProxy.start(hub);
    const other = await context.newPage();
    await subscribe(page, proxy.url, { streams: 'n', from: 'start' });
    await subscribeByEventSource(other, proxy.url, 'stream=n&from=start');
    await hub.publishNumbers('n', 0, 5);
    await expect.poll(() => received(page)).toEqual(numbers(5));
    await expect.poll(() => received(other)).toEqual(numbers(5));
    proxy.block();
    await hub.publishNumbers('n', 5, 40);
    await expect.poll(async () => (await hub.get('/streams/n')).events).toBe(10);
    proxy.unblock();
    const last = numbers(40).slice(30);
    await expect.poll(() => received(page)).toEqual([...numbers(5), ...last]);
    await expect.poll(() => received(other)).toEqual([...numbers(5), ...last]);
    const gap = { resume: 'gap', missed: 25 };
    expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'gap', missed: 25 }));
    expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'live', resume: 'gap' }));
    expect(await controlEvents(other)).toContainEqual(expect.objectContaining({ type: 'hub-open', ...gap }));
    proxy.stop();
  });
});

test('a subscription ends with its stream', async ({ hub, page, context }) => {
  const other = await context.newPage();
  await subscribe(page, hub.url, { streams: 'n' });
  await waitUntilLive(page);
  await subscribeByEventSource(other, hub.url, 'stream=n');
  await waitForSessions(hub, 2);
  await hub.publishNumbers('n', 0, 2);
  await fetch(`${hub.url}/streams/n/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).slice(-2).map((state) => state.state)).toEqual(['stream-ended', 'ended']);
  expect(await received(page)).toEqual([0, 1]);
  await expect.poll(async () => (await controlEvents(other)).at(-1)).toEqual({ type: 'error', state: 2 });
  expect(await controlEvents(other)).toContainEqual(expect.objectContaining({ type: 'hub-end', stream: 'n' }));
  // A later subscription gets the stream from its start, and then the end.
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(async () => (await states(page)).at(-1)).toEqual({ state: 'ended' });
  expect(await received(page)).toEqual([0, 1]);
});

test.describe('at the limit of connections', () => {
  test.use({ flags: ['--max-connections', '1', '--retry', '1s'] });

  test('a refused subscription waits until there is room', async ({ hub, page, context }) => {
    const first = await context.newPage();
    await subscribeByEventSource(first, hub.url, 'stream=n');
    await expect.poll(async () => (await controlEvents(first)).some((event) => event.type === 'hub-open')).toBe(true);
    const other = await context.newPage();
    await subscribe(page, hub.url, { streams: 'n', share: false });
    await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'waiting', reason: 'resource_exhausted', limit: 'max_connections' });
    await subscribeByEventSource(other, hub.url, 'stream=n');
    await expect.poll(async () => (await controlEvents(other)).find((event) => event.type === 'hub-error')).toMatchObject({ code: 'resource_exhausted', limit: 'max_connections' });
    expect(await other.evaluate(() => window.source.readyState)).not.toBe(2);
    await first.evaluate(() => window.source.close());
    await expect.poll(async () => {
      const [here, there] = [await states(page), await controlEvents(other)];
      return here.at(-1)?.state === 'live' || there.some((event) => event.type === 'hub-open');
    }).toBe(true);
  });
});

test('reading waits for an iterator, which misses nothing', async ({ hub, page }) => {
  await hub.publishNumbers('n', 0, 6_000);
  await page.goto(`${hub.url}/healthz`);
  for (const share of [true, false]) {
    const all = await page.evaluate(async ([at, share]) => {
      const { subscribe } = await import(`${at}/fanfare.js`);
      const all = [];
      const subscription = subscribe({ url: at, streams: 'n', from: 'start', share });
      for await (const event of subscription) {
        all.push(event.data);
        // Slower than events arrive.
        if (all.length % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
        if (event.data === 5_999) break;
      }
      return [all, subscription.state.state, subscription.queue.events.length];
    }, [hub.url, share]);
    expect(all).toEqual([numbers(6_000), 'closed', 0]);
  }
  await waitForSessions(hub, 0);
  const failure = await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    try {
      for await (const event of subscribe({ url: at, streams: 'hub.*', token: 'none' })) console.log(event);
    } catch (error) {
      return [error.name, error.state.status];
    }
  }, hub.url);
  expect(failure).toEqual(['SubscriptionError', 401]);
});

test('a list of streams that is too long for a URL is sent by POST', async ({ hub, page }) => {
  const streams = Array.from({ length: 90 }, (_, n) => `a-stream-with-a-rather-long-name.${n}`);
  await subscribe(page, hub.url, { streams, share: false });
  await waitUntilLive(page);
  await hub.publishNumbers(streams[89], 0, 2);
  await expect.poll(() => received(page)).toEqual([0, 1]);
});

test('a slow network delivers every event', async ({ hub, page }) => {
  const proxy = await FaultyProxy.start(hub, { bytesPerSecond: 40_000 });
  await hub.publishNumbers('n', 0, 2_000);
  await subscribe(page, proxy.url, { streams: 'n', from: 'start' });
  await expect.poll(async () => (await received(page)).length).toBe(2_000);
  expect(await received(page)).toEqual(numbers(2_000));
  proxy.stop();
});

test('a hidden tab reads nothing if pauseHidden is set', async ({ hub, page }) => {
  await subscribe(page, hub.url, { streams: 'n', pauseHidden: true });
  await waitUntilLive(page);
  const setHidden = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await setHidden(true);
  expect((await states(page)).at(-1)).toEqual({ state: 'paused' });
  await waitForSessions(hub, 0);
  await hub.publishNumbers('n', 0, 3);
  await setHidden(false);
  await expect.poll(() => received(page)).toEqual([0, 1, 2]);
});

for (const share of [true, false]) {
  test(`a new journal is reported and read from its start (share: ${share})`, async ({ hub, page }) => {
    await hub.publishNumbers('n', 0, 5);
    await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
    await expect.poll(() => received(page)).toEqual(numbers(5));
    for (let times = 0; times < 3; times += 1) {
      await hub.kill();
      await hub.restartWithoutData();
      const resets = async () => (await states(page)).filter(({ state }) => state === 'reset').length;
      await expect.poll(resets).toBe(times + 1);
      await hub.publishNumbers('n', 0, 2);
      await expect.poll(async () => (await received(page)).slice(5)).toEqual(Array(times + 1).fill([0, 1]).flat());
    }
  });

  test(`a reader whose replay is ended by an operator resumes where it was (share: ${share})`, async ({ hub, page }) => {
    const proxy = await FaultyProxy.start(hub, { bytesPerSecond: 300_000 });
    await hub.publishNumbers('n', 0, 10_000);
    await subscribe(page, proxy.url, { streams: 'n', from: 'start', share });
    for (let times = 0; times < 3; times += 1) {
      const before = (await received(page)).length;
      await expect.poll(async () => (await received(page)).length).toBeGreaterThan(Math.min(before, 9_999));
      for (const { id } of (await hub.get('/sessions')).sessions) await fetch(`${hub.url}/sessions/${id}`, { method: 'DELETE' });
    }
    await expect.poll(async () => (await received(page)).length).toBe(10_000);
    expect(await received(page)).toEqual(numbers(10_000));
    proxy.stop();
  });

  test(`only events that an iterator has not taken come again after a reload (share: ${share})`, async ({ hub, page }) => {
    await hub.publishNumbers('n', 0, 50);
    await page.goto(`${hub.url}/healthz`);
    const read = (count) => page.evaluate(async ([at, share, count]) => {
      const { subscribe } = await import(`${at}/fanfare.js`);
      const all = [];
      for await (const { data } of subscribe({ url: at, streams: 'n', from: 'start', remember: true, share })) {
        all.push(data);
        // Lets further events arrive, which wait to be taken.
        if (all.length === 1) await new Promise((resolve) => setTimeout(resolve, 300));
        if (all.length === count) break;
      }
      return all;
    }, [hub.url, share, count]);
    // The last event was taken, but not acknowledged.
    expect(await read(10)).toEqual(numbers(10));
    expect(await read(41)).toEqual(numbers(50).slice(9));
  });

  test(`a subscription can be closed at any moment and leaves no session (share: ${share})`, async ({ hub, page }) => {
    await hub.publishNumbers('n', 0, 5);
    await page.goto(`${hub.url}/healthz`);
    for (const when of ['connecting', 'live', 'event', 'at once', 'signal']) {
      const seen = await page.evaluate(async ([at, share, when]) => {
        const { subscribe } = await import(`${at}/fanfare.js`);
        const states = [];
        const abort = new AbortController();
        await new Promise((resolve) => {
          const subscription = subscribe({
            url: at, streams: 'n', from: 'start', share, signal: abort.signal,
            onState: ({ state }) => {
              states.push(state);
              if (state === when) subscription.close();
              if (state === 'live' && when === 'signal') abort.abort();
              if (state === 'closed') resolve();
            },
            onEvent: () => { if (when === 'event') subscription.close(); },
          });
          if (when === 'at once') subscription.close();
        });
        await new Promise((resolve) => setTimeout(resolve, 200));
        return states;
      }, [hub.url, share, when]);
      expect(seen.at(-1)).toBe('closed');
      await waitForSessions(hub, 0);
    }
    // A new subscription is not affected.
    await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
    await expect.poll(() => received(page)).toEqual(numbers(5));
  });
}

test('a subscription closed in the middle of a batch resumes after its last event', async ({ hub, page }) => {
  await hub.publishNumbers('n', 0, 5);
  await page.goto(`${hub.url}/healthz`);
  const read = (count) => page.evaluate(async ([at, count]) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const all = [];
    await new Promise((resolve) => {
      const subscription = subscribe({
        url: at, streams: 'n', from: 'start', remember: true, share: false,
        onEvent: ({ data }) => {
          all.push(data);
          if (all.length !== count) return;
          subscription.close();
          resolve();
        },
      });
    });
    return all;
  }, [hub.url, count]);
  expect(await read(3)).toEqual([0, 1, 2]);
  expect(await read(2)).toEqual([3, 4]);
});

test.describe('a hub that allows one connection', () => {
  test.use({ flags: ['--max-connections', '1'] });

  test('serves a page', async ({ hub, page }) => {
    await hub.publishNumbers('n', 0, 3);
    await subscribe(page, hub.url, { streams: 'n', from: 'start' });
    await expect.poll(() => received(page)).toEqual([0, 1, 2]);
    await hub.publishNumbers('n', 3, 5);
    await expect.poll(() => received(page)).toEqual(numbers(5));
  });
});

test('a stream that is deleted and then published to has not ended', async ({ hub, page }) => {
  await subscribe(page, hub.url, { streams: ['a', 'b'] });
  await waitUntilLive(page);
  await hub.publishNumbers('a', 0, 1);
  await expect.poll(() => received(page)).toEqual([0]);
  await fetch(`${hub.url}/streams/a`, { method: 'DELETE' });
  await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'stream-ended', stream: 'a' });
  await hub.publishNumbers('a', 1, 2);
  await hub.publishNumbers('b', 2, 3);
  await fetch(`${hub.url}/streams/b/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'stream-ended', stream: 'b' });
  await hub.publishNumbers('a', 3, 4);
  await expect.poll(() => received(page)).toEqual([0, 1, 2, 3]);
  await fetch(`${hub.url}/streams/a/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).at(-1)).toEqual({ state: 'ended' });
});
