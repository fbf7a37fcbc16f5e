// Pages of the dashboard for operators, and access to them.

import { createHmac } from 'node:crypto';
import { expect, key, test } from './hub.js';
import { rows } from './watching.js';

test.describe('sessions', () => {
  // The browser requests a missing icon.
  test.use({ expectedErrors: [/404/] });

  test('are listed and disconnected by an admin', async ({ hub, page, context }) => {
    const other = await context.newPage();
    await other.goto(`${hub.url}/healthz`);
    await other.evaluate((at) => {
      window.opened = 0;
      new EventSource(`${at}/events?stream=seen.*`).addEventListener('hub-open', () => { window.opened += 1; });
    }, hub.url);
    await page.goto(`${hub.url}/#/sessions`);
    await page.locator('[name=stream]').fill('seen.x');
    const row = page.locator('tbody tr', { hasText: 'seen.*' });
    await expect(row).toContainText('127.0.0.1');
    await row.getByRole('button', { name: 'Disconnect' }).click();
    await expect.poll(() => other.evaluate(() => window.opened)).toBe(2);
  });
});

test.describe('jobs', () => {
  test.use({ config: '[job.fails]\ncommand = ["sh", "-c", "exit 3"]\n[job.count]\ncommand = ["sh", "-c", "for i in 1 2 3; do echo step $i; sleep 0.1; done; exec sleep 60"]\n' });

  test('are started, watched and stopped', async ({ hub, page }) => {
    await page.goto(`${hub.url}/#/jobs`);
    await page.getByRole('button', { name: 'Start fails' }).click();
    await expect(page.locator('#connection')).toHaveText('ended');
    await page.getByRole('link', { name: 'Jobs' }).click();
    await expect(page.locator('.run')).toContainText('exited with 3');
    await page.getByRole('button', { name: 'Start count' }).click();
    await expect.poll(() => rows(page)).toEqual(expect.arrayContaining(['step 1', 'step 2', 'step 3']));
    await page.getByRole('link', { name: 'Jobs' }).click();
    // The maximum number of runs is reached.
    await expect(page.getByRole('button', { name: 'Start count' })).toBeDisabled();
    await page.getByRole('button', { name: 'Stop' }).click();
    const run = page.locator('section', { hasText: 'count' }).locator('.run');
    await expect(run).toContainText('stopped at');
    await run.locator('a').click();
    await expect(page.locator('#connection')).toHaveText('ended');
    // The mark of the end follows the events.
    await expect(page.locator('.tail .row').last()).toContainText('has ended');
    expect((await rows(page)).at(-2)).toContain('stopped');
    await expect(page.locator('.tail .row').first()).toContainText('start');
  });
});

