// Clients of the Mercure protocol in a browser and in Node, over a hub that is killed.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Hub, expect, test } from './hub.js';
import { NETWORK_ERRORS } from './watching.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const SECRET = 'a secret that is long enough to be one';
const ISSUER = 'https://issuer.example';
const AUDIENCE = 'https://hub.example/.well-known/mercure';
const flags = ['--mercure', 'both', '--mercure-url', AUDIENCE, '--mercure-cookie', 'hub-token', '--jwt-secret', SECRET,
  '--jwt-issuer', ISSUER, '--anonymous', 'subscribe', '--retry', '200ms'];
test.use({ flags, expectedErrors: [new RegExp(`${NETWORK_ERRORS.source}|TypeError: network error`)] });

function sign(typ, claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'HS256', typ })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Tokens that grant everything. */
const TOKENS = {
  '1.0': sign('at+jwt', {
    iss: ISSUER, aud: AUDIENCE, exp: Math.floor(Date.now() / 1000) + 3_600,
    authorization_details: [{ type: 'https://mercure.rocks/authorization-detail', actions: ['publish', 'subscribe'], topics: [{ match: '*' }] }],
  }),
  '0.x': sign('JWT', { mercure: { publish: ['*'], subscribe: ['*'] } }),
};
const DIALECTS = { '1.0': 'match', '0.x': 'topic' };

async function publish(hub, fields) {
  const init = { method: 'POST', headers: { Authorization: `Bearer ${TOKENS['1.0']}` }, body: new URLSearchParams(fields) };
  const response = await fetch(`${hub.url}/.well-known/mercure`, init);
  expect(response.status).toBe(200);
  return response.text();
}

function address(hub, parameters) {
  return `${hub.url}/.well-known/mercure?${new URLSearchParams(parameters)}`;
}

/** Opens a page of the hub in which modules of npm can be imported, and starts a client in it. */
function inPage(begin) {
  return async (url, { page }) => {
    await page.route('**/modules/**', async (route) => {
      const path = new URL(route.request().url()).pathname.replace('/modules/', '');
      const file = join(here, 'node_modules', path.endsWith('.js') ? path : `${path}.js`);
      await route.fulfill({ contentType: 'text/javascript', body: await readFile(file, 'utf8') });
    });
    await page.goto(`${new URL(url).origin}/healthz`);
    await page.evaluate(() => { [window.received, window.opened] = [[], 0]; });
    await page.evaluate(begin, url);
    return { received: () => page.evaluate(() => window.received), opened: () => page.evaluate(() => window.opened) };
  };
}

const CLIENTS = {
  'EventSource': inPage((url) => {
    const source = new EventSource(url);
    source.onopen = () => { window.opened += 1; };
    source.onmessage = ({ data }) => window.received.push(data);
  }),
  'event-source-polyfill': inPage(async (url) => {
    await import(new URL('/modules/event-source-polyfill/src/eventsource.js', url));
    const source = new window.EventSourcePolyfill(url);
    source.onopen = () => { window.opened += 1; };
    source.onmessage = ({ data }) => window.received.push(data);
  }),
  'fetch-event-source': inPage(async (url) => {
    const { fetchEventSource } = await import(new URL('/modules/@microsoft/fetch-event-source/lib/esm/fetch.js', url));
    fetchEventSource(url, {
      openWhenHidden: true,
      onopen: async (response) => {
        if (!response.ok) throw new Error(String(response.status));
        window.opened += 1;
      },
      onmessage: ({ data }) => window.received.push(data),
      onclose: () => { throw new Error('closed'); },
      onerror: () => 200,
    });
  }),
  'eventsource for Node': async (url) => {
    const child = spawn('node', ['eventsource.mjs', url], { cwd: join(here, 'readers'), stdio: ['ignore', 'pipe', 'inherit'] });
    const received = [];
    createInterface(child.stdout).on('line', (line) => received.push(JSON.parse(line).data));
    return { received: async () => received, stop: () => child.kill('SIGKILL') };
  },
};

for (const [name, start] of Object.entries(CLIENTS)) {
  for (const [dialect, parameter] of Object.entries(DIALECTS)) {
    test(`${name} misses nothing while the hub is killed (${dialect})`, async ({ hub, page }) => {
      // The first update is there before, so that it does not matter when the client connects.
      await publish(hub, { topic: 'a', data: 'before' });
      const before = await publish(hub, { topic: 'a', data: '0', id: 'urn:first' });
      const from = dialect === '1.0' ? 'last_event_id' : 'lastEventID';
      const client = await start(address(hub, { [parameter]: 'a', [from]: 'earliest' }), { page });
      await expect.poll(client.received).toEqual(['before', '0']);
      expect(before).toBe('urn:first');
      for (let n = 1; n <= 3; n += 1) {
        await hub.kill();
        await hub.restart();
        await publish(hub, { topic: 'a', data: `${n}` });
        await expect.poll(client.received).toEqual(['before', ...Array.from({ length: n + 1 }, (_, m) => `${m}`)]);
      }
      client.stop?.();
    });
  }
}

for (const [dialect, parameter] of Object.entries(DIALECTS)) {
  test(`a page of another origin reads private updates with a cookie (${dialect})`, async ({ context, page }) => {
    const other = await Hub.start();
    const hub = await Hub.start([...flags, '--cors-origin', other.url]);
    await context.addCookies([{ name: 'hub-token', value: TOKENS[dialect], url: hub.url }]);
    await page.goto(`${other.url}/healthz`);
    const start = { [parameter]: 'a', [dialect === '1.0' ? 'last_event_id' : 'lastEventID']: 'earliest' };
    await publish(hub, { topic: 'a', data: 'secret', private: 'on' });
    await publish(hub, { topic: 'a', data: 'public' });
    await page.evaluate((url) => {
      [window.with, window.without] = [[], []];
      const open = (list, init) => { new EventSource(url, init).onmessage = ({ data }) => list.push(data); };
      open(window.with, { withCredentials: true });
      open(window.without, {});
    }, address(hub, start));
    await expect.poll(() => page.evaluate(() => window.with)).toEqual(['secret', 'public']);
    await expect.poll(() => page.evaluate(() => window.without)).toEqual(['public']);
    const status = await page.evaluate(async (url) => {
      const init = { method: 'POST', credentials: 'include', body: new URLSearchParams({ topic: 'a', data: 'by page' }) };
      return (await fetch(url, init)).status;
    }, `${hub.url}/.well-known/mercure`);
    expect(status).toBe(200);
    await expect.poll(() => page.evaluate(() => window.without)).toEqual(['public', 'by page']);
    await hub.stop();
    await other.stop();
  });
}
