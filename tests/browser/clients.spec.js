// The client matrix: common clients against the real hub. Each client is a row of `docs/clients.md`,
// and each cell of the row is a test here, also if the client deviates from the specification.

import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { FaultyProxy, expect, test } from './hub.js';
import { nginx } from './nginx.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = join(here, '../../target/clients/venv/bin/python');
const RUST = process.env.FANFARE_READER ?? join(here, '../../target/debug/examples/reader');

/** Returns a function that starts a program, which prints one event per line. */
function program(command, ...args) {
  return async (url) => {
    const child = spawn(command, [...args, url], { cwd: join(here, 'readers'), stdio: ['ignore', 'pipe', 'inherit'] });
    const reader = { events: [], ended: null, refused: null, stop: async () => { child.kill('SIGKILL'); } };
    createInterface(child.stdout).on('line', (line) => {
      const message = JSON.parse(line);
      if ('over' in message) reader.ended = message.over ?? 'ended';
      else if ('refused' in message) reader.refused = message.refused;
      else reader.events.push(message);
    });
    return reader;
  };
}

/** Returns a function that opens a page, which collects events in `window.events` and the final status in `window.ended`. */
function inPage(begin) {
  return async (url, { context }) => {
    const page = await context.newPage();
    // The modules of the package import each other without a file extension.
    await page.route('**/modules/**', async (route) => {
      const path = new URL(route.request().url()).pathname.replace('/modules/', '');
      const file = join(here, 'node_modules', path.endsWith('.js') ? path : `${path}.js`);
      await route.fulfill({ contentType: 'text/javascript', body: await readFile(file, 'utf8') });
    });
    await page.goto(`${new URL(url).origin}/healthz`);
    await page.evaluate(() => {
      window.events = [];
      window.ended = null;
      window.record = ({ type, event, data, lastEventId, id }) => window.events.push({ type: type ?? (event || 'message'), data, id: lastEventId ?? id });
      window.TYPES = ['message', 'log', 'hub-open', 'hub-gap', 'hub-end', 'hub-error'];
    });
    await page.evaluate(begin, url);
    const reader = { events: [], ended: null, stop: () => page.close() };
    reader.refresh = async () => Object.assign(reader, await page.evaluate(() => ({ events: window.events, ended: window.ended })));
    return reader;
  };
}

/** Deviations of clients from the specification; each is named in the row of the client. */
const losesEmptyFirstLines = (text) => text.replace(/^\n+/, '');
const losesSpacesAndLastLines = (text) => text.replaceAll(/^ +/gm, '').replace(/\n+$/, '');

const CLIENTS = [
  {
    name: 'EventSource in a browser',
    start: inPage((url) => {
      const source = new EventSource(url);
      for (const type of window.TYPES) source.addEventListener(type, window.record);
      source.onerror = () => { if (source.readyState === 2) window.ended = 204; };
    }),
  },
  {
    name: 'fanfare.js',
    start: inPage(async (url) => {
      const { subscribe } = await import(new URL('/fanfare.js', url));
      const stream = new URL(url).pathname.split('/')[2];
      subscribe({
        streams: stream,
        onEvent: ({ type, data, id }) => window.record({ type, data: typeof data === 'string' ? data : JSON.stringify(data), id }),
        onState: (state) => {
          if (state.state === 'live') window.record({ type: 'hub-open', data: '' });
          if (state.state === 'waiting' && state.reason === 'resource_exhausted') window.record({ type: 'hub-error', data: '' });
          if (state.state === 'ended') window.ended = 204;
        },
      });
    }),
  },
  {
    name: '@microsoft/fetch-event-source', transform: losesEmptyFirstLines,
    start: inPage(async (url) => {
      const { fetchEventSource } = await import(new URL('/modules/@microsoft/fetch-event-source/lib/esm/fetch.js', url));
      class StreamEnded extends Error {}
      fetchEventSource(url, {
        openWhenHidden: true,
        onopen: async (response) => {
          if (response.status === 204) throw new StreamEnded();
          if (!response.ok) throw new Error(String(response.status));
        },
        onmessage: window.record,
        // A response that ends is a lost connection.
        onclose: () => { throw new Error('closed'); },
        onerror: (error) => {
          if (!(error instanceof StreamEnded)) return;
          window.ended = 204;
          throw error;
        },
      }).catch(() => {});
    }),
  },
  { name: 'eventsource (npm)', start: program('node', 'eventsource.mjs') },
  { name: 'eventsource-parser (npm) with fetch', start: program('node', 'parser.mjs') },
  { name: 'requests with sseclient-py', start: program(PYTHON, 'requests_sseclient.py') },
  { name: 'httpx with httpx-sse', start: program(PYTHON, 'httpx_sse_reader.py') },
  { name: 'aiohttp', start: program(PYTHON, 'aiohttp_plain.py') },
  { name: 'aiohttp-sse-client', transform: losesSpacesAndLastLines, start: program(PYTHON, 'aiohttp_sse_reader.py') },
  { name: 'curl', start: program('bash', 'curl.sh') },
  { name: 'reqwest with eventsource-stream', start: program(RUST) },
];

