// `fanfare.js` in a real browser, against a real hub.

import { createHmac } from 'node:crypto';
import { ADMIN, Wire, expect, key, test } from './hub.js';
import { got, listen, live, numbers, sessions, states, subscribe, told } from './watching.js';

// The hub is down or refuses requests on purpose.
const NETWORK = /Failed to load resource|net::ERR_/;
test.use({ expectedErrors: [NETWORK] });

for (const share of [true, false]) {
  test.describe(share ? 'over a shared connection' : 'over a connection of its own', () => {
    test('delivers every event once and in order although the hub is killed', async ({ hub, page }) => {
      await hub.count('n', 0, 10);
      await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
      await expect.poll(() => got(page)).toEqual(numbers(10));
      await hub.count('n', 10, 20);
      await expect.poll(() => got(page)).toEqual(numbers(20));
      await hub.kill();
      await expect.poll(async () => (await states(page)).at(-1).state).toBe('waiting');
      await hub.again();
      await hub.count('n', 20, 5_000);
      await expect.poll(() => got(page), { timeout: 30_000 }).toEqual(numbers(5_000));
      await live(page);
      expect((await states(page)).at(-1)).toMatchObject({ resume: 'resumed', shared: share ? 'leader' : null });
    });

    test('resumes where it was after a reload of the page', async ({ hub, page }) => {
      const options = { streams: 'n', from: 'start', remember: true, share };
      await hub.count('n', 0, 3);
      await subscribe(page, hub.url, options);
      await expect.poll(() => got(page)).toEqual([0, 1, 2]);
      await page.goto('about:blank');
      await hub.count('n', 3, 5);
      await subscribe(page, hub.url, options);
      await expect.poll(() => got(page)).toEqual([3, 4]);
      expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'live', resume: 'resumed' }));
      // Another reload, without new events.
      await page.goto('about:blank');
      await subscribe(page, hub.url, options);
      await live(page);
      await hub.count('n', 5, 6);
      await expect.poll(() => got(page)).toEqual([5]);
    });

    test('resumes after its connection is cut in the middle of a replay', async ({ hub, page }) => {
      const wire = await Wire.to(hub);
      await hub.count('n', 0, 20_000);
      await subscribe(page, wire.url, { streams: 'n', from: 'start', share });
      for (let cuts = 0; cuts < 4; cuts += 1) {
        const before = (await got(page)).length;
        await expect.poll(async () => (await got(page)).length).toBeGreaterThan(Math.min(before, 19_999));
        wire.drop();
      }
      await expect.poll(async () => (await got(page)).length, { timeout: 60_000 }).toBe(20_000);
      expect(await got(page)).toEqual(numbers(20_000));
      wire.stop();
    });

    test('reports a browser that is offline and reconnects by itself', async ({ hub, page, context }) => {
      const wire = await Wire.to(hub);
      await subscribe(page, wire.url, { streams: 'n', share });
      await live(page);
      await context.setOffline(true);
      // An offline browser keeps open connections, so the proxy drops this one.
      wire.drop();
      const kinds = async () => (await states(page)).map((state) => state.state);
      await expect.poll(kinds).toContain('offline');
      await hub.count('n', 0, 2);
      await context.setOffline(false);
      await expect.poll(() => got(page)).toEqual([0, 1]);
      wire.stop();
    });
  });
}

test.describe('if retention overtakes a reader', () => {
  test.use({ flags: ['--max-events', '10'] });

  test('a late reconnect reports how many events are missing', async ({ hub, page, context }) => {
    const wire = await Wire.to(hub);
    const other = await context.newPage();
    await subscribe(page, wire.url, { streams: 'n', from: 'start' });
    await listen(other, wire.url, 'stream=n&from=start');
    await hub.count('n', 0, 5);
    await expect.poll(() => got(page)).toEqual(numbers(5));
    await expect.poll(() => got(other)).toEqual(numbers(5));
    wire.cut();
    await hub.count('n', 5, 40);
    await expect.poll(async () => (await hub.get('/streams/n')).events).toBe(10);
    wire.mend();
    const last = numbers(40).slice(30);
    await expect.poll(() => got(page)).toEqual([...numbers(5), ...last]);
    await expect.poll(() => got(other)).toEqual([...numbers(5), ...last]);
    const gap = { resume: 'gap', missed: 25 };
    expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'gap', missed: 25 }));
    expect(await states(page)).toContainEqual(expect.objectContaining({ state: 'live', resume: 'gap' }));
    expect(await told(other)).toContainEqual(expect.objectContaining({ type: 'hub-open', ...gap }));
    wire.stop();
  });
});

