// The overview joins what needs attention, and the lists of streams and jobs.

import { expect, test } from './hub.js';
import { rows } from './watching.js';

const card = (page, name) => page.getByRole('region', { name, exact: true });

test.describe('with services', () => {
  test.use({ flags: ['--heartbeat-late', '1s', '--heartbeat-down', '2s'] });

  test('a service that is down is shown, counted in the title, and reported if the user has enabled it', async ({ hub, page, context }) => {
    await context.grantPermissions(['notifications']);
    await page.addInitScript(() => {
      window.notifications = [];
      window.Notification = class {
        constructor(title, { body }) { window.notifications.push(`${title}: ${body}`); }

        static permission = 'granted';

        static requestPermission = async () => 'granted';
      };
    });
    const beat = (source) => hub.publish({ stream: 'beats', type: 'heartbeat', data: { source, status: 'ok' } });
    // It is down before the page is opened: history is no news.
    await beat('early');
    // A slow hub may find it down without having found it late.
    const lastStatus = async () => (await fetch(`${hub.url}/streams/heartbeats/events?last=1&follow=false&format=text`)).text();
    await expect.poll(lastStatus).toContain('"down"');
    await page.goto(hub.url);
    await expect(page).toHaveTitle('(1) Overview · Fanfare');
    await expect(card(page, 'Services down')).toContainText('early down since');
    await page.getByLabel('notify me').check();
    await beat('mail');
    await expect(card(page, 'Services down')).toContainText('mail down since');
    await expect(page).toHaveTitle('(2) Overview · Fanfare');
    expect(await page.evaluate(() => window.notifications)).toEqual(['Fanfare: The service mail is down.']);
    // Also on another page, and not if it is switched off.
    await page.reload();
    await expect(page.getByLabel('notify me')).toBeChecked();
    await page.getByLabel('notify me').uncheck();
    await page.goto(`${hub.url}/#/publish`);
    await expect(page).toHaveTitle('(2) Publish · Fanfare');
    await beat('search');
    await expect(page).toHaveTitle('(3) Publish · Fanfare');
    expect(await page.evaluate(() => window.notifications)).toEqual([]);
  });
});

test.describe('with jobs', () => {
  test.use({ config: '[job.fails]\ncommand = ["sh", "-c", "exit 3"]\n[job.copy]\ncommand = ["sh", "-c", "echo 40 % copied; exec sleep 60"]\n' });

  test('errors, failing jobs and refusals are joined, and limits have plain names', async ({ hub, page }) => {
    const { id } = await hub.publish({ stream: 'n', data: 1 });
    await page.route('**/streams/hub.logs/events?*', (route) => route.fulfill({
      contentType: 'application/x-ndjson',
      body: `${JSON.stringify({ id, stream: 'hub.logs', type: 'log', time: new Date().toISOString(), data: { level: 'error', message: 'failed to write' } })}\n`,
    }));
    await fetch(`${hub.url}/jobs/fails/runs`, { method: 'POST' });
    await expect.poll(async () => (await hub.get('/streams?prefix=jobs.')).streams[0]?.state).toBe('ended');
    await page.goto(`${hub.url}/#/publish`);
    await expect(page).toHaveTitle('(1) Publish · Fanfare');
    await page.getByRole('link', { name: 'Overview' }).click();
    await expect(card(page, 'Errors of the hub')).toContainText('failed to write');
    // The error has been seen.
    await expect(page).toHaveTitle('Overview · Fanfare');
    await expect(card(page, 'Jobs failing')).toContainText('fails exited with 3');
    await expect(card(page, 'Refused in the last minute')).toContainText('No refusals.');
    await fetch(`${hub.url}/publish`, { method: 'POST', body: '{"strem": 1}' });
    await expect(card(page, 'Refused in the last minute')).toContainText('publishes: validation error 1');
    const limit = page.locator('.limit', { hasText: 'Streams with history' });
    await expect(limit).toContainText('max-streams');
    await expect(limit.getByRole('meter')).toHaveAttribute('aria-valuetext', /of 200k$/);
  });

  test('a run has a duration, its last line and progress, and can be repeated', async ({ hub, page }) => {
    await fetch(`${hub.url}/jobs/copy/runs`, { method: 'POST' });
    await page.goto(`${hub.url}/#/jobs`);
    const copy = card(page, 'copy');
    await expect(copy.locator('.run')).toContainText('running for');
    await expect(copy.locator('.run')).toContainText('40 % copied');
    await expect(copy.getByRole('progressbar')).toHaveAttribute('aria-valuenow', '40');
    const first = await copy.locator('.run a').textContent();
    await copy.getByRole('button', { name: 'Stop' }).click();
    await expect(copy.locator('.run')).toContainText('stopped at');
    await expect(copy.locator('.run')).toContainText('after');
    await copy.getByRole('button', { name: 'Run copy again' }).click();
    await expect.poll(() => rows(page)).toContain('40 % copied');
    await page.getByRole('link', { name: 'Jobs' }).click();
    // The newest run is the first.
    await expect(copy.locator('.run')).toHaveCount(2);
    await expect(copy.locator('.run').nth(1)).toContainText(first);
    await copy.getByRole('button', { name: 'Stop' }).click();
    await expect(copy.getByRole('button', { name: 'Stop' })).toHaveCount(0);
  });
});

