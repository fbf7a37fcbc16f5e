// Takes the screenshots in docs/pages: `node tests/browser/pictures.js`, beside a release build. With the
// argument `chat` it takes only the screenshot of the chat.

import { chromium } from '@playwright/test';
import { Hub } from './hub.js';
import { Upstream, answerWith, pause } from './upstream.js';
import options from './playwright.config.js';

const TARGET = new URL('../../docs/pages/', import.meta.url).pathname;
const CONFIG = `
[job.backup]
command = ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do echo copied part $n; sleep 2; done"]
timeout = "2h"
[job.reindex]
command = ["true"]
`;

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
await screenshotChat();
if (process.argv[2] === 'chat') process.exit(0);

const hub = await Hub.start(['--system', '2s'], CONFIG);
const pick = (...values) => values[Math.floor(Math.random() * values.length)];
let n = 0;

/** Publishes events like those of the services of a small shop. */
async function publishSamples() {
  const events = [];
  for (let remaining = 5 + Math.random() * 30; remaining > 0; remaining -= 1) {
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
for (let seconds = 0; seconds < Number(process.env.SECONDS ?? 400); seconds += 1) {
  await publishSamples();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
}
const screenshot = async (name, { target = page, height = 860 } = {}) => {
  if (target === page) await page.setViewportSize({ width: 1280, height });
  await target.screenshot({ path: `${TARGET}${name}.png` });
  if (target === page) await page.setViewportSize({ width: 1280, height: 860 });
};
await screenshot('overview');
const visit = async (hash, ready) => {
  await page.goto(`${hub.url}/${hash}`);
  while (!(await page.locator(ready).first().isVisible())) {
    await publishSamples();
    await page.waitForTimeout(1_000);
  }
  for (let n = 0; n < 3; n += 1) {
    await publishSamples();
    await page.waitForTimeout(1_000);
  }
};
await visit('#/streams', 'td a');
await screenshot('streams');
await visit('#/streams/shop.**', '.row.level-error');
await page.locator('.row.level-error').last().click();
await screenshot('stream');
await visit('#/streams/shop.metrics', '.drawn figure');
await screenshot('metrics');
await visit('#/publish', 'form');
await page.getByLabel('Type').selectOption('log');
await page.getByLabel('Message', { exact: true }).fill('v42 is out');
await page.getByRole('button', { name: 'Publish', exact: true }).click();
await page.locator('#receipt code').waitFor();
await screenshot('publish');
await visit('#/sessions', 'tbody tr');
await screenshot('sessions', { height: 400 });
await page.goto(`${hub.url}/#/jobs`);
await page.getByRole('button', { name: 'Start' }).first().click();
await page.locator('.row').first().waitFor();
await visit('#/jobs', '.run');
await screenshot('jobs', { height: 400 });
await visit('#/access', 'form');
await page.getByRole('button', { name: 'Make a ticket' }).click();
await page.locator('.command').waitFor();
await screenshot('access');
await visit('#/streams/shop.**', '.row');
await page.locator('#connection').click();
await page.locator('#drop').click();
await page.waitForTimeout(1_500);
await screenshot('resume');
await page.goto(`${hub.url}/docs`);
await page.locator('.opblock').first().waitFor();
await screenshot('docs');
const phone = await browser.newPage({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
await phone.goto(`${hub.url}/#/streams/shop.**`);
await phone.locator('.row').first().waitFor();
await phone.waitForTimeout(1_000);
await screenshot('phone', { target: phone });
await browser.close();
await hub.stop();
