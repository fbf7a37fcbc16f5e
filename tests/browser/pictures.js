// Takes the screenshots in docs/pages: `node tests/browser/pictures.js`, beside a release build. With the
// argument `chat` it takes only the screenshot of the chat.

import { chromium } from '@playwright/test';
import { Hub } from './hub.js';
import { Upstream, parts, pause } from './upstream.js';
import options from './playwright.config.js';

const TARGET = new URL('../../docs/pages/', import.meta.url).pathname;
const CONFIG = `
[job.backup]
command = ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do echo copied part $n; sleep 2; done"]
timeout = "2h"
[job.reindex]
command = ["true"]
`;

const browser = await chromium.launch(options.use.launchOptions);

/** Takes the screenshot of a chat: an answer with code, a stopped one, and a cut one. */
async function chat() {
  const code = 'Subscribe, and show what comes:\n\n```js\nconst source = new EventSource("/streams/builds/events");\n'
    + 'source.onmessage = ({ data }) => show(JSON.parse(data));\n```\n\nIt comes back **by itself**, and the hub sends what it missed:\n\n'
    + '| it says | and means |\n|---|---|\n| `resumed` | nothing is missing |\n| `gap` | so much was removed meanwhile |\n';
  const cut = async ({ begin, part, response }) => {
    begin();
    part('Three things come to mind. First, ');
    await pause(200);
    response.destroy();
  };
  const words = 'Once upon a time there was a stream that nobody read, and it went on all the same,'.split(/(?<= )/);
  const upstream = await Upstream.start(parts([code]), parts(words, 150), cut);
  const hub = await Hub.start([], upstream.config.replace('"m"', '"llama3.3"'));
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.goto(`${hub.url}/chat`);
  const ask = async (text) => {
    await page.getByLabel('What do you want to ask?').fill(text);
    await page.keyboard.press('Enter');
  };
  const over = (n) => page.locator('.said').nth(n).and(page.locator('[aria-busy="false"]')).waitFor();
  await ask('How do I show a stream in a page?');
  await over(0);
  await ask('Tell me a story');
  await page.getByText('nobody').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await over(1);
  await ask('And what may go wrong?');
  await page.getByText('cut:').waitFor();
  await over(2);
  await page.screenshot({ path: `${TARGET}chat.png` });
  await page.close();
  await hub.stop();
  await upstream.stop();
}
await chat();
if (process.argv[2] === 'chat') process.exit(0);

const hub = await Hub.start(['--system', '2s'], CONFIG);
const pick = (...of) => of[Math.floor(Math.random() * of.length)];
let n = 0;

/** Publishes events like those of the services of a small shop. */
async function traffic() {
  const events = [];
  for (let more = 5 + Math.random() * 30; more > 0; more -= 1) {
    n += 1;
    const level = pick('debug', 'info', 'info', 'info', 'info', 'warn', 'error');
    const message = { debug: 'cache hit', info: 'order paid', warn: 'payment is slow', error: 'card refused' }[level];
    events.push({ stream: `shop.${pick('checkout', 'search', 'mail')}`, type: 'log', data: { level, message: `${message}, order ${4000 + n}`, fields: { order: 4000 + n, ms: Math.round(Math.random() * 900), customer: { country: pick('DE', 'FR', 'PT') } } } });
  }
  events.push({ stream: 'shop.metrics', type: 'metric', data: { name: 'queue_length', value: Math.round(20 + 15 * Math.sin(n / 90) + Math.random() * 5), labels: { queue: 'mail' } } });
  events.push({ stream: 'shop.metrics', type: 'metric', data: { name: 'basket_eur', value: 30 + Math.random() * 40, unit: 'EUR' } });
  for (const source of ['checkout', 'search', 'mail']) events.push({ stream: 'shop.beats', type: 'heartbeat', data: { source, status: 'ok' } });
  await hub.publish(events);
}

// Readers beside the page.
for (const streams of ['shop.checkout', 'shop.*', 'shop.mail&stream=shop.search']) fetch(`${hub.url}/events?stream=${streams}`).then(({ body }) => body.pipeTo(new WritableStream())).catch(() => {});
const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, deviceScaleFactor: 1 });
await page.goto(`${hub.url}/#/overview`);
for (let looked = 0; looked < Number(process.env.SECONDS ?? 400); looked += 1) {
  await traffic();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
}
const picture = async (name, { of = page, height = 860 } = {}) => {
  if (of === page) await page.setViewportSize({ width: 1280, height });
  await of.screenshot({ path: `${TARGET}${name}.png` });
  if (of === page) await page.setViewportSize({ width: 1280, height: 860 });
};
await picture('overview');
const visit = async (hash, ready) => {
  await page.goto(`${hub.url}/${hash}`);
  while (!(await page.locator(ready).first().isVisible())) {
    await traffic();
    await page.waitForTimeout(1_000);
  }
  for (let more = 0; more < 3; more += 1) {
    await traffic();
    await page.waitForTimeout(1_000);
  }
};
await visit('#/streams', 'td a');
await picture('streams');
await visit('#/streams/shop.**', '.row.level-error');
await page.locator('.row.level-error').last().click();
await picture('stream');
await visit('#/streams/shop.metrics', '.drawn figure');
await picture('metrics');
await visit('#/publish', 'form');
await page.getByLabel('Type').selectOption('log');
await page.getByLabel('Message', { exact: true }).fill('v42 is out');
await page.getByRole('button', { name: 'Publish', exact: true }).click();
await page.locator('#receipt code').waitFor();
await picture('publish');
await visit('#/sessions', 'tbody tr');
await picture('sessions', { height: 400 });
await page.goto(`${hub.url}/#/jobs`);
await page.getByRole('button', { name: 'Start' }).first().click();
await page.locator('.row').first().waitFor();
await visit('#/jobs', '.run');
await picture('jobs', { height: 400 });
await visit('#/access', 'form');
await page.getByRole('button', { name: 'Make a ticket' }).click();
await page.locator('.command').waitFor();
await picture('access');
await visit('#/streams/shop.**', '.row');
await page.locator('#connection').click();
await page.locator('#drop').click();
await page.waitForTimeout(1_500);
await picture('resume');
await page.goto(`${hub.url}/docs`);
await page.locator('.opblock').first().waitFor();
await picture('docs');
const phone = await browser.newPage({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
await phone.goto(`${hub.url}/#/streams/shop.**`);
await phone.locator('.row').first().waitFor();
await phone.waitForTimeout(1_000);
await picture('phone', { of: phone });
await browser.close();
await hub.stop();