test.describe('access', () => {
  test.use({
    config: key('viewer', 'a viewer', { subscribe: ['a.*'] }) + key('boss', 'a boss', { subscribe: ['**'], publish: ['**'], admin: true }),
    expectedErrors: [/401|403/],
  });

  test('a user logs in and out and sees the grants', async ({ hub, page, context }) => {
    // Every page is a login until there is one.
    await page.goto(`${hub.url}/#/access`);
    await expect(page.locator('h1')).toHaveText('Log in');
    await page.getByLabel('An API key').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.locator('main form .bad')).not.toBeEmpty();
    await page.getByLabel('An API key').fill('a viewer');
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.locator('.user')).toHaveText('key viewer');
    await expect(page.locator('h1')).toHaveText('Access');
    await expect(page.locator('main')).toContainText('a.*');
    expect(await page.evaluate(() => document.cookie), 'no script can read the cookie').toBe('');
    // Another client reads with the ticket.
    await page.getByLabel('Streams').fill('a.x');
    await page.getByRole('button', { name: 'Make a ticket' }).click();
    await expect(page.locator('.command')).toContainText('new EventSource');
    const url = (await page.locator('.command').textContent()).match(/'(.*)'/)[1];
    const response = await fetch(url);
    expect(response.status).toBe(200);
    await response.body.cancel();
    await page.goto(`${hub.url}/#/sessions`);
    await expect(page.locator('#banner')).toContainText('Only admins can see sessions');
    await page.goto(`${hub.url}/#/access`);
    await page.getByRole('button', { name: 'Log out' }).click();
    await expect(page.locator('.user')).toHaveText('not logged in');
    await page.getByLabel('An API key').fill('a boss');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('link', { name: 'Overview' }).click();
    await expect(page.locator('.health')).toHaveText(/^Ready/);
    await expect(page.locator('table', { hasText: 'credentials' })).toContainText('unknown');
  });

  test('a user sees the granted streams and is refused others', async ({ hub, page, context }) => {
    await page.goto(`${hub.url}/#/access`);
    await page.getByLabel('An API key').fill('a viewer');
    await page.getByRole('button', { name: 'Log in' }).click();
    await expect(page.locator('.user')).toHaveText('key viewer');
    const boss = { Authorization: 'Bearer a boss' };
    await hub.publish([{ stream: 'a.x', data: 'mine' }, { stream: 'b.x', data: 'not mine' }], boss);
    for (const path of ['overview', 'streams', 'publish', 'sessions', 'jobs']) {
      await page.goto(`${hub.url}/#/${path}`);
      await expect(page.locator('h1')).toBeVisible();
    }
    await page.goto(`${hub.url}/#/overview`);
    await expect(page.locator('main')).toContainText('You cannot read the stream “system”');
    await page.goto(`${hub.url}/#/streams`);
    await page.getByRole('link', { name: 'a.x' }).click();
    await expect.poll(() => rows(page)).toEqual(['mine']);
    await page.goto(`${hub.url}/#/streams/b.x`);
    await expect(page.locator('#banner')).toContainText('Not permitted');
    const { refusals } = await hub.get('/stats', boss);
    expect(refusals.subscribers.forbidden, 'only the requested stream is refused').toBeLessThanOrEqual(2);
    // A logout in one tab reaches every tab.
    const other = await context.newPage();
    await other.goto(`${hub.url}/#/access`);
    await other.getByRole('button', { name: 'Log out' }).click();
    await expect(page.locator('.user')).toHaveText('not logged in');
  });

  test.describe('with a token', () => {
    test.use({ flags: ['--jwt-secret', 'a secret of at least thirty-two bytes'] });

    test('a user is warned before the login ends', async ({ hub, page }) => {
      const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
      const claims = { sub: 'ann', exp: Math.floor(Date.now() / 1000) + 60, fanfare: { subscribe: ['a.*'] } };
      const signed = `${encode({ alg: 'HS256' })}.${encode(claims)}`;
      const token = `${signed}.${createHmac('sha256', 'a secret of at least thirty-two bytes').update(signed).digest('base64url')}`;
      await page.goto(`${hub.url}/#/access`);
      await page.getByLabel('An API key').fill(token);
      await page.getByRole('button', { name: 'Log in' }).click();
      await expect(page.locator('.user')).toHaveText(/ann/);
      await expect(page.locator('#notices')).toContainText('Your login ends at');
    });
  });

  test('an open page notices that its login has ended', async ({ hub, page }) => {
    await page.goto(`${hub.url}/#/access`);
    await page.getByLabel('An API key').fill('a boss');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('link', { name: 'Overview' }).click();
    await expect(page.locator('.health')).toHaveText(/^Ready/);
    await fetch(`${hub.url}/revocations`, { method: 'POST', headers: { Authorization: 'Bearer a boss' }, body: '{"key": "boss"}' });
    await expect(page.locator('.user')).toHaveText('not logged in');
    await expect(page.locator('h1')).toHaveText('Log in');
    await page.reload();
    await expect(page.locator('h1')).toHaveText('Log in');
  });

  test('a login link logs in and its key leaves the address', async ({ hub, page }) => {
    await page.goto(`${hub.url}/#/login?key=wrong`);
    await expect(page.locator('h1')).toHaveText('Log in');
    await expect(page.locator('main')).toContainText('the credential is unknown');
    await page.goto(`${hub.url}/#/login?key=a%20boss`);
    await expect(page.locator('.user')).toHaveText('key boss');
    await expect(page.locator('h1')).toHaveText('Overview');
    expect(await page.evaluate(() => location.href)).not.toContain('boss');
    await page.goBack();
    expect(await page.evaluate(() => location.href)).not.toContain('boss');
  });

  test('a token is decoded in the page', async ({ hub, page }) => {
    await page.goto(`${hub.url}/#/login?key=a%20viewer`);
    await expect(page.locator('.user')).toHaveText('key viewer');
    await page.goto(`${hub.url}/#/access`);
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const token = (claims) => `${encode({ alg: 'HS256' })}.${encode(claims)}.c2ln`;
    await page.locator('[name=jwt]').fill(token({ sub: 'grüße', exp: 1, fanfare: { subscribe: ['a'] } }));
    await expect(page.locator('section', { hasText: 'Decode a token' })).toContainText('Expired at');
    await expect(page.locator('section', { hasText: 'Decode a token' })).toContainText('grüße');
    await page.locator('[name=jwt]').fill(token({ exp: 9_999_999_999 }));
    await expect(page.locator('section', { hasText: 'Decode a token' })).toContainText('It grants nothing');
    await page.locator('[name=jwt]').fill(token({ exp: 9_999_999_999, nbf: 9_999_999_000 }));
    await expect(page.locator('section', { hasText: 'Decode a token' })).toContainText('Not valid before');
    await page.locator('[name=jwt]').fill('no token');
    await expect(page.locator('section', { hasText: 'Decode a token' })).toContainText('three parts');
  });
});
