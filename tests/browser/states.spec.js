// What the pages say if something cannot be shown.

import { FaultyProxy, expect, key, test } from './hub.js';
import { rows } from './watching.js';

const banner = (page) => page.locator('#banner');

test.describe('with a limit', () => {
  test.use({ flags: ['--max-connections-per-stream', '2'], expectedErrors: [/429|503/] });

  test('a refusal names the limit and its setting, until there is room', async ({ hub, page }) => {
    const readers = [await fetch(`${hub.url}/streams/n/events`), await fetch(`${hub.url}/streams/n/events`)];
    await page.goto(`${hub.url}/#/streams/n`);
    await expect(banner(page)).toContainText('the limit Sessions of one stream (max-connections-per-stream) is reached');
    for (const { id } of (await hub.get('/sessions')).sessions) await fetch(`${hub.url}/sessions/${id}`, { method: 'DELETE' });
    for (const reader of readers) await reader.text();
    await expect(page.locator('#connection')).toHaveText('live');
    await expect(banner(page)).toBeHidden();
  });
});

test.describe('with keys', () => {
  test.use({
    config: key('viewer', 'a viewer', { subscribe: ['a.*'] }) + key('boss', 'a boss', { subscribe: ['**'], admin: true }),
    flags: ['--anonymous', 'subscribe'],
    expectedErrors: [/401|403/],
  });

  test('a page that is not permitted leads to the login and back', async ({ hub, page }) => {
    const logIn = async (secret) => {
      await page.getByLabel('An API key').fill(secret);
      await page.getByRole('button', { name: 'Log in' }).click();
    };
    await page.goto(`${hub.url}/#/sessions`);
    await expect(banner(page)).toContainText('Only admins can see sessions');
    await banner(page).getByRole('link', { name: 'Log in' }).click();
    await expect(page.locator('h1')).toHaveText('Log in');
    await expect(banner(page)).toBeHidden();
    await logIn('a viewer');
    await expect(page.locator('h1')).toHaveText('Sessions');
    await expect(banner(page)).toContainText('Only admins can see sessions');
    // A part that is not permitted is named.
    await page.goto(`${hub.url}/#/streams/${encodeURIComponent('a.x b.x')}`);
    await expect(banner(page)).toContainText('Not permitted, and therefore not shown: b.x');
    await page.goto(`${hub.url}/#/streams/b.x`);
    await expect(banner(page)).toContainText('Not permitted');
    await banner(page).getByRole('link', { name: 'Log in as another user' }).click();
    await expect(page.locator('h1')).toHaveText('Access');
    await logIn('a boss');
    await page.goto(`${hub.url}/#/sessions`);
    await expect(page.getByRole('table', { name: 'Sessions' })).toBeVisible();
    await expect(banner(page)).toBeHidden();
  });
});

test('an ended and a deleted stream are distinguished', async ({ hub, page }) => {
  await hub.publish([{ stream: 'a', data: 1 }, { stream: 'b', data: 2 }]);
  await page.goto(`${hub.url}/#/streams/a?from=start`);
  await expect.poll(() => rows(page)).toEqual(['1']);
  await fetch(`${hub.url}/streams/a/end`, { method: 'POST' });
  await expect(banner(page)).toHaveText('The stream has ended. No event follows.');
  await page.goto(`${hub.url}/#/streams/b?from=start`);
  await expect.poll(() => rows(page)).toEqual(['2']);
  await expect(banner(page)).toBeHidden();
  await fetch(`${hub.url}/streams/b`, { method: 'DELETE' });
  await expect(banner(page)).toHaveText('Gone: the stream was deleted.');
});

test.describe('if the hub is away', () => {
  test.use({ expectedErrors: [/Failed to load resource|net::ERR_/] });

  test('every page shows it until it is back', async ({ hub, page }) => {
    const proxy = await FaultyProxy.start(hub);
    for (const path of ['overview', 'streams', 'streams/n', 'sessions', 'jobs']) {
      await page.goto(`${proxy.url}/#/${path}`);
      await expect(page.locator('h1')).toBeVisible();
      if (path === 'streams/n') await expect(page.locator('#connection')).toHaveText('live');
      proxy.block();
      await expect(banner(page), path).toContainText('The hub does not answer');
      proxy.unblock();
      await expect(banner(page), path).toBeHidden();
    }
    proxy.stop();
  });
});

test.describe('if a module fails', () => {
  test.use({ expectedErrors: [/Failed to load|is not a constructor|ERR_FAILED/] });

  test('the other pages work', async ({ hub, page }) => {
    await page.route('**/dashboard/overview.js', (route) => route.abort());
    await page.goto(hub.url);
    await expect(banner(page)).toContainText('This page cannot be shown');
    await expect(page.locator('h1')).toHaveText('Overview');
    await page.getByRole('link', { name: 'Streams' }).click();
    await expect(page.getByRole('table', { name: 'Streams' })).toBeVisible();
    await expect(banner(page)).toBeHidden();
  });

  test('charts show their value without the library', async ({ hub, page }) => {
    await page.route('**/vendor/uplot/uPlot.esm.js', (route) => route.abort());
    await hub.publish({ stream: 'm', type: 'metric', data: { name: 'depth', value: 7, unit: 'jobs' } });
    await page.goto(`${hub.url}/#/streams/m`);
    await expect(page.locator('figure', { hasText: 'depth' }).locator('.value')).toHaveText('7 jobs');
    await expect(page.locator('.plot')).toContainText('The chart cannot be drawn');
    await expect.poll(() => rows(page)).toEqual(['depth 7 jobs']);
  });
});

test('charts are drawn in a browser whose language is no language tag', async ({ hub, page }) => {
  // As in WebKit with LANG=C.UTF-8.
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'language', { get: () => 'c', configurable: true }));
  await hub.publish({ stream: 'm', type: 'metric', data: { name: 'depth', value: 7 } });
  await page.goto(`${hub.url}/#/streams/m`);
  await expect(page.locator('figure canvas')).toHaveCount(1);
});

for (const colorScheme of ['light', 'dark']) {
  test(`placeholders have enough contrast (${colorScheme})`, async ({ hub, page }) => {
    await page.emulateMedia({ colorScheme });
    await page.goto(`${hub.url}/#/streams/n`);
    const ratio = await page.locator('[name=filter]').evaluate((input) => {
      const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const luminance = (color) => {
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((channel) => (channel / 255 <= 0.04045 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const { color, opacity } = getComputedStyle(input, '::placeholder');
      const both = [luminance(color), luminance(getComputedStyle(input).backgroundColor)];
      return opacity === '1' ? (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) : 0;
    });
    expect(ratio).toBeGreaterThan(4.5);
  });
}
