// Clients of the protocol from npm, while the hub is killed and started again.

import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client';
import { MaterializedState } from '@durable-streams/state';
import { YjsProvider } from '@durable-streams/y-durable-streams';
import { YjsServer } from '@durable-streams/y-durable-streams/server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as Y from 'yjs';
import { Hub, until } from './hub.mjs';

const KILLS = process.env.TEST_EXTENT === 'full' ? 10 : 3;
/** Delays of retries: those of the package let a test wait for a minute. */
const backoffOptions = { initialDelay: 20, maxDelay: 200, multiplier: 1.5, maxRetries: Infinity };

/** Repeats a request until it is answered, which the package's producer does not. */
async function fetchAgain(url, options) {
  for (;;) {
    try {
      const response = await fetch(url, options);
      if (response.status < 500) {
        return response;
      }
    } catch {
      // The hub is away.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Passes the items of a stream to `take`. A reader ends when its connection breaks, or was short three times; another
 * goes on from its offset.
 */
async function follow(url, live, take) {
  let offset = '-1';
  for (;;) {
    const reader = await stream({ url, live, offset, backoffOptions });
    reader.subscribeJson((batch) => {
      take(batch.items);
      offset = batch.offset;
    });
    await reader.closed.catch(() => {});
    if (reader.streamClosed) {
      return;
    }
  }
}

/** Options of tests that must pass the first time. */
const once = { retry: 0 };

let hub;

beforeAll(async () => {
  hub = await Hub.start();
});

afterAll(() => hub.remove());

/** Kills the hub and starts it again, several times. `progress` returns how much has been done. */
async function kill(progress) {
  for (let kills = 0; kills < KILLS; kills += 1) {
    const before = await progress();
    await until(async () => (await progress()) > before + 20);
    await hub.kill();
    await hub.restart();
  }
}

test.each(['sse', 'long-poll'])('a producer and a reader by %s lose, double and reorder nothing', once, async (live) => {
  const url = hub.stream(`numbers-${live}`);
  const own = await DurableStream.create({ url, contentType: 'application/json', backoffOptions });
  const received = [];
  const following = follow(url, live, (items) => received.push(...items));
  const errors = [];
  const producer = new IdempotentProducer(own, `producer-${live}`, {
    fetch: fetchAgain,
    maxInFlight: 5,
    lingerMs: 1,
    onError: (error) => errors.push(error),
  });
  let sent = 0;
  let isKilled = false;
  const sending = (async () => {
    while (!isKilled) {
      producer.append(JSON.stringify({ n: sent }));
      sent += 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await kill(() => received.length);
  isKilled = true;
  await sending;
  await producer.flush();
  expect(errors).toEqual([]);
  await until(() => received.length >= sent);
  expect(received.map((item) => item.n)).toEqual([...Array(sent).keys()]);
  const stored = await (await stream({ url, live: false })).json();
  expect(stored).toEqual(received);
  await producer.close();
  await following;
});

test('a materialized state is that of the last changes', once, async () => {
  const url = hub.stream('state');
  const own = await DurableStream.create({ url, contentType: 'application/json', backoffOptions });
  const state = new MaterializedState();
  const following = follow(url, 'sse', (items) => items.forEach((change) => state.apply(change)));
  const producer = new IdempotentProducer(own, 'changes', { fetch: fetchAgain, lingerMs: 1 });
  let count = 0;
  let isKilled = false;
  const changing = (async () => {
    while (!isKilled) {
      const operation = count < 10 ? 'insert' : 'update';
      const change = { type: 'token', key: `${count % 10}`, value: { count }, headers: { operation } };
      producer.append(JSON.stringify(change));
      count += 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await kill(() => Math.max(-1, ...[...state.getType('token').values()].map((value) => value.count)));
  isKilled = true;
  await changing;
  await producer.flush();
  const last = count - 1;
  await until(() => state.get('token', `${last % 10}`)?.count === last);
  for (let n = 0; n < 10; n += 1) {
    expect(state.get('token', `${(last - n) % 10}`)).toEqual({ count: last - n });
  }
  await producer.close();
  await following;
});

test('documents of Yjs are the same for all that edit them', once, async () => {
  const server = new YjsServer({ port: 0, dsServerUrl: hub.url });
  const baseUrl = `${await server.start()}/v1/yjs/test`;
  const edit = (liveMode) => {
    const doc = new Y.Doc();
    const provider = new YjsProvider({ doc, baseUrl, docId: 'document', liveMode });
    return { doc, provider, text: doc.getText('text') };
  };
  const editors = [edit('sse'), edit('long-poll')];
  await until(() => editors.every(({ provider }) => provider.synced));
  let length = 0;
  for (let round = 0; round <= KILLS; round += 1) {
    for (const { text } of editors) {
      for (let n = 0; n < 10; n += 1) {
        text.insert(text.length, `${n}`);
        length += 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    await until(() => editors.every(({ text }) => text.length === length));
    expect(editors[0].text.toString()).toBe(editors[1].text.toString());
    await hub.kill();
    await hub.restart();
  }
  for (const { provider } of editors) {
    provider.destroy();
  }
  await server.stop();
});
