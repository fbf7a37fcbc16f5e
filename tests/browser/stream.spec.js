// The page of a stream: its filter, columns, histogram, views, context and search.

import { readFile } from 'node:fs/promises';
import { expect, test } from './hub.js';
import { rows } from './watching.js';

const log = (level, message, fields = {}, stream = 'shop.mail') => ({ stream, type: 'log', data: { level, message, fields } });
const filterBox = (page) => page.locator('[name=filter]');
/** Returns the texts of the rows of the results, which replace the live log. */
const resultRows = (page) => page.locator('.log:not([hidden]) .tail .row .text').allTextContents();

test('the filter highlights matches, keeps the events while it is incomplete, and can be chosen from an event', async ({ hub, page }) => {
  await hub.publish([log('info', 'order paid', { order: 1 }), log('warn', 'Order is slow', { order: 2 }), log('error', 'card refused', { order: 2 })]);
  await page.goto(`${hub.url}/#/streams/shop.mail`);
  await expect.poll(() => rows(page)).toHaveLength(3);
  await filterBox(page).fill('order -slow level<error');
  await expect.poll(() => rows(page)).toEqual(['order paid']);
  await expect(page.locator('.row mark')).toHaveText('order');
  await filterBox(page).fill('order=2 level>=');
  await expect(page.locator('#filter-error')).toContainText('a value is missing');
  await expect(filterBox(page)).toHaveAttribute('aria-invalid', 'true');
  expect(await rows(page)).toEqual(['order paid']);
  await filterBox(page).fill('');
  await page.locator('.row', { hasText: 'card refused' }).click();
  await page.getByText('Filter or show as a column').click();
  await page.getByRole('button', { name: 'Filter: fields.order = 2' }).click();
  await expect(filterBox(page)).toHaveValue('fields.order=2');
  await expect.poll(() => rows(page)).toEqual(['Order is slow', 'card refused']);
});

test('members are shown as columns, which the address keeps', async ({ hub, page }) => {
  await hub.publish(log('info', 'b'));
  await page.goto(`${hub.url}/#/streams/shop.mail`);
  await expect.poll(() => rows(page)).toEqual(['b']);
  await page.getByText('Columns', { exact: true }).click();
  await expect(page.getByRole('checkbox', { name: 'timestamp' })).toBeVisible();
  // The open menu gets the members of new events.
  await hub.publish(log('info', 'a', { order: 17, customer: { country: 'DE' } }));
  await page.getByRole('checkbox', { name: 'fields.customer.country' }).check();
  await page.getByLabel('Find or add a member').fill('order');
  await page.getByLabel('Find or add a member').press('Enter');
  await expect(page.locator('.log-head .column .name')).toHaveText(['fields.customer.country', 'order']);
  const cells = page.locator('.row', { hasText: 'DE' }).locator('.column');
  await expect(cells).toHaveText(['DE', '17']);
  await page.reload();
  await expect(cells).toHaveText(['DE', '17']);
  await page.getByRole('button', { name: 'Remove the column order' }).click();
  await expect(cells).toHaveText(['DE']);
});

test('an event of several lines shows their number, and opens', async ({ hub, page }) => {
  await hub.publish([log('error', 'failed\n  at a.js:1\n  at b.js:2\n'), { stream: 'shop.mail', data: 'one\ntwo' }]);
  await page.goto(`${hub.url}/#/streams/shop.mail`);
  await expect(page.locator('.row .lines')).toHaveText(['+2 lines', '+1 line']);
  expect(await rows(page)).toEqual(['failed', 'one']);
  await page.locator('.row').first().click();
  await expect(page.locator('.opened .message')).toContainText('at b.js:2');
});

test('the histogram counts events by level, and shows those of a bar', async ({ hub, page }) => {
  await hub.publish(Array.from({ length: 400 }, (_, n) => log(n % 40 === 0 ? 'error' : 'info', `line ${n}`)));
  await expect.poll(async () => Date.now() - Date.parse((await hub.get('/streams/shop.mail')).last_time)).toBeGreaterThan(1_500);
  await hub.publish([log('warn', 'late')]);
  await page.goto(`${hub.url}/#/streams/shop.mail`);
  const plot = page.getByRole('img', { name: 'Events over time' });
  await expect(plot).toHaveAttribute('aria-label', /401 events, 10 errors, 1 warning/);
  await expect(plot.locator('rect')).toHaveCount(3);
  await filterBox(page).fill('level>=error');
  await expect(plot).toHaveAttribute('aria-label', /10 events, 10 errors/);
  await filterBox(page).fill('');
  await expect(plot.locator('rect')).toHaveCount(3);
  await plot.locator('rect.part-other').hover();
  await expect(page.locator('.histogram-scale')).toContainText('400 events, 10 errors');
  await plot.locator('rect.part-other').click();
  await expect(page.locator('.tail .row').first()).toContainText('line 0');
  await page.getByRole('button', { name: 'Newest' }).click();
  await expect(page.locator('.tail .row').last()).toContainText('late');
});