test.describe('with the system monitor', () => {
  test.use({ flags: ['--system', '100ms'] });

  test('the charts of the hub begin with its history', async ({ hub, page }) => {
    const stored = async () => (await hub.get('/streams?prefix=hub.stats')).streams[0]?.events ?? 0;
    await expect.poll(stored).toBeGreaterThan(20);
    // Nothing is added after the history: the first poll is not answered, and has no timeout.
    await page.route('**/stats', () => {});
    await page.addInitScript(() => { AbortSignal.timeout = () => new AbortController().signal; });
    await page.goto(hub.url);
    const chart = page.locator('.chart', { hasText: 'sessions' });
    await expect(chart.locator('.value')).toHaveText(/^\d+$/);
    await expect(chart.locator('canvas')).toBeVisible();
  });
});

test('streams are sorted and grouped', async ({ hub, page }) => {
  for (const [stream, count] of [['shop.a', 3], ['shop.b', 1], ['build.x', 2], ['alone', 5]]) await hub.publishNumbers(stream, 0, count);
  await page.goto(`${hub.url}/#/streams`);
  const names = page.locator('tbody td:first-child a').filter({ hasNotText: /^(system|hub\.|heartbeats)/ });
  await expect(names).toHaveText(['alone', 'build.x', 'shop.a', 'shop.b']);
  await page.getByRole('button', { name: 'events' }).click();
  await expect(names).toHaveText(['alone', 'shop.a', 'build.x', 'shop.b']);
  await expect(page.getByRole('columnheader', { name: 'events' })).toHaveAttribute('aria-sort', 'descending');
  await page.getByRole('button', { name: 'events' }).click();
  await expect(names).toHaveText(['shop.b', 'build.x', 'shop.a', 'alone']);
  await page.getByLabel('Group by the first part').check();
  await expect(names).toHaveText(['shop.**', 'shop.b', 'shop.a', 'build.**', 'build.x', 'alone']);
  await expect(page.locator('tr', { hasText: 'shop.**' })).toContainText('2 streams');
  await page.getByRole('button', { name: 'Show or hide the streams of shop' }).click();
  await expect(names).toHaveText(['shop.**', 'build.**', 'build.x', 'alone']);
  await page.getByRole('link', { name: 'shop.**' }).click();
  await expect.poll(() => rows(page)).toHaveLength(4);
});

test('a stream is ended and deleted after a confirmation', async ({ hub, page }) => {
  await hub.publishNumbers('shop.a', 0, 3);
  await page.goto(`${hub.url}/#/streams`);
  const row = page.locator('tr', { hasText: 'shop.a' });
  await row.getByRole('button', { name: 'End' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('3 stored events');
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  expect((await hub.get('/streams/shop.a')).state).toBe('open');
  await row.getByRole('button', { name: 'End' }).click();
  await dialog.getByRole('button', { name: 'End the stream' }).click();
  await expect(row).toContainText('ended');
  await expect(row.getByRole('button', { name: 'End' })).toHaveCount(0);
  await row.getByRole('button', { name: 'Delete' }).click();
  await dialog.getByRole('button', { name: 'Delete the stream' }).click();
  await expect(row).toHaveCount(0);
  // What the hub writes cannot be deleted.
  await expect(page.locator('tr', { hasText: 'hub.logs' }).getByRole('button')).toHaveCount(0);
});

test('arrows move between the rows of a list', async ({ hub, page }) => {
  for (const stream of ['a.1', 'a.2', 'a.3']) await hub.publish({ stream, data: 1 });
  await page.goto(`${hub.url}/#/streams?prefix=a.`);
  const links = page.locator('tbody td:first-child a');
  await expect(links).toHaveCount(3);
  await page.keyboard.press('ArrowDown');
  await expect(links.nth(0)).toBeFocused();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await expect(links.nth(2)).toBeFocused();
  await page.keyboard.press('ArrowUp');
  await expect(links.nth(1)).toBeFocused();
  await page.keyboard.press('/');
  await expect(page.locator('[name=prefix]')).toBeFocused();
});
