// Behaviour of `EventSource` in browsers that `docs/clients.md` describes, and of `fanfare.js` in the same cases.

import { readFile } from 'node:fs/promises';
import { ADMIN, FaultyProxy, expect, key, test } from './hub.js';
import { nginx } from './nginx.js';
import { numbers, received, states, subscribe, subscribeByEventSource, waitForSessions, waitUntilLive } from './watching.js';

// Requests fail on purpose.
test.use({ expectedErrors: [/./] });

const readyState = (page) => page.evaluate(() => window.source.readyState);
const isOpen = (page) => expect.poll(() => readyState(page)).toBe(1);

test.describe('behind nginx', () => {
  test.use({ flags: ['--retry', '500ms'] });

  test('an EventSource stops permanently when the hub restarts, fanfare.js does not', async ({ hub, context }) => {
    const proxy = await nginx(hub);
    const [page, other] = [await context.newPage(), await context.newPage()];
    await subscribeByEventSource(page, proxy.url, 'stream=n');
    await subscribe(other, proxy.url, { streams: 'n', share: false });
    await isOpen(page);
    await waitUntilLive(other);
    await hub.kill();
    await expect.poll(() => readyState(page)).toBe(2);
    await expect.poll(() => states(other)).toContainEqual(expect.objectContaining({ state: 'waiting', status: 502 }));
    await hub.restart();
    await hub.publishNumbers('n', 0, 2);
    await expect.poll(() => received(other)).toEqual([0, 1]);
    expect(await readyState(page)).toBe(2);
    expect(await received(page)).toEqual([]);
    await proxy.stop();
  });

  test('an EventSource survives a restart with the configuration of docs/deployment.md', async ({ hub, page }) => {
    const text = await readFile(new URL('../../docs/deployment.md', import.meta.url), 'utf8');
    const [http] = text.match(/^map [^]*?^}/m);
    const [server] = text.match(/^ {4}location @again [^]*?^ {4}}/m);
    const [location] = text.match(/error_page .*@again;/);
    const proxy = await nginx(hub, { http, server, location });
    await subscribeByEventSource(page, proxy.url, 'stream=n');
    await isOpen(page);
    await hub.publishNumbers('n', 0, 2);
    await expect.poll(() => received(page)).toEqual([0, 1]);
    await hub.kill();
    const opened = () => page.evaluate(() => window.controlEvents.filter(({ type }) => type === 'open').length);
    await expect.poll(opened, 'the response of nginx').toBeGreaterThan(1);
    await hub.restart();
    await hub.publishNumbers('n', 2, 4);
    await expect.poll(() => received(page)).toEqual(numbers(4));
    await proxy.stop();
  });
});

test('over HTTP/1.1 the seventh EventSource of a browser waits until another is closed', async ({ hub, context }) => {
  const pages = [];
  for (let n = 0; n < 7; n += 1) {
    const page = await context.newPage();
    await page.goto(`${hub.url}/healthz`);
    pages.push(page);
  }
  for (const page of pages) {
    await subscribeByEventSource(page, hub.url, 'stream=n');
    if (page !== pages[6]) await isOpen(page);
  }
  await waitForSessions(hub, 6);
  expect(await readyState(pages[6])).toBe(0);
  await pages[0].evaluate(() => window.source.close());
  await isOpen(pages[6]);
  await waitForSessions(hub, 6);
});

test('fanfare.js reconnects after 45 seconds without a byte', async ({ hub, page }) => {
  const proxy = await FaultyProxy.start(hub);
  await page.clock.install();
  await subscribe(page, proxy.url, { streams: 'n', share: false });
  await waitUntilLive(page);
  // The browser would reuse connections of the first requests.
  proxy.dropConnections();
  await expect.poll(async () => {
    await page.clock.runFor(1_000);
    return (await states(page)).filter(({ state }) => state === 'live').length;
  }).toBe(2);
  // The connection breaks without an end.
  for (const socket of proxy.sockets) socket.pause();
  await hub.publishNumbers('n', 0, 3);
  await page.clock.runFor(45_000);
  await expect.poll(async () => (await states(page)).map(({ reason }) => reason)).toContain('silent');
  await expect.poll(async () => {
    await page.clock.runFor(1_000);
    return received(page);
  }).toEqual(numbers(3));
  proxy.stop();
});