test('several streams and their filter are saved as a view, and the events are downloaded', async ({ hub, page }) => {
  await hub.publish([log('info', 'paid', {}, 'shop.a'), log('error', 'refused', {}, 'shop.b'), log('error', 'other', {}, 'c')]);
  await page.goto(`${hub.url}/#/streams`);
  await page.getByLabel('Or watch').fill('shop.* c');
  await page.getByRole('button', { name: 'Watch' }).click();
  await expect.poll(() => rows(page)).toEqual(['paid', 'refused', 'other']);
  await filterBox(page).fill('level>=error');
  await expect.poll(() => rows(page)).toEqual(['refused', 'other']);
  await page.getByText('Views', { exact: true }).click();
  await page.getByLabel('Name of the view').fill('Failures');
  await page.getByRole('button', { name: 'Save' }).click();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download' }).click();
  const lines = (await readFile(await (await download).path(), 'utf8')).trim().split('\n').map((line) => JSON.parse(line));
  expect(lines).toMatchObject([{ stream: 'shop.b', type: 'log', data: { message: 'refused' } }, { stream: 'c' }]);
  await page.goto(`${hub.url}/#/streams/n`);
  await expect(page.locator('h1')).toContainText('n');
  await page.getByText('Views', { exact: true }).click();
  await page.getByRole('link', { name: 'Failures' }).click();
  await expect.poll(() => rows(page)).toEqual(['refused', 'other']);
  await page.getByText('Views', { exact: true }).click();
  await page.getByRole('button', { name: 'Delete the view Failures' }).click();
  await expect(page.locator('.menu-panel').filter({ visible: true })).toContainText('No saved views.');
});

test('the context of a match is shown without the filter', async ({ hub, page }) => {
  await hub.publish(Array.from({ length: 100 }, (_, n) => log(n === 50 ? 'error' : 'info', `line ${n}`)));
  await hub.publish([log('info', 'elsewhere', {}, 'other')]);
  await page.goto(`${hub.url}/#/streams/**?filter=level%3Derror`);
  await page.locator('.row', { hasText: 'line 50' }).click();
  await page.getByRole('button', { name: 'Show 10 events before and after it' }).click();
  await expect(page.locator('#search-status')).toContainText('10 events before and 10 after it in shop.mail');
  await expect(page.locator('.row.marked .text')).toHaveText('line 50');
  const numbers = (await resultRows(page)).map((text) => Number(text.split(' ')[1]));
  expect([numbers[0], numbers.at(-1)]).toEqual([40, 60]);
  // At the end of the stream there are fewer.
  await page.getByRole('button', { name: 'Back to live' }).click();
  await filterBox(page).fill('"line 97"');
  await page.locator('.log .row', { hasText: 'line 97' }).click();
  await page.getByRole('button', { name: 'Show 50 events before and after it' }).click();
  await expect(page.locator('#search-status')).toContainText('50 events before and 2 after it');
});

test.describe('a search over the history', () => {
  test.use({ expectedErrors: [/404|429/] });

  test('shows results and progress, continues, and returns to live', async ({ hub, page }) => {
    // A smaller page of results than the one of the dashboard.
    await page.route('**/search?*', (route) => {
      const url = new URL(route.request().url());
      url.searchParams.set('limit', '2');
      return route.continue({ url: url.href });
    });
    await hub.publish([1, 2, 3].map((n) => log('error', `stored ${n}`)));
    await hub.publish([{ ...log('error', 'stored 4'), stream: 'other' }, { ...log('error', 'stored 5'), stream: 'hidden' }]);
    await hub.publish([log('info', 'stored 6')]);
    await page.goto(`${hub.url}/#/streams/${encodeURIComponent('shop.* other')}`);
    const button = page.getByRole('button', { name: 'Search history' });
    await expect(button).toBeDisabled();
    await filterBox(page).fill('level>=error /stored/');
    await button.click();
    await expect.poll(() => resultRows(page)).toEqual(['stored 1', 'stored 2']);
    await expect(page.locator('#search-status')).toContainText('2 match level>=error /stored/');
    await expect(page.locator('.row mark').first()).toHaveText('stored');
    await page.getByRole('button', { name: 'Continue the search' }).click();
    await expect.poll(() => resultRows(page)).toEqual(['stored 1', 'stored 2', 'stored 3', 'stored 4']);
    // The hub searches up to its last event.
    await page.getByRole('button', { name: 'Continue the search' }).click();
    await expect(page.getByRole('button', { name: 'Continue the search' })).toBeHidden();
    await expect.poll(() => resultRows(page)).toHaveLength(4);
    await page.getByRole('button', { name: 'Back to live' }).click();
    await filterBox(page).fill('"stored 6"');
    await expect.poll(() => resultRows(page)).toEqual(['stored 6']);
  });

  test('is cancelled', async ({ hub, page }) => {
    // The response never comes.
    await page.route('**/search?*', () => {});
    await page.goto(`${hub.url}/#/streams/shop.mail?filter=x`);
    await page.getByRole('button', { name: 'Search history' }).click();
    const isCancelled = page.waitForEvent('requestfailed', (request) => request.url().includes('/search?'));
    await page.getByRole('button', { name: 'Cancel' }).click();
    await isCancelled;
    await expect(page.locator('#search-status')).toContainText('Cancelled');
  });

  test('shows why it is refused', async ({ hub, page }) => {
    await page.route('**/search?*', (route) => route.fulfill({ status: 429, json: { status: 429, code: 'resource_exhausted', detail: 'the limit max_connections_per_client is reached', limit: 'max_connections_per_client' } }));
    await page.goto(`${hub.url}/#/streams/shop.mail?filter=x`);
    await page.getByRole('button', { name: 'Search history' }).click();
    await expect(page.locator('#banner')).toContainText('the limit Sessions of one client (max-connections-per-client) is reached');
    await page.getByRole('button', { name: 'Back to live' }).click();
    await expect(page.locator('#banner')).toBeHidden();
  });
});

