// Reconnects, requests and delays of `fanfare.js`, in Node, where a test can record every request.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { subscribe } from '../../static/fanfare.js';
import { expect, key, test } from './hub.js';

/** Subscribes and records events, states and requests. */
function subscribeAndRecord(options) {
  const [received, states, requests] = [[], [], []];
  const subscription = subscribe({
    ...options,
    onEvent: (event) => received.push(event.data),
    onState: (state) => states.push(state),
    fetch: (url, init) => {
      requests.push({ url: new URL(url), method: init.method ?? 'GET' });
      return fetch(url, init);
    },
  });
  return { subscription, received, states, requests, lastState: () => states.at(-1)?.state };
}

test('delays grow with each attempt, also if connections are accepted and closed at once', async () => {
  let refuse = true;
  const server = createServer((request, response) => {
    if (refuse) return response.writeHead(503).end();
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    // A connection that is open for longer than `retry` would not count as a failure.
    response.end('retry: 60000\nevent: hub-open\nid: 00000000-0000000000000001\ndata: {"resume":"live","requested":null,"from":"00000000-0000000000000001","session":"s"}\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  const { subscription, states } = subscribeAndRecord({ url, streams: 'n' });
  const skipDelays = setInterval(() => subscription.connection?.wake(), 5);
  const waits = () => states.filter(({ state }) => state === 'waiting');
  await expect.poll(() => waits().length).toBeGreaterThanOrEqual(8);
  expect(waits().slice(0, 8).map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  const delays = waits().slice(0, 8).map(({ delay }) => delay);
  expect(delays[0]).toBeLessThanOrEqual(3_000);
  for (const delay of delays.slice(5)) {
    expect(delay).toBeGreaterThanOrEqual(15_000);
    expect(delay).toBeLessThanOrEqual(30_000);
  }
  expect(new Set(delays.slice(5)).size, 'delays are jittered').toBeGreaterThan(1);
  // A connection that is accepted and closed at once still counts as a failure.
  refuse = false;
  const before = waits().length;
  await expect.poll(() => waits().length).toBeGreaterThan(before + 2);
  expect(waits().at(-1).attempt).toBeGreaterThan(before);
  clearInterval(skipDelays);
  subscription.close();
  server.close();
  server.closeAllConnections();
});

test('a subscription that has all of an ended stream ends at a 204', async ({ hub }) => {
  await hub.publishNumbers('n', 0, 2);
  await fetch(`${hub.url}/streams/n/end`, { method: 'POST' });
  const first = subscribeAndRecord({ url: hub.url, streams: 'n', from: 'start' });
  await expect.poll(first.lastState).toBe('ended');
  expect(first.received).toEqual([0, 1]);
  const second = subscribeAndRecord({ url: hub.url, streams: 'n', from: first.subscription.lastEventId });
  await expect.poll(second.lastState).toBe('ended');
  expect(second.states.map(({ state }) => state)).toEqual(['connecting', 'ended']);
  expect(second.requests).toHaveLength(1);
});

test.describe('a credential', () => {
  test.use({ config: key('reader', 'good', { subscribe: ['n'], publish: ['n'] }) });

  test('that is refused is requested once more, and not again', async ({ hub }) => {
    const reasons = [];
    const tokens = ['bad', 'good'];
    const first = subscribeAndRecord({ url: hub.url, streams: 'n', token: (reason) => (reasons.push(reason), tokens.shift()) });
    await expect.poll(first.lastState).toBe('live');
    expect(reasons).toEqual(['first', 'expired']);
    first.subscription.close();
    reasons.length = 0;
    const second = subscribeAndRecord({ url: hub.url, streams: 'n', token: (reason) => (reasons.push(reason), 'bad') });
    await expect.poll(second.lastState).toBe('refused');
    expect(reasons).toEqual(['first', 'expired']);
    expect(second.requests).toHaveLength(2);
  });
});

test('a list of streams is sent by POST only if it is too long for a URL', async ({ hub }) => {
  const streams = Array.from({ length: 90 }, (_, n) => `a-stream-with-a-rather-long-name.${n}`);
  for (const [list, method] of [[streams, 'POST'], [streams.slice(0, 5), 'GET']]) {
    const { subscription, requests, lastState } = subscribeAndRecord({ url: hub.url, streams: list });
    await expect.poll(lastState).toBe('live');
    expect(requests[0].method).toBe(method);
    expect(requests[0].url.href.length).toBeLessThanOrEqual(2_000);
    subscription.close();
  }
});

test('little is read ahead of an iterator that takes nothing', async ({ hub }) => {
  await hub.publish(Array.from({ length: 4_000 }, (_, n) => ({ stream: 'n', data: `${n} ${'x'.repeat(1_000)}` })));
  const { subscription } = subscribeAndRecord({ url: hub.url, streams: 'n', from: 'start' });
  const reader = subscription[Symbol.asyncIterator]();
  expect((await reader.next()).value.data).toMatch(/^0 /);
  // The queue may exceed its bound by the events of one chunk.
  await expect.poll(() => subscription.queue.events.length).toBeGreaterThanOrEqual(1_000);
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(subscription.queue.events.length).toBeLessThan(2_000);
  for (let n = 1; n < 4_000; n += 1) expect((await reader.next()).value.data).toBe(`${n} ${'x'.repeat(1_000)}`);
  await reader.return();
});