const TEXTS = ['one line', 'two\nlines', 'cr\rlf\ncrlf\r\nend', ' leading space', '', '\n', 'grüße 東京 🎺', 'id: 7', ': no comment', '{"json": [1, null]}'];
const normalizeLineBreaks = (text) => text.replaceAll(/\r\n?/g, '\n');

const data = (reader) => reader.events.filter(({ type }) => !type.startsWith('hub-')).map((event) => event.data);
const control = (reader, type) => reader.events.filter((event) => event.type === type);
const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => String(from + n));

/** Returns an expectation that polls the selected value of a reader. */
const pollReader = (reader, select) => expect.poll(async () => {
  await reader.refresh?.();
  return select(reader);
});
const waitUntilOpened = (reader, times = 1) => pollReader(reader, (r) => control(r, 'hub-open').length).toBe(times);

for (const { name, start, transform = (text) => text } of CLIENTS) {
  test.describe(name, () => {
    // The browser requests a missing icon, and the hub is down or refuses requests on purpose.
    test.use({ expectedErrors: [/./] });
    /** @type {any} */
    let reader;
    test.afterEach(() => reader?.stop());

    test('gets every event once and in order', async ({ hub, context }) => {
      reader = await start(`${hub.url}/streams/s/events`, { context });
      await waitUntilOpened(reader);
      for (let n = 0; n < 300; n += 100) await hub.publishNumbers('s', n, n + 100);
      await pollReader(reader, data).toEqual(numbers(0, 300));
      const ids = reader.events.filter(({ type }) => type === 'message').map(({ id }) => id);
      expect(ids).toEqual([...ids].sort());
      expect(new Set(ids).size).toBe(300);
    });

    test('gets text as it was published', async ({ hub, context }) => {
      reader = await start(`${hub.url}/streams/s/events`, { context });
      await waitUntilOpened(reader);
      for (const text of TEXTS) await hub.publish({ stream: 's', data: text });
      const expected = name === 'fanfare.js' ? TEXTS : TEXTS.map(normalizeLineBreaks);
      await pollReader(reader, data).toEqual(expected.map(transform));
    });

    test.describe('on a quiet stream', () => {
      test.use({ flags: ['--heartbeat', '1s'] });

      test('ignores heartbeats and retry hints', async ({ hub, context }) => {
        reader = await start(`${hub.url}/streams/s/events`, { context });
        await waitUntilOpened(reader);
        await hub.publishNumbers('s', 0, 1);
        await pollReader(reader, data).toEqual(['0']);
        // Several heartbeats are sent between the two events.
        await new Promise((resolve) => setTimeout(resolve, 3_300));
        await hub.publishNumbers('s', 1, 2);
        await pollReader(reader, data).toEqual(['0', '1']);
        expect(reader.events.map(({ type }) => type)).toEqual(['hub-open', 'message', 'message']);
      });
    });

    test.describe('when its connection breaks', () => {
      test.use({ flags: ['--retry', '500ms'] });

      test('misses nothing and gets nothing twice', async ({ hub, context }) => {
        const proxy = await FaultyProxy.start(hub);
        reader = await start(`${proxy.url}/streams/s/events`, { context });
        await waitUntilOpened(reader);
        await hub.publishNumbers('s', 0, 20);
        await pollReader(reader, data).toEqual(numbers(0, 20));
        for (const to of [40, 60]) {
          proxy.block();
          await hub.publishNumbers('s', to - 20, to);
          proxy.unblock();
          await pollReader(reader, data).toEqual(numbers(0, to));
        }
        proxy.stop();
      });
    });

    test.describe('at the end of its stream', () => {
      test.use({ flags: ['--retry', '500ms'] });

      test('stops reconnecting', async ({ hub, context }) => {
        reader = await start(`${hub.url}/streams/s/events`, { context });
        await waitUntilOpened(reader);
        await hub.publishNumbers('s', 0, 2);
        await fetch(`${hub.url}/streams/s/end`, { method: 'POST' });
        await pollReader(reader, (r) => r.ended).not.toBeNull();
        expect(data(reader)).toEqual(['0', '1']);
        const countRefusals = () => hub.metric('fanfare_subscribers_refused_total', 'reason="finished"');
        const refusals = await countRefusals();
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        expect(await countRefusals(), 'no further request').toBe(refusals);
      });
    });

    test.describe('at a limit', () => {
      test.use({ flags: ['--retry', '500ms', '--max-connections', '1'] });

      test('is refused, reconnects and gets in', async ({ hub, context }) => {
        const first = new AbortController();
        const { body } = await fetch(`${hub.url}/streams/s/events`, { signal: first.signal });
        await body.getReader().read();
        reader = await start(`${hub.url}/streams/s/events`, { context });
        // A client that accepts event streams is refused in a stream, any other by a status.
        await pollReader(reader, (r) => control(r, 'hub-error').length > 0 || r.refused === 503).toBe(true);
        first.abort();
        await waitUntilOpened(reader);
        await hub.publishNumbers('s', 0, 3);
        await pollReader(reader, data).toEqual(numbers(0, 3));
      });
    });

    test('gets events at once behind nginx with default buffering and compression', async ({ hub, context }) => {
      const proxy = await nginx(hub);
      try {
        reader = await start(`${proxy.url}/streams/s/events`, { context });
        await waitUntilOpened(reader);
        // Each event is published after the previous one has arrived.
        for (let n = 0; n < 10; n += 1) {
          await hub.publishNumbers('s', n, n + 1);
          await pollReader(reader, (r) => data(r).length).toBe(n + 1);
        }
      } finally {
        await proxy.stop();
      }
    });
  });
}

test('a reconnect in onerror, as in tutorials, doubles the events of an EventSource', async ({ hub, context }) => {
  test.info().annotations.push({ type: 'row', description: 'sse-starlette' });
  const proxy = await FaultyProxy.start(hub);
  const start = inPage((url) => {
    const createEventSource = () => {
      const source = new EventSource(url);
      for (const type of window.TYPES) source.addEventListener(type, window.record);
      source.onerror = () => setTimeout(createEventSource, 500);
    };
    createEventSource();
  });
  const reader = await start(`${proxy.url}/streams/s/events`, { context });
  await waitUntilOpened(reader);
  proxy.dropConnections();
  await waitUntilOpened(reader, 3);
  await hub.publishNumbers('s', 0, 1);
  await pollReader(reader, data).toEqual(['0', '0']);
  await reader.stop();
  proxy.stop();
});
test.use({ expectedErrors: [/./] });
