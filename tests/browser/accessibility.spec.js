// No page violates a rule of axe-core, light and dark, on a desktop and on a phone.

import AxeBuilder from '@axe-core/playwright';
import { expect, key, test } from './hub.js';
import { Upstream, answerWith } from './upstream.js';

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 800 } };
const JOBS = '[job.fails]\ncommand = ["sh", "-c", "exit 3"]\n[job.copy]\ncommand = ["sh", "-c", "echo 40 % copied; exec sleep 60"]\n';

/** Expects that a page has no violation. Names the rules and the elements otherwise. */
async function expectNoViolation(page, name) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`));
  expect.soft(found, name).toEqual([]);
}

/** Pages of the dashboard: their address, and what makes them complete. */
const PAGES = {
  // The first one, while the job runs.
  jobs: ['#/jobs', (page) => expect(page.locator('.last-line')).toHaveText('40 % copied')],
  overview: ['#/overview', async (page) => {
    await expect(page.locator('figure canvas')).toHaveCount(9);
    await expect(page.locator('.limit').first()).toBeVisible();
    await expect(page.locator('table', { hasText: 'validation_error' })).toBeVisible();
  }],
  streams: ['#/streams', (page) => expect(page.locator('tbody tr').first()).toBeVisible()],
  'streams in groups': ['#/streams', async (page) => {
    await page.getByLabel('Group by').check();
    await expect(page.getByRole('link', { name: 'shop.**' })).toBeVisible();
  }],
  'a confirmation': ['#/streams?prefix=shop.', async (page) => {
    await page.getByRole('button', { name: 'Delete shop.mail' }).click();
    await expect(page.getByRole('dialog')).toBeVisible();
  }],
  'a stream': ['#/streams/shop.**?filter=level%3E%3Dinfo+order&column=fields.ms', async (page) => {
    await page.locator('.row').first().click();
    await expect(page.locator('.opened')).toBeVisible();
    await expect(page.locator('.drawn summary')).toContainText('1 service');
    await page.locator('.drawn summary').click();
    await expect(page.locator('.drawn canvas').first()).toBeVisible();
  }],
  'an empty stream': ['#/streams/none?filter=order%3D', (page) => expect(page.locator('#filter-error')).not.toBeEmpty()],
  'the help': ['#/streams/shop.mail', async (page) => {
    await expect(page.locator('.row').first()).toBeVisible();
    await page.keyboard.press('?');
    await expect(page.getByRole('dialog')).toBeVisible();
  }],
  'the connection': ['#/streams/shop.mail', async (page) => {
    await expect(page.locator('#connection')).toHaveText('live');
    await page.locator('#connection').click();
    await expect(page.locator('#drop')).toBeVisible();
  }],
  publish: ['#/publish', (page) => expect(page.getByRole('button', { name: 'Publish', exact: true })).toBeVisible()],
  sessions: ['#/sessions', (page) => expect(page.locator('tbody tr').first()).toBeVisible()],
  access: ['#/access', async (page) => {
    await page.getByRole('button', { name: 'Make a ticket' }).click();
    await expect(page.locator('.command').first()).toBeVisible();
  }],
};

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    test.describe(`${colorScheme}, ${size}`, () => {
      test.use({ colorScheme, viewport, config: JOBS });

      test('the pages of the hub', async ({ hub, page }) => {
        await hub.publish([
          ...['trace', 'debug', 'info', 'warn', 'error', 'critical'].map((level) => ({ stream: 'shop.mail', type: 'log', data: { level, message: `order\nof ${level}`, fields: { ms: 7 } } })),
          { stream: 'shop.metrics', type: 'metric', data: { name: 'depth', value: 7 } },
          { stream: 'shop.beats', type: 'heartbeat', data: { source: 'mail', status: 'ok' } },
          { stream: 'shop.files', type: 'progress', data: { file: 'x.iso', bytes_sent: 1, total_size: 2, percentage: 50 } },
        ]);
        await fetch(`${hub.url}/publish`, { method: 'POST', body: '{"strem": 1}' });
        for (const name of ['fails', 'copy']) await fetch(`${hub.url}/jobs/${name}/runs`, { method: 'POST' });
        const reader = await fetch(`${hub.url}/streams/shop.mail/events`);
        for (const [name, [path, complete]] of Object.entries(PAGES)) {
          await page.goto('about:blank');
          await page.goto(`${hub.url}/${path}`);
          await complete(page);
          await expectNoViolation(page, name);
        }
        await reader.body.cancel();
      });

      test('the API reference', async ({ hub, page }) => {
        await page.goto(`${hub.url}/docs`);
        for (const operation of ['Publish events', 'List streams']) await page.locator('.opblock', { hasText: operation }).first().locator('.opblock-summary-control').click();
        await expect(page.locator('.error-table')).toHaveCount(2);
        await expectNoViolation(page, 'docs');
      });

      test('the chat', async ({ page }) => {
        const upstream = await Upstream.start(answerWith(['An answer:\n\n```js\nconst a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted [link](https://example.com)']));
        const { Hub } = await import('./hub.js');
        const hub = await Hub.start([], upstream.config);
        await page.goto(`${hub.url}/chat`);
        await expectNoViolation(page, 'an empty chat');
        await page.getByLabel('What do you want to ask?').fill('A question');
        await page.keyboard.press('Enter');
        await expect(page.locator('.said')).toHaveAttribute('aria-busy', 'false');
        await expectNoViolation(page, 'a chat');
        await hub.stop();
        await upstream.stop();
      });

      test.describe('with keys', () => {
        test.use({ config: key('viewer', 'a viewer', { subscribe: ['a.*'] }), expectedErrors: [/401|403/] });

        test('the login and what is not permitted', async ({ hub, page }) => {
          await page.goto(`${hub.url}/#/overview`);
          await expect(page.locator('h1')).toHaveText('Log in');
          await expectNoViolation(page, 'login');
          await page.goto(`${hub.url}/#/login?key=a%20viewer`);
          await expect(page.locator('.user')).toHaveText('key viewer');
          for (const path of ['overview', 'streams/b.x', 'sessions']) {
            await page.goto(`${hub.url}/#/${path}`);
            await expect(page.getByText(/Only admins can see|Not permitted/)).toBeVisible();
            await expectNoViolation(page, path);
          }
        });
      });
    });
  }
}
