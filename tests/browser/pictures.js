// Takes the screenshots in docs/pages: `FANFARE=target/release/fanfare node tests/browser/pictures.js [NAME…]`.
// Beside those of the stream and the chat it makes a sheet of each page, in three sizes and two colour schemes.

import { chromium } from '@playwright/test';
import { mkdir } from 'node:fs/promises';
import { Hub } from './hub.js';
import { Upstream, answerWith, pause } from './upstream.js';
import options from './playwright.config.js';

const TARGET = new URL('../../docs/pages/', import.meta.url).pathname;
const SIZES = [{ width: 1440, height: 900 }, { width: 1024, height: 768 }, { width: 390, height: 844 }];
const SCHEMES = ['light', 'dark'];
/** Heights of the screenshots on a sheet, in pixels. */
const SHOWN_HEIGHT = 420;
/** Time for charts to be drawn. */
const DRAWN_WITHIN_MS = 4_000;
/** Time before the first screenshot. */
const HISTORY_MS = 60_000;
/** Streams on the page of a pattern. */
const STREAMS = 20;
const CONFIG = `
[job.backup]
command = ["sh", "-c", "for n in 1 2 3 4 5; do echo copied part $n, $((n * 20)) %; done"]
[job.reindex]
command = ["sh", "-c", "echo no index; exit 3"]
`;

/** Addresses of the pages, and an element that is there once a page is drawn. */
const PAGES = {
  overview: ['#/overview', '.health'],
  streams: ['#/streams', 'td a'],
  stream: ['#/streams/**', '.row'],
  publish: ['#/publish', 'form'],
  sessions: ['#/sessions', 'tbody tr'],
  jobs: ['#/jobs', '.run'],
  access: ['#/access', 'form'],
  login: ['#/login', 'form'],
  chat: ['chat', 'textarea'],
  docs: ['docs', '.opblock'],
};

const browser = await chromium.launch(options.projects[0].use.launchOptions);

/** Takes the screenshot of a chat: an answer with code, a stopped one, and a truncated one. */
async function screenshotChat() {
  const code = 'Subscribe, and show what comes:\n\n```js\nconst source = new EventSource("/streams/builds/events");\n'
    + 'source.onmessage = ({ data }) => show(JSON.parse(data));\n```\n\nIt comes back **by itself**, and the hub sends what it missed:\n\n'
    + '| it says | and means |\n|---|---|\n| `resumed` | nothing is missing |\n| `gap` | so much was removed meanwhile |\n';
  const truncatedAnswer = async ({ startStream, sendText, response }) => {
    startStream();
    sendText('Three things come to mind. First, ');
    await pause(200);
    response.destroy();
  };
  const words = 'Once upon a time there was a stream that nobody read, and it went on all the same,'.split(/(?<= )/);
  const upstream = await Upstream.start(answerWith([code]), answerWith(words, 150), truncatedAnswer);
  const hub = await Hub.start([], upstream.config.replace('"m"', '"llama3.3"'));
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(`${hub.url}/chat`);
  const ask = async (text) => {
    await page.getByLabel('What do you want to ask?').fill(text);
    await page.keyboard.press('Enter');
  };
  const waitUntilDone = (n) => page.locator('.said').nth(n).and(page.locator('[aria-busy="false"]')).waitFor();
  await ask('How do I show a stream in a page?');
  await waitUntilDone(0);
  await ask('Tell me a story');
  await page.getByText('nobody').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await waitUntilDone(1);
  await ask('And what may go wrong?');
  await page.getByText('cut:').waitFor();
  await waitUntilDone(2);
  await page.screenshot({ path: `${TARGET}chat.png` });
  await page.close();
  await hub.stop();
  await upstream.stop();
}
/** Publishes logs, metrics and heartbeats to twenty streams. @param {Hub} hub */
async function publishSamples(hub) {
  const levels = ['debug', 'info', 'info', 'info', 'warn', 'error'];
  const texts = { debug: 'cache hit', info: 'order paid', warn: 'payment is slow', error: 'card refused\nat checkout.pay (line 7)\nat queue.run (line 31)' };
  const events = [];
  for (let n = 0; n < 400; n += 1) {
    const level = levels[(n * 7) % levels.length];
    events.push({ stream: `shop.${n % STREAMS}`, type: 'log', data: { level, message: texts[level], fields: { order: 4000 + n, ms: (n * 37) % 900 } } });
    if (n % 20 === 0) events.push({ stream: 'shop.metrics', type: 'metric', data: { name: 'queue_length', value: (n * 13) % 40, labels: { queue: 'mail' } } });
  }
  for (const source of ['checkout', 'search', 'mail']) events.push({ stream: 'shop.beats', type: 'heartbeat', data: { source, status: 'ok' } });
  await hub.publish(events);
}


/** Takes the screenshot of a stream with an opened event. @param {Hub} hub */
async function screenshotStream(hub) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
  await page.goto(`${hub.url}/#/streams/shop.**?last=400`);
  await page.locator('.row.level-error').last().click();
  await page.locator('.opened').waitFor();
  await page.waitForTimeout(DRAWN_WITHIN_MS);
  await page.screenshot({ path: `${TARGET}stream.png` });
  await page.close();
}

/** Takes a page in each size and scheme, and puts the screenshots on one sheet. @param {Hub} hub @param {string} name */
async function screenshotSheet(hub, name) {
  const [address, ready] = PAGES[name];
  const shots = [];
  for (const colorScheme of SCHEMES) {
    for (const viewport of SIZES) {
      const page = await browser.newPage({ viewport, colorScheme });
      await page.goto(`${hub.url}/${address}`);
      await page.locator(ready).first().waitFor();
      await publishSamples(hub);
      await page.waitForTimeout(DRAWN_WITHIN_MS);
      shots.push({ scheme: colorScheme, viewport, data: (await page.screenshot()).toString('base64') });
      await page.close();
    }
  }
  const sheet = await browser.newPage({ viewport: { width: 1640, height: 100 } });
  const figure = ({ scheme, viewport, data }) => `<figure><img height="${SHOWN_HEIGHT}" src="data:image/png;base64,${data}"><figcaption>${viewport.width} × ${viewport.height}, ${scheme}</figcaption></figure>`;
  await sheet.setContent(`<style>body { margin: 16px; background: #888; font: 14px sans-serif; display: flex; flex-wrap: wrap; gap: 12px; } figure { margin: 0; }</style>${shots.map(figure).join('')}`);
  await sheet.screenshot({ path: `${TARGET}sheets/${name}.jpg`, type: 'jpeg', quality: 80, fullPage: true });
  await sheet.close();
}

const names = process.argv.slice(2);
const isWanted = (name) => names.length === 0 || names.includes(name);
await mkdir(`${TARGET}sheets`, { recursive: true });
if (isWanted('conversation')) await screenshotChat();
const hub = await Hub.start(['--system', '2s'], CONFIG);
await publishSamples(hub);
for (const job of ['backup', 'reindex']) await fetch(`${hub.url}/jobs/${job}/runs`, { method: 'POST' });
const reader = new AbortController();
fetch(`${hub.url}/events?stream=shop.*`, { signal: reader.signal }).catch(() => {});
// The charts of the overview show the history of the hub.
await new Promise((resolve) => setTimeout(resolve, HISTORY_MS));
if (isWanted('event')) await screenshotStream(hub);
for (const name of Object.keys(PAGES).filter(isWanted)) await screenshotSheet(hub, name);
reader.abort();
await browser.close();
await hub.stop();
