// `publish`, `history`, `presence` and `ticket` of `fanfare.js`, in Node.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { HubError, SubscriptionError, history, presence, publish, subscribe, ticket } from '../../static/fanfare.js';
import { ADMIN, FaultyProxy, expect, key, test } from './hub.js';
import { numbers } from './watching.js';

/** Returns the error of a promise that must be rejected. */
const errorOf = (promise) => promise.then(() => { throw new Error('not rejected'); }, (error) => error);

async function collect(iterable) {
  const all = [];
  for await (const event of iterable) all.push(event);
  return all;
}
const dataOf = async (iterable) => (await collect(iterable)).map((event) => event.data);

test.describe('publish', () => {
  test('returns the receipt', async ({ hub }) => {
    const receipt = await publish('n', { step: 3 }, { url: hub.url });
    expect(receipt).toMatchObject({ id: expect.any(String), stream: 'n', subscribers: 0, duplicate: false });
    await publish(['n', 'm'], 'text', { url: hub.url, type: 'note' });
    await publish('n', null, { url: hub.url });
    const events = await collect(history(['n', 'm'], { url: hub.url }));
    expect(events.map(({ streams, type, data }) => [streams, type, data])).toEqual([
      [['n'], 'message', { step: 3 }], [['n', 'm'], 'note', 'text'], [['n'], 'message', null],
    ]);
    expect(events[0].id).toBe(receipt.id);
  });

  test('reports the problem of a refused event', async ({ hub }) => {
    const error = await errorOf(publish('n', {}, { url: hub.url, type: 'metric' }));
    expect(error).toBeInstanceOf(HubError);
    expect(error).toMatchObject({ name: 'HubError', status: 422, code: 'validation_error', field: 'data.name' });
    expect(error.message).toContain(error.detail);
    await fetch(`${hub.url}/streams/n/end`, { method: 'POST' });
    expect(await errorOf(publish('n', 1, { url: hub.url }))).toMatchObject({ status: 409, code: 'conflict', field: 'stream' });
  });

  test('repeats a request only if it has a key', async () => {
    const seen = [];
    const answers = [];
    const server = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      seen.push(JSON.parse(body));
      const status = answers.shift() ?? 200;
      if (status === 'cut') return request.socket.destroy();
      response.writeHead(status, { 'Content-Type': 'application/json', 'Retry-After': '0' });
      response.end(JSON.stringify(status === 200 ? { id: 'x', stream: 'n', subscribers: 0, duplicate: true } : { code: 'draining', detail: 'stopping' }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${server.address().port}`;

    answers.push(503);
    expect(await errorOf(publish('n', 1, { url }))).toMatchObject({ status: 503, code: 'draining', detail: 'stopping', retryAfterMs: 0 });
    answers.push('cut');
    expect(await errorOf(publish('n', 1, { url }))).toMatchObject({ status: undefined, code: 'lost', cause: expect.anything() });
    expect(seen).toHaveLength(2);

    answers.push('cut', 503, 429);
    expect(await publish('n', 1, { url, key: 'k' })).toMatchObject({ duplicate: true });
    expect(seen.slice(2)).toEqual(Array(4).fill({ stream: 'n', key: 'k', data: 1 }));

    answers.push(422);
    expect(await errorOf(publish('n', 1, { url, key: 'k' }))).toMatchObject({ status: 422 });
    expect(seen).toHaveLength(7);

    // The signal also ends the wait for the next attempt.
    answers.push(503, 503, 503, 503, 503);
    const abort = new AbortController();
    const fetchAndAbort = async (...request) => {
      const response = await fetch(...request);
      setTimeout(() => abort.abort(), 1);
      return response;
    };
    expect((await errorOf(publish('n', 1, { url, key: 'k', signal: abort.signal, fetch: fetchAndAbort }))).name).toBe('AbortError');
    expect(seen).toHaveLength(8);
    server.close();
    server.closeAllConnections();
  });

  test('with a key publishes once although the hub restarts', async ({ hub }) => {
    await hub.kill();
    const publishing = publish('n', 1, { url: hub.url, key: 'once' });
    await hub.restart();
    expect(await publishing).toMatchObject({ duplicate: false });
    expect(await publish('n', 1, { url: hub.url, key: 'once' })).toMatchObject({ duplicate: true });
    expect(await dataOf(history('n', { url: hub.url }))).toEqual([1]);
  });
});

test.describe('history', () => {
  test('ends with the newest event', async ({ hub }) => {
    await hub.publishNumbers('n', 0, 3_000);
    await hub.publish({ stream: 'n', type: 'log', data: { level: 'info', message: 'x' } });
    const { url } = hub;
    expect(await dataOf(history('n', { url, types: ['message'] }))).toEqual(numbers(3_000));
    expect(await dataOf(history('n', { url, last: 2, types: ['message'] }))).toEqual([2_998, 2_999]);
    expect(await dataOf(history(['n', 'm'], { url, limit: 4 }))).toEqual(numbers(4));
    const [first] = await collect(history('n', { url, limit: 1 }));
    expect(await dataOf(history('n', { url, from: first.id, limit: 2 }))).toEqual([1, 2]);
    expect(await dataOf(history('none', { url }))).toEqual([]);
    await fetch(`${url}/streams/n/end`, { method: 'POST' });
    expect((await dataOf(history('n', { url }))).length).toBe(3_001);
    await expect.poll(async () => (await hub.get('/sessions')).sessions.length).toBe(0);
  });

  test('resumes after its connection breaks', async ({ hub }) => {
    const proxy = await FaultyProxy.start(hub, { bytesPerSecond: 400_000 });
    await hub.publishNumbers('n', 0, 20_000);
    const all = [];
    for await (const { data } of history('n', { url: proxy.url })) {
      all.push(data);
      if (data === 3_000 || data === 9_000) proxy.dropConnections();
    }
    expect(all.length).toBe(20_000);
    expect(all).toEqual(numbers(20_000));
    expect(proxy.opened).toBeGreaterThan(2);
    proxy.stop();
  });

  test('reports what the hub refused, a lost hub, and a signal', async ({ hub }) => {
    expect(await errorOf(collect(history('n', { url: hub.url, from: 'yesterday' })))).toMatchObject({ name: 'HubError', status: 400, code: 'validation_error', field: 'from' });
    const abort = new AbortController();
    const reading = errorOf(collect(history('n', { url: hub.url, signal: abort.signal, fetch: () => new Promise(() => {}) })));
    abort.abort();
    expect((await reading).name).toBe('AbortError');
    const states = [];
    const failing = history('n', { url: hub.url, fetch: async () => { throw new Error('no route'); }, onState: (state) => states.push(state.state) });
    // Delays are not waited for.
    const { setTimeout: original } = globalThis;
    globalThis.setTimeout = (callback, ms, ...rest) => original(callback, Math.min(ms, 5), ...rest);
    try {
      expect(await errorOf(collect(failing))).toMatchObject({ status: undefined, code: 'lost', detail: expect.stringContaining('no route') });
    } finally {
      globalThis.setTimeout = original;
    }
    expect(states.filter((state) => state === 'waiting')).toHaveLength(5);
  });
});

test.describe('credentials', () => {
  test.use({ config: `${key('admin', ADMIN, { publish: ['**'], subscribe: ['**'], admin: true })}\n${key('reader', 'good', { subscribe: ['n'] })}` });

  test('are sent, and requested again once', async ({ hub }) => {
    const { url } = hub;
    await publish('n', 1, { url, token: ADMIN });
    expect(await errorOf(publish('n', 1, { url }))).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(await errorOf(publish('n', 1, { url, token: 'good' }))).toMatchObject({ status: 403, code: 'forbidden' });
    const reasons = [];
    await publish('n', 2, { url, token: (reason) => (reasons.push(reason), reason === 'first' ? 'old' : ADMIN) });
    expect(reasons).toEqual(['first', 'expired']);
    expect(await errorOf(publish('n', 2, { url, token: () => 'bad' }))).toMatchObject({ status: 401 });
    expect(await errorOf(publish('n', 2, { url, token: () => undefined }))).toMatchObject({ status: 401, code: 'token_expired' });
    expect(await errorOf(presence('n', { url, token: 'good' }))).toMatchObject({ status: 403, code: 'forbidden' });
    expect(await dataOf(history('n', { url, token: 'good' }))).toEqual([1, 2]);
    const error = await errorOf(collect(subscribe({ url, streams: 'm', token: 'good' })));
    expect(error).toBeInstanceOf(SubscriptionError);
    expect(error).toBeInstanceOf(HubError);
    expect(error).toMatchObject({ name: 'SubscriptionError', status: 403, code: 'forbidden', field: 'stream', state: { state: 'refused' } });
  });

  test('a ticket reads what its maker may read', async ({ hub }) => {
    const { url } = hub;
    await publish('n', 1, { url, token: ADMIN });
    const before = Date.now();
    const created = await ticket(['n', 'm'], { url, token: 'good', ttl: '20m' });
    expect(Date.parse(created.expiresAt)).toBeGreaterThan(before + 19 * 60_000);
    expect(await dataOf(history('n', { url, ticket: created.ticket }))).toEqual([1]);
    expect(await errorOf(ticket('n', { url, token: 'good', ttl: '3x' }))).toMatchObject({ status: 422, field: 'ttl' });
    const subscription = subscribe({ url, streams: 'n', ticket: async () => (await ticket('n', { url, token: 'good' })).ticket });
    await expect.poll(() => subscription.state.state).toBe('live');
    expect(await presence('n', { url, token: ADMIN })).toEqual({
      stream: 'n', sessions: 1, anonymous: 0, subjects: [{ subject: 'key reader', sessions: 1 }], subjectCount: 1, silentHubs: [],
    });
    subscription.close();
  });
});

test('a URL that is no hub is named', async () => {
  const server = createServer((_, response) => response.end('<html>'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const error = await errorOf(publish('n', 1, { url: `http://127.0.0.1:${server.address().port}` }));
  expect(error.message).toMatch(/sent no JSON; is `url` a hub\?/);
  server.close();
  server.closeAllConnections();
});
