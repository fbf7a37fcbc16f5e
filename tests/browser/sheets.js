// Takes a sheet of screenshots of each page, in three sizes and two colour schemes:
// `FANFARE=target/release/fanfare node tests/browser/sheets.js [PAGE…]`. It writes to docs/pages/sheets.

import { chromium } from '@playwright/test';
import { mkdir } from 'node:fs/promises';
import { Hub } from './hub.js';
import options from './playwright.config.js';

const TARGET = new URL('../../docs/pages/sheets/', import.meta.url).pathname;
const SIZES = [{ width: 1440, height: 900 }, { width: 1024, height: 768 }, { width: 390, height: 844 }];
const SCHEMES = ['light', 'dark'];
/** Heights of the screenshots on a sheet, in pixels. */
const SHOWN_HEIGHT = 420;
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

const browser = await chromium.launch(options.projects[0].use.launchOptions);
const hub = await Hub.start(['--system', '2s'], CONFIG);
await mkdir(TARGET, { recursive: true });
await publishSamples(hub);
for (const job of ['backup', 'reindex']) await fetch(`${hub.url}/jobs/${job}/runs`, { method: 'POST' });
const reader = new AbortController();
fetch(`${hub.url}/events?stream=shop.*`, { signal: reader.signal }).catch(() => {});

const wanted = process.argv.slice(2);
for (const [name, [address, ready]] of Object.entries(PAGES).filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
  const shots = [];
  for (const colorScheme of SCHEMES) {
    for (const viewport of SIZES) {
      const page = await browser.newPage({ viewport, colorScheme });
      await page.goto(`${hub.url}/${address}`);
      await page.locator(ready).first().waitFor();
      // Charts have a point once two samples have arrived.
      await page.waitForTimeout(4_000);
      shots.push({ scheme: colorScheme, viewport, data: (await page.screenshot()).toString('base64') });
      await page.close();
    }
  }
  const sheet = await browser.newPage({ viewport: { width: 1640, height: 100 } });
  const figure = ({ scheme, viewport, data }) => `<figure><img height="${SHOWN_HEIGHT}" src="data:image/png;base64,${data}"><figcaption>${viewport.width} × ${viewport.height}, ${scheme}</figcaption></figure>`;
  await sheet.setContent(`<style>body { margin: 16px; background: #888; font: 14px sans-serif; display: flex; flex-wrap: wrap; gap: 12px; } figure { margin: 0; }</style>${shots.map(figure).join('')}`);
  await sheet.screenshot({ path: `${TARGET}${name}.png`, fullPage: true });
  await sheet.close();
  console.log(name);
}
reader.abort();
await browser.close();
await hub.stop();