test('Firefox drops NUL in the data of an EventSource, fanfare.js keeps it', async ({ hub, context, browserName }) => {
  const [page, other] = [await context.newPage(), await context.newPage()];
  await page.goto(`${hub.url}/healthz`);
  await page.evaluate(() => {
    window.texts = [];
    window.source = new EventSource('/events?stream=n');
    window.source.onmessage = ({ data }) => window.texts.push(data);
  });
  await isOpen(page);
  await subscribe(other, hub.url, { streams: 'n' });
  await waitUntilLive(other);
  const text = 'a\0b';
  await hub.publish({ stream: 'n', data: text });
  await expect.poll(() => page.evaluate(() => window.texts)).toEqual([browserName === 'firefox' ? 'ab' : text]);
  await expect.poll(() => received(other)).toEqual([text]);
});

test.describe('pages of another site', () => {
  test.use({ config: key('reader', ADMIN, { subscribe: ['**'] }) });

  test('send no cookie of the hub, so they need a ticket', async ({ hub, page }) => {
    const login = (url) => page.evaluate(([url, secret]) => fetch(`${url}/session`, {
      method: 'POST', headers: { Authorization: `Bearer ${secret}` },
    }).then(({ status }) => status), [url, ADMIN]);
    const status = (url, path) => page.evaluate(([url, path]) => fetch(`${url}${path}`, { credentials: 'include' }).then((response) => response.status, () => 0), [url, path]);
    await page.goto(`${hub.url}/healthz`);
    expect(await login(hub.url)).toBe(204);
    expect(await status(hub.url, '/streams'), 'a page of the hub').toBe(200);
    const origin = `http://localhost:${hub.port}`;
    await hub.kill();
    hub.flags.push('--cors-origin', origin);
    await hub.restart();
    // 127.0.0.1 and localhost are two sites.
    await page.goto(`${origin}/healthz`);
    expect(await status(hub.url, '/streams'), 'a page of another site').toBe(401);
    const { ticket } = await (await fetch(`${hub.url}/tickets`, {
      method: 'POST', headers: { Authorization: `Bearer ${ADMIN}` }, body: '{"streams": ["n"]}',
    })).json();
    for (const [credential, state] of [['', 2], [`&ticket=${ticket}`, 1]]) {
      await page.evaluate((url) => { window.source = new EventSource(url, { withCredentials: true }); }, `${hub.url}/events?stream=n${credential}`);
      await expect.poll(() => readyState(page)).toBe(state);
    }
  });
});

test('a page that is kept for the back button holds the session of its EventSource, not that of fanfare.js', async ({ hub, playwright, browserName, launchOptions }) => {
  test.skip(browserName !== 'chromium', 'the cache of Chromium');
  // Playwright disables the cache of pages.
  const browser = await playwright.chromium.launch({ ...launchOptions, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  const page = await browser.newPage();
  await page.goto(`${hub.url}/fanfare.js`);
  await subscribe(page, hub.url, { streams: 'n' });
  await waitUntilLive(page);
  await page.goto(`${hub.url}/fanfare/queue.js`);
  await waitForSessions(hub, 0);
  await hub.publishNumbers('n', 0, 2);
  // `goBack` would wait for a load, but a kept page is not loaded again.
  await page.evaluate(() => window.history.back());
  await expect.poll(() => received(page).catch(() => []), 'the page was kept').toEqual([0, 1]);

  await page.goto(`${hub.url}/fanfare/parser.js`);
  await subscribeByEventSource(page, hub.url, 'stream=n');
  await isOpen(page);
  const [{ id }] = (await hub.get('/sessions')).sessions;
  await page.goto(`${hub.url}/fanfare/queue.js`);
  // Other requests of the browser come after the page was left.
  await page.evaluate(() => fetch('/healthz'));
  expect((await hub.get('/sessions')).sessions.map((session) => session.id)).toEqual([id]);
  await browser.close();
  await waitForSessions(hub, 0);
});