test('a subscription ends with its stream', async ({ hub, page, context }) => {
  const other = await context.newPage();
  await subscribe(page, hub.url, { streams: 'n' });
  await live(page);
  await listen(other, hub.url, 'stream=n');
  await sessions(hub, 2);
  await hub.count('n', 0, 2);
  await fetch(`${hub.url}/streams/n/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).slice(-2).map((state) => state.state)).toEqual(['stream-ended', 'ended']);
  expect(await got(page)).toEqual([0, 1]);
  await expect.poll(async () => (await told(other)).at(-1)).toEqual({ type: 'error', state: 2 });
  expect(await told(other)).toContainEqual(expect.objectContaining({ type: 'hub-end', stream: 'n' }));
  // A later subscription gets the stream from its start, and then the end.
  await subscribe(page, hub.url, { streams: 'n', from: 'start' });
  await expect.poll(async () => (await states(page)).at(-1)).toEqual({ state: 'ended' });
  expect(await got(page)).toEqual([0, 1]);
});

test.describe('at the limit of connections', () => {
  test.use({ flags: ['--max-connections', '1', '--retry', '1s'] });

  test('a refused subscription waits until there is room', async ({ hub, page, context }) => {
    const first = await context.newPage();
    await listen(first, hub.url, 'stream=n');
    await expect.poll(async () => (await told(first)).some((event) => event.type === 'hub-open')).toBe(true);
    const other = await context.newPage();
    await subscribe(page, hub.url, { streams: 'n', share: false });
    await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'waiting', reason: 'resource_exhausted', limit: 'max_connections' });
    await listen(other, hub.url, 'stream=n');
    await expect.poll(async () => (await told(other)).find((event) => event.type === 'hub-error')).toMatchObject({ code: 'resource_exhausted', limit: 'max_connections' });
    expect(await other.evaluate(() => window.source.readyState)).not.toBe(2);
    await first.evaluate(() => window.source.close());
    await expect.poll(async () => {
      const [here, there] = [await states(page), await told(other)];
      return here.at(-1)?.state === 'live' || there.some((event) => event.type === 'hub-open');
    }, { timeout: 30_000 }).toBe(true);
  });
});

test.describe('credentials', () => {
  const secret = '0123456789abcdef0123456789abcdef';
  test.use({
    flags: ['--jwt-secret', secret],
    config: key('admin', ADMIN, { publish: ['**'], subscribe: ['**'], admin: true }),
  });
  const admin = { Authorization: `Bearer ${ADMIN}` };
  const publish = (hub, n) => hub.publish({ stream: 'n', data: n }, admin);

  /** Returns a token that expires after some seconds. */
  function token(seconds) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const claims = { sub: 'reader', iat: now, exp: now + seconds, fanfare: { subscribe: ['n'] } };
    const said = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
    return `${said}.${createHmac('sha256', secret).update(said).digest('base64url')}`;
  }

  /** Repeats `attempt` with a longer lifetime until the credential outlives the connection's start. */
  async function expiring(attempt) {
    let seconds = 4;
    while (!await attempt(seconds)) seconds *= 2;
  }

  async function ticket(hub, bearer) {
    const init = { method: 'POST', headers: { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' }, body: '{"streams": ["n"]}' };
    const answer = await fetch(`${hub.url}/tickets`, init);
    expect(answer.status).toBe(200);
    return (await answer.json()).ticket;
  }

  for (const share of [true, false]) {
    test(`a token that expires is requested again (share: ${share})`, async ({ hub, page }) => {
      const asked = [];
      await page.exposeFunction('secret', (why) => {
        asked.push(why);
        return token(asked.length === 1 ? 4 : 600);
      });
      await page.goto(`${hub.url}/healthz`);
      await page.evaluate(async ([at, share]) => {
        const { subscribe } = await import(`${at}/fanfare.js`);
        [window.got, window.states] = [[], []];
        const onEvent = (event) => window.got.push(event);
        const onState = (state) => window.states.push(state);
        subscribe({ url: at, streams: 'n', token: window.secret, share, onEvent, onState });
      }, [hub.url, share]);
      await live(page);
      await publish(hub, 0);
      await expect.poll(() => asked.at(-1), { timeout: 30_000 }).toBe('expired');
      await publish(hub, 1);
      await expect.poll(() => got(page)).toEqual([0, 1]);
    });
  }

  test('an expired credential is distinguished from an invalid one', async ({ hub, page, context }) => {
    await expiring(async (seconds) => {
      await subscribe(page, hub.url, { streams: 'n', ticket: await ticket(hub, token(seconds)) });
      await expect.poll(async () => (await states(page)).some((one) => ['live', 'expired'].includes(one.state))).toBe(true);
      return (await states(page)).some((one) => one.state === 'live');
    });
    await expect.poll(async () => (await states(page)).at(-1), { timeout: 60_000 }).toMatchObject({ state: 'expired' });
    const other = await context.newPage();
    await subscribe(other, hub.url, { streams: 'n', ticket: 'no ticket at all' });
    await expect.poll(async () => (await states(other)).at(-1)).toMatchObject({ state: 'refused', status: 401, code: 'unauthorized' });
    await subscribe(other, hub.url, { streams: 'other', token: token(600) });
    await expect.poll(async () => (await states(other)).at(-1)).toMatchObject({ state: 'refused', status: 403, code: 'forbidden' });
  });

  test('an EventSource with an expired ticket gets the reason and closes', async ({ hub, page }) => {
    let published = 0;
    await expiring(async (seconds) => {
      await listen(page, hub.url, `stream=n&ticket=${await ticket(hub, token(seconds))}`);
      await expect.poll(async () => (await told(page)).some((event) => ['hub-open', 'error'].includes(event.type))).toBe(true);
      await publish(hub, published);
      published += 1;
      await expect.poll(async () => (await got(page)).length > 0 || (await told(page)).some((event) => event.type === 'error')).toBe(true);
      return (await got(page)).length > 0;
    });
    await expect.poll(async () => (await told(page)).find((event) => event.type === 'hub-error'), { timeout: 60_000 }).toMatchObject({ code: 'token_expired' });
    await expect.poll(async () => (await told(page)).at(-1)).toEqual({ type: 'error', state: 2 });
    expect(await got(page)).toEqual([published - 1]);
  });
});

test.describe('tabs of one origin', () => {
  test('share one connection and miss nothing when the leader is closed', async ({ hub, context }) => {
    const pages = [];
    for (let n = 0; n < 8; n += 1) {
      const page = await context.newPage();
      pages.push(page);
      await subscribe(page, hub.url, { streams: n % 2 ? 'n' : ['n', 'other.*'], from: 'start' });
      await live(page);
    }
    await sessions(hub, 1);
    await hub.count('n', 0, 100);
    await hub.count('other.x', 1_000, 1_001);
    const all = (n, from) => (n % 2 ? numbers(from) : [...numbers(100), 1_000, ...numbers(from).slice(100)]);
    for (const [n, page] of pages.entries()) await expect.poll(() => got(page)).toEqual(all(n, 100));
    const shared = await Promise.all(pages.map(async (page) => (await states(page)).findLast((state) => state.state === 'live').shared));
    expect(shared).toEqual(['leader', ...Array(7).fill('follower')]);

    // The leader is closed while events arrive.
    const publishing = (async () => {
      for (let n = 100; n < 1_000; n += 20) await hub.count('n', n, n + 20);
    })();
    await expect.poll(async () => (await got(pages[3])).length).toBeGreaterThan(300);
    await pages[0].close();
    await publishing;
    for (const [n, page] of pages.entries()) {
      if (n > 0) await expect.poll(() => got(page)).toEqual(all(n, 1_000));
    }
    await sessions(hub, 1);
    await hub.kill();
    await hub.again();
    await hub.count('n', 1_000, 1_010);
    for (const [n, page] of pages.entries()) {
      if (n > 0) await expect.poll(() => got(page), { timeout: 30_000 }).toEqual(all(n, 1_010));
    }
    await sessions(hub, 1);
  });

  test('replace a leader that hangs', async ({ hub, context }) => {
    const [leader, follower] = [await context.newPage(), await context.newPage()];
    await follower.clock.install();
    await subscribe(leader, hub.url, { streams: 'n' });
    await live(leader);
    await subscribe(follower, hub.url, { streams: 'n' });
    await expect.poll(async () => (await states(follower)).at(-1)?.shared).toBe('follower');
    // Simulates a hang: the leader sends and answers nothing.
    await leader.evaluate(() => {
      const { postMessage } = BroadcastChannel.prototype;
      BroadcastChannel.prototype.postMessage = () => {};
      window.wake = () => { BroadcastChannel.prototype.postMessage = postMessage; };
    });
    await hub.count('n', 0, 5);
    await follower.clock.runFor(61_000);
    await expect.poll(async () => {
      await follower.clock.runFor(2_000);
      return (await states(follower)).at(-1)?.shared;
    }, { timeout: 20_000 }).toBe('leader');
    await leader.evaluate(() => window.wake());
    await hub.count('n', 5, 10);
    await expect.poll(() => got(follower)).toEqual(numbers(10));
    // The former leader notices the loss of the lock and follows.
    await expect.poll(() => got(leader)).toEqual(numbers(10));
    await hub.count('n', 10, 12);
    await expect.poll(() => got(leader)).toEqual(numbers(12));
    await expect.poll(() => got(follower)).toEqual(numbers(12));
    await sessions(hub, 1);
  });
});

test('reading waits for an iterator, which misses nothing', async ({ hub, page }) => {
  await hub.count('n', 0, 6_000);
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
  await sessions(hub, 0);
  const why = await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    try {
      for await (const event of subscribe({ url: at, streams: 'hub.*', token: 'none' })) console.log(event);
    } catch (error) {
      return [error.name, error.state.status];
    }
  }, hub.url);
  expect(why).toEqual(['SubscriptionError', 401]);
});

test('a list of streams that is too long for a URL is sent by POST', async ({ hub, page }) => {
  const streams = Array.from({ length: 90 }, (_, n) => `a-stream-with-a-rather-long-name.${n}`);
  await subscribe(page, hub.url, { streams, share: false });
  await live(page);
  await hub.count(streams[89], 0, 2);
  await expect.poll(() => got(page)).toEqual([0, 1]);
});

test('invalid options are refused without a request', async ({ hub, page }) => {
  await page.goto(`${hub.url}/healthz`);
  const refused = await page.evaluate(async (at) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const wrong = [{ streams: [] }, { streams: 'a*' }, { streams: '**.a' }, { streams: '' }, { streams: 'a', token: 'x', ticket: 'y' }, { streams: 'a', url: 'file:///a' }];
    return wrong.map((options) => {
      try {
        subscribe(options);
        return 'taken';
      } catch (error) {
        return error.name;
      }
    });
  }, hub.url);
  expect(refused).toEqual(Array(6).fill('TypeError'));
});

test('a slow network delivers every event', async ({ hub, page }) => {
  const wire = await Wire.to(hub, { bytesPerSecond: 40_000 });
  await hub.count('n', 0, 2_000);
  await subscribe(page, wire.url, { streams: 'n', from: 'start' });
  await expect.poll(async () => (await got(page)).length, { timeout: 60_000 }).toBe(2_000);
  expect(await got(page)).toEqual(numbers(2_000));
  wire.stop();
});

test('a hidden tab reads nothing if pauseHidden is set', async ({ hub, page }) => {
  await subscribe(page, hub.url, { streams: 'n', pauseHidden: true });
  await live(page);
  const show = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await show(true);
  expect((await states(page)).at(-1)).toEqual({ state: 'paused' });
  await sessions(hub, 0);
  await hub.count('n', 0, 3);
  await show(false);
  await expect.poll(() => got(page)).toEqual([0, 1, 2]);
});

test.describe('subscriptions to different streams', () => {
  test('miss nothing if they join a page later', async ({ hub, page }) => {
    await hub.count('m', 0, 50);
    await subscribe(page, hub.url, { streams: 'n' });
    await live(page);
    // History is read while events of the other stream arrive.
    const publishing = (async () => {
      for (let n = 0; n < 200; n += 1) await hub.count('n', n, n + 1);
    })();
    for (const name of ['a', 'b', 'c']) await subscribe(page, hub.url, { streams: 'm', from: 'start' }, name);
    await publishing;
    await hub.count('m', 50, 60);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => got(page, name)).toEqual(numbers(60));
    await expect.poll(() => got(page)).toEqual(numbers(200));
    await sessions(hub, 1);
  });

  test('miss nothing while another tab takes the lead', async ({ hub, context }) => {
    const streams = ['n', 'n', 'm'];
    const pages = [];
    for (const stream of streams) {
      const page = await context.newPage();
      pages.push(page);
      await subscribe(page, hub.url, { streams: stream });
      await live(page);
    }
    let isOver = false;
    let count = 0;
    const publishing = (async () => {
      for (; !isOver || count < 300; count += 1) {
        await hub.publish([{ stream: 'n', data: count }, { stream: 'm', data: count }]);
      }
    })();
    await expect.poll(async () => (await got(pages[2])).length).toBeGreaterThan(50);
    await pages[0].close();
    const before = (await got(pages[2])).length;
    await expect.poll(async () => (await got(pages[2])).length).toBeGreaterThan(before + 50);
    isOver = true;
    await publishing;
    for (const page of pages.slice(1)) await expect.poll(() => got(page)).toEqual(numbers(count));
  });

  test('use connections of their own beyond the limit on selectors', async ({ hub, page }) => {
    const list = (name) => Array.from({ length: 60 }, (_, n) => `${name}.${n}`);
    for (const name of ['a', 'b', 'c']) await subscribe(page, hub.url, { streams: list(name) }, name);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => page.evaluate((name) => window[`states${name}`].at(-1)?.state, name)).toBe('live');
    for (const name of ['a', 'b', 'c']) await hub.count(`${name}.59`, 0, 3);
    for (const name of ['a', 'b', 'c']) await expect.poll(() => got(page, name)).toEqual([0, 1, 2]);
    expect((await hub.get('/stats')).refusals.subscribers, 'no request is refused').toEqual({});
  });
});

for (const share of [true, false]) {
  test(`a new journal is reported and read from its start (share: ${share})`, async ({ hub, page }) => {
    await hub.count('n', 0, 5);
    await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
    await expect.poll(() => got(page)).toEqual(numbers(5));
    for (let times = 0; times < 3; times += 1) {
      await hub.kill();
      await hub.anew();
      const kinds = async () => (await states(page)).filter(({ state }) => state === 'reset').length;
      await expect.poll(kinds, { timeout: 30_000 }).toBe(times + 1);
      await hub.count('n', 0, 2);
      await expect.poll(async () => (await got(page)).slice(5)).toEqual(Array(times + 1).fill([0, 1]).flat());
    }
  });

  test(`a reader whose replay is ended by an operator resumes where it was (share: ${share})`, async ({ hub, page }) => {
    const wire = await Wire.to(hub, { bytesPerSecond: 300_000 });
    await hub.count('n', 0, 10_000);
    await subscribe(page, wire.url, { streams: 'n', from: 'start', share });
    for (let times = 0; times < 3; times += 1) {
      const before = (await got(page)).length;
      await expect.poll(async () => (await got(page)).length).toBeGreaterThan(Math.min(before, 9_999));
      for (const { id } of (await hub.get('/sessions')).sessions) await fetch(`${hub.url}/sessions/${id}`, { method: 'DELETE' });
    }
    await expect.poll(async () => (await got(page)).length, { timeout: 60_000 }).toBe(10_000);
    expect(await got(page)).toEqual(numbers(10_000));
    wire.stop();
  });

  test(`only events that an iterator has not taken come again after a reload (share: ${share})`, async ({ hub, page }) => {
    await hub.count('n', 0, 50);
    await page.goto(`${hub.url}/healthz`);
    const some = (most) => page.evaluate(async ([at, share, most]) => {
      const { subscribe } = await import(`${at}/fanfare.js`);
      const all = [];
      for await (const { data } of subscribe({ url: at, streams: 'n', from: 'start', remember: true, share })) {
        all.push(data);
        // Lets further events arrive, which wait to be taken.
        if (all.length === 1) await new Promise((resolve) => setTimeout(resolve, 300));
        if (all.length === most) break;
      }
      return all;
    }, [hub.url, share, most]);
    // The last event was taken, but not acknowledged.
    expect(await some(10)).toEqual(numbers(10));
    expect(await some(41)).toEqual(numbers(50).slice(9));
  });

  test(`a subscription can be closed at any moment and leaves no session (share: ${share})`, async ({ hub, page }) => {
    await hub.count('n', 0, 5);
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
      await sessions(hub, 0);
    }
    // A new subscription is not affected.
    await subscribe(page, hub.url, { streams: 'n', from: 'start', share });
    await expect.poll(() => got(page)).toEqual(numbers(5));
  });
}

test('a subscription closed in the middle of a batch resumes after its last event', async ({ hub, page }) => {
  await hub.count('n', 0, 5);
  await page.goto(`${hub.url}/healthz`);
  const some = (most) => page.evaluate(async ([at, most]) => {
    const { subscribe } = await import(`${at}/fanfare.js`);
    const all = [];
    await new Promise((resolve) => {
      const subscription = subscribe({
        url: at, streams: 'n', from: 'start', remember: true, share: false,
        onEvent: ({ data }) => {
          all.push(data);
          if (all.length !== most) return;
          subscription.close();
          resolve();
        },
      });
    });
    return all;
  }, [hub.url, most]);
  expect(await some(3)).toEqual([0, 1, 2]);
  expect(await some(2)).toEqual([3, 4]);
});

test.describe('a hub that allows one connection', () => {
  test.use({ flags: ['--max-connections', '1'] });

  test('serves a page', async ({ hub, page }) => {
    await hub.count('n', 0, 3);
    await subscribe(page, hub.url, { streams: 'n', from: 'start' });
    await expect.poll(() => got(page)).toEqual([0, 1, 2]);
    await hub.count('n', 3, 5);
    await expect.poll(() => got(page)).toEqual(numbers(5));
  });
});

test('a stream that is deleted and then published to has not ended', async ({ hub, page }) => {
  await subscribe(page, hub.url, { streams: ['a', 'b'] });
  await live(page);
  await hub.count('a', 0, 1);
  await expect.poll(() => got(page)).toEqual([0]);
  await fetch(`${hub.url}/streams/a`, { method: 'DELETE' });
  await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'stream-ended', stream: 'a' });
  await hub.count('a', 1, 2);
  await hub.count('b', 2, 3);
  await fetch(`${hub.url}/streams/b/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'stream-ended', stream: 'b' });
  await hub.count('a', 3, 4);
  await expect.poll(() => got(page)).toEqual([0, 1, 2, 3]);
  await fetch(`${hub.url}/streams/a/end`, { method: 'POST' });
  await expect.poll(async () => (await states(page)).at(-1)).toEqual({ state: 'ended' });
});