test('on a phone a row has two lines, and the tools are a drawer', async ({ hub, page }) => {
  await page.setViewportSize({ width: 390, height: 740 });
  const message = 'the payment of the order was refused';
  await hub.publish([...Array(100)].map(() => log('error', message)));
  await page.goto(`${hub.url}/#/streams/shop.*`);
  const row = page.locator('.row').last();
  await expect(row.locator('.text')).toHaveText(message);
  const text = await row.locator('.text').evaluate((element) => [element.scrollWidth, element.clientWidth, element.getBoundingClientRect().top - element.parentElement.getBoundingClientRect().top]);
  expect(text[0], 'the message is not cut off').toBeLessThanOrEqual(text[1]);
  expect(text[2], 'it is in the second line').toBeGreaterThan(15);
  await expect(page.getByRole('button', { name: 'Search history' })).toBeHidden();
  await page.getByRole('button', { name: 'Filters' }).click();
  await expect(page.getByRole('button', { name: 'Search history' })).toBeVisible();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
});

test('the charts of a pattern are a strip above the log', async ({ hub, page }) => {
  await hub.publish([...Array(30).keys()].map((n) => ({ stream: `m.${n}`, type: 'metric', data: { name: `metric ${n}`, value: n } })));
  await hub.publish([{ stream: 'm.beats', type: 'heartbeat', data: { source: 'mail', status: 'ok' } }]);
  await page.goto(`${hub.url}/#/streams/m.**`);
  await expect(page.locator('.drawn summary')).toContainText('30 charts');
  await expect(page.locator('.drawn summary')).toContainText('1 service');
  await expect(page.locator('.drawn canvas')).toHaveCount(0);
  const height = () => page.locator('.tail').evaluate((tail) => tail.clientHeight);
  expect(await height()).toBeGreaterThan(350);
  await page.locator('.drawn summary').click();
  await expect(page.locator('.drawn canvas')).toHaveCount(24);
  expect(await height()).toBeGreaterThan(150);
  // The choice is kept.
  await page.reload();
  await expect(page.locator('.drawn canvas')).toHaveCount(24);
});

test('keys focus the filter, pause the log, move between rows and show the help', async ({ hub, page }) => {
  await hub.publish([log('info', 'one'), log('info', 'two')]);
  await page.goto(`${hub.url}/#/streams/shop.mail`);
  await expect.poll(() => rows(page)).toHaveLength(2);
  await page.keyboard.press('/');
  await expect(filterBox(page)).toBeFocused();
  await page.keyboard.type('p?');
  await expect(filterBox(page)).toHaveValue('p?');
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  await page.keyboard.press('Escape');
  await page.keyboard.press('p');
  await expect(page.getByRole('button', { name: 'Pause' })).toHaveAttribute('aria-pressed', 'true');
  await page.keyboard.press('p');
  await page.keyboard.press('ArrowDown');
  await expect(page.locator('.tail')).toBeFocused();
  await page.keyboard.press('ArrowUp');
  await expect(page.locator('.row[aria-selected=true] .text')).toHaveText('two');
  await page.keyboard.press('ArrowUp');
  await expect(page.locator('.row[aria-selected=true] .text')).toHaveText('one');
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Help' })).toContainText('level>=warn');
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);
});
