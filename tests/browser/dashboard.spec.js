// The hub's pages in a real browser.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { FaultyProxy, expect, test } from './hub.js';
import { rows } from './watching.js';

const DOWN = /Failed to load resource|net::ERR_/;

test.describe('with frequent samples', () => {
  test.use({ config: 'system = "100ms"\n' });

  test('the overview shows the machine from history at once, and the hub live', async ({ hub, page }) => {
    // All samples are older than the page.
    await expect.poll(async () => (await hub.get('/streams?prefix=system')).streams[0]?.events).toBeGreaterThan(15);
    await hub.kill('SIGTERM');
    hub.flags.push('--system', '1h');
    await hub.restart();
    await page.goto(hub.url);
    await expect(page.locator('#connection')).toHaveText('live');
    await expect(page.locator('.health')).toHaveText(/^Ready/);
    const cpu = page.locator('figure', { hasText: 'processor' });
    await expect(cpu.locator('.value')).toHaveText(/%$/);
    await expect(page.locator('figure canvas')).toHaveCount(9);
    const reader = await fetch(`${hub.url}/streams/n/events`);
    await hub.publishNumbers('n', 0, 5_000);
    await expect(page.locator('figure', { hasText: 'events published' }).locator('.value')).not.toHaveText('–');
    await expect(page.locator('figure', { hasText: 'fan-out' }).locator('.value')).toHaveText(/(µs|ms)$/);
    await reader.body.cancel();
    // Refusals are shown with their reason.
    await fetch(`${hub.url}/publish`, { method: 'POST', body: '{"stream": "system", "data": 1}' });
    await expect(page.locator('table', { hasText: 'publishes' })).toContainText('forbidden');
  });
});

test('published data is only ever shown as text', async ({ hub, page }) => {
  const evil = '<img src=x onerror="window.pwned = true"><script>window.pwned = true</script>';
  const names = ['message', 'log', 'metric', 'heartbeat', 'progress'];
  const data = {
    message: evil,
    log: { level: 'error', message: evil, fields: { [evil]: evil } },
    metric: { name: evil, value: 1, unit: evil, labels: { [evil]: evil } },
    heartbeat: { source: evil, status: evil },
    progress: { file: evil, state: evil, bytes_sent: 1, total_size: 2, percentage: 50 },
  };
  await hub.publish(names.map((type) => ({ stream: 'x<b>&"', type, data: data[type] })));
  await page.goto(`${hub.url}/#/streams`);
  await page.getByRole('link', { name: 'x<b>&"' }).click();
  await expect.poll(async () => (await rows(page)).length).toBe(5);
  expect(await rows(page)).toContain(evil);
  await expect(page.locator('.source')).toContainText('<img');
  await expect(page.locator('.moving')).toContainText('<img');
  for (const row of await page.locator('.tail .row').all()) await row.click();
  await expect(page.locator('.opened .command').last()).toContainText('<img');
  expect(await page.evaluate(() => [window.pwned, document.querySelectorAll('main img, main script').length])).toEqual([undefined, 0]);
});

test('pages send requests only to the hub, and its policy forbids all others', async ({ hub, page }) => {
  const urls = [];
  page.on('request', (request) => urls.push(request.url()));
  for (const path of ['', '#/streams', '#/publish', '#/sessions', '#/jobs', '#/access', 'docs']) {
    await page.goto(`${hub.url}/${path}`);
    await expect(page.locator('main, .swagger-ui').first()).not.toBeEmpty();
    await page.waitForLoadState('load');
  }
  await expect(page.locator('.swagger-ui .opblock').first()).toBeVisible();
  const foreign = urls.filter((url) => !url.startsWith(hub.url) && !url.startsWith('data:'));
  expect(foreign).toEqual([]);
  const policy = (await fetch(hub.url)).headers.get('content-security-policy');
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain('unsafe');
});

test('the API reference shows the summary, an example and the errors of an operation', async ({ hub, page }) => {
  await page.goto(`${hub.url}/docs`);
  const operation = page.locator('.opblock', { hasText: 'Publish events' });
  await operation.locator('.opblock-summary-control').click();
  await expect(operation.locator('.highlight-code').first()).toContainText('"order-17"');
  const errors = operation.locator('.error-table');
  await expect(errors.getByRole('row', { name: '413' })).toContainText('payload_too_large');
  await expect(operation.locator('.responses-table')).not.toContainText('413');
});

test.describe('if the hub is killed', () => {
  test.use({ expectedErrors: [DOWN] });

  test('an open page misses nothing and shows how it resumed', async ({ hub, page }) => {
    await page.goto(`${hub.url}/#/streams/n`);
    await expect(page.locator('#connection')).toHaveText('live');
    await hub.publishNumbers('n', 0, 500);
    await expect(page.locator('#counts')).toHaveText('500 events');
    await hub.kill();
    await expect(page.locator('#connection')).toHaveText('reconnecting');
    await hub.restart();
    await hub.publishNumbers('n', 500, 1_500);
    await expect(page.locator('#connection')).toHaveText('live');
    await expect(page.locator('#counts')).toHaveText('1500 events');
    await page.locator('#connection').click();
    await expect(page.locator('.states')).toContainText('resumed: nothing was missed');
    // The same after the user drops the connection.
    const session = await page.locator('#connection-panel dd code').nth(1).textContent();
    await page.locator('#drop').click();
    await expect(page.locator('#connection-panel dd code').nth(1)).not.toHaveText(session);
    await hub.publishNumbers('n', 1_500, 1_510);
    await expect(page.locator('#counts')).toHaveText('1510 events');
    await expect(page.locator('#last-id')).toHaveText(/^[0-9a-f]{8}-[0-9a-f]{16}$/);
  });
});

test('a tail of 100,000 events has few elements and can be filtered, paused and opened', async ({ hub, page }) => {
  test.setTimeout(180_000);
  const levels = ['debug', 'info', 'warn', 'error'];
  for (let n = 0; n < 100_000; n += 4_000) {
    await hub.publish(Array.from({ length: 4_000 }, (_, i) => ({
      stream: 'logs', type: 'log', data: { level: levels[(n + i) % 4], message: `line ${n + i}` },
    })));
  }
  await page.goto(`${hub.url}/#/streams/logs?from=start`);
  await expect(page.locator('#counts')).toHaveText('100k events');
  await expect(page.locator('.tail .row').last()).toContainText('line 99999');
  const drawn = await page.locator('.tail .row').count();
  expect(drawn).toBeLessThan(100);
  // The Home key shows the first event.
  await page.locator('.tail').focus();
  await page.keyboard.press('Home');
  await expect(page.locator('.tail .row').first()).toContainText('line 0');
  await expect(page.locator('.opened')).toContainText('line 0');
  await expect(page.locator('.opened .command').last()).toContainText('curl');
  // Filter by level and text.
  await page.locator('[name=level]').selectOption('warn');
  await expect(page.locator('#counts')).toHaveText('50.0k of 100k events');
  await expect(page.locator('[name=filter]')).toHaveValue('level>=warn');
  await page.locator('[name=filter]').fill('level>=warn "line 9999"');
  await expect(page.locator('#counts')).toHaveText('7 of 100k events');
  await expect.poll(() => rows(page)).toEqual(['line 9999', 'line 99990', 'line 99991', 'line 99994', 'line 99995', 'line 99998', 'line 99999']);
  await page.locator('[name=filter]').fill('');
  await expect(page.locator('[name=level]')).toHaveValue('');
  // Events that arrive during a pause are shown afterwards.
  await page.getByRole('button', { name: 'Pause' }).click();
  await hub.publish(Array.from({ length: 50 }, (_, n) => ({ stream: 'logs', type: 'log', data: { level: 'info', message: `late ${n}` } })));
  await expect(page.locator('#counts')).toContainText('50 waiting');
  await expect(page.locator('.tail .row').last()).toContainText('line 99999');
  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(page.locator('.tail .row').last()).toContainText('late 49');
  // The oldest events beyond the bound are removed.
  for (let n = 0; n < 16_000; n += 4_000) {
    await hub.publish(Array.from({ length: 4_000 }, (_, i) => ({ stream: 'logs', type: 'log', data: { level: 'info', message: `more ${n + i}` } })));
  }
  await expect(page.locator('#counts')).toContainText('older ones left out');
  await expect(page.locator('.tail .row').last()).toContainText('more 15999');
});

test('visible rows stay while events arrive, and events beyond the bounds wait in the hub', async ({ hub, page }) => {
  test.setTimeout(180_000);
  await hub.publishNumbers('n', 0, 95_000);
  await page.goto(`${hub.url}/#/streams/n?from=start`);
  await expect(page.locator('#counts')).toHaveText('95.0k events');
  const visibleText = () => page.locator('.tail').evaluate((tail) => {
    const { left, top } = tail.getBoundingClientRect();
    // Rows are drawn with the next frame; until then there is nothing at that place.
    return document.elementFromPoint(left + 50, top + 100)?.closest('.row')?.querySelector('.text')?.textContent ?? '';
  });
  await page.locator('.tail').evaluate((tail) => tail.scrollTo(0, 60_000 * 24));
  await expect.poll(visibleText).toMatch(/^6000\d$/);
  const before = await visibleText();
  // During a pause events wait, up to a bound.
  await page.getByRole('button', { name: 'Pause' }).click();
  await hub.publishNumbers('n', 95_000, 120_000);
  await expect(page.locator('#counts')).toContainText('20.0k waiting, more events remain in the hub');
  await page.waitForTimeout(1_000);
  await expect(page.locator('#counts')).toContainText('20.0k waiting');
  // Afterwards the oldest events are removed, and the view keeps showing the same rows.
  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(page.locator('#counts')).toContainText('older ones left out, more events remain in the hub');
  await expect.poll(visibleText).toBe(before);
  // A view at the end has room for all events.
  await page.locator('.tail').press('End');
  await expect(page.locator('.tail .row').last()).toContainText('119999');
});

test('a click opens the event under the pointer while events arrive', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/streams/busy`);
  await expect(page.locator('#connection')).toHaveText('live');
  let isOver = false;
  const publishing = (async () => {
    for (let n = 0; !isOver; n += 10) await hub.publish(Array.from({ length: 10 }, (_, i) => ({ stream: 'busy', data: `event ${n + i}` })));
  })();
  await expect.poll(async () => (await rows(page)).length).toBeGreaterThan(20);
  const box = await page.locator('.tail').boundingBox();
  for (let times = 0; times < 5; times += 1) {
    await page.mouse.move(box.x + 300, box.y + box.height / 2);
    await page.evaluate(() => document.querySelector('.tail').addEventListener('pointerdown', (event) => {
      window.expectedText = event.target.closest('.row').querySelector('.text').textContent;
    }, { once: true }));
    await page.mouse.down();
    // A click of a person takes longer than a frame.
    await page.waitForTimeout(120);
    await page.mouse.up();
    await expect(page.locator('.opened .command').last()).toContainText(await page.evaluate(() => window.expectedText));
  }
  isOver = true;
  await publishing;
});

test('a page under load shows every event and stays responsive', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/streams/load`);
  await expect(page.locator('#connection')).toHaveText('live');
  for (let n = 0; n < 40_000; n += 500) {
    await hub.publish(Array.from({ length: 500 }, (_, i) => ({ stream: 'load', type: 'metric', data: { name: `of ${i % 5}`, value: n + i } })));
  }
  await expect(page.locator('#counts')).toHaveText('40.0k events');
  await expect(page.locator('.drawn figure')).toHaveCount(5);
  await expect(page.locator('figure', { hasText: 'of 4' }).locator('.value')).toHaveText('40.0k');
  await page.getByRole('link', { name: 'Publish' }).click();
  await expect(page.locator('h1')).toHaveText('Publish');
});

test.describe('if the hub hangs', () => {
  test.use({ expectedErrors: [DOWN] });

  test('the overview shows that its data is stale', async ({ hub, page }) => {
    await page.goto(hub.url);
    await expect(page.locator('.health')).toHaveText(/^Ready/);
    hub.child.kill('SIGSTOP');
    await expect(page.locator('#banner')).toContainText('The hub does not answer');
    await expect(page.locator('#banner')).toContainText('This page is as of');
    await expect(page.locator('.health')).toHaveText('Unknown');
    hub.child.kill('SIGCONT');
    await expect(page.locator('.health')).toHaveText(/^Ready/);
    await expect(page.locator('#banner')).toBeHidden();
  });
});

test('pages fit on the screen of a phone', async ({ hub, page }) => {
  await page.setViewportSize({ width: 375, height: 740 });
  await hub.publishNumbers('n', 0, 100);
  // Causes a refusal, so that the table of refusals is shown.
  await fetch(`${hub.url}/publish`, { method: 'POST', body: '{"strem": 1}' });
  await page.goto(`${hub.url}/#/overview`);
  await expect(page.locator('table', { hasText: 'validation_error' })).toBeVisible();
  await page.goto(`${hub.url}/#/streams/n`);
  await expect(page.locator('.tail .row').last()).toContainText('99');
  expect((await page.locator('.tail').boundingBox()).height).toBeGreaterThan(300);
  for (const path of ['overview', 'streams', 'publish', 'sessions', 'access']) {
    await page.goto(`${hub.url}/#/${path}`);
    await expect(page.locator('h1')).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth), path).toBeLessThanOrEqual(375);
  }
  await page.goto(`${hub.url}/#/streams`);
  await expect(page.locator('td a').first()).toBeVisible();
  expect((await page.locator('td').first().boundingBox()).width).toBeGreaterThan(100);
});

test('a stream with any name can be opened', async ({ hub, page }) => {
  const names = ['a/b', 'a?b', 'a#b', '100%', 'ä.東京', 'x'.repeat(255)];
  for (const name of names) await hub.publish({ stream: name, data: `in ${name.slice(0, 20)}` });
  for (const name of names) {
    await page.goto(`${hub.url}/#/streams`);
    await page.getByRole('link', { name, exact: true }).click();
    await expect.poll(() => rows(page)).toEqual([`in ${name.slice(0, 20)}`]);
  }
  await page.goto(`${hub.url}/#/streams/100%`);
  await expect.poll(() => rows(page)).toEqual(['in 100%']);
  await page.goto(`${hub.url}/#/constructor`);
  await expect(page.locator('h1')).toHaveText('Overview');
});

test('the tail jumps to a time', async ({ hub, page }) => {
  await hub.publishNumbers('n', 0, 3);
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const between = new Date(Date.now() - 900);
  await hub.publishNumbers('n', 3, 5);
  await page.goto(`${hub.url}/#/streams/n`);
  await expect.poll(() => rows(page)).toEqual(['0', '1', '2', '3', '4']);
  const local = new Date(between.getTime() - between.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  await page.getByText('Time', { exact: true }).click();
  await page.locator('[name=at]').fill(local);
  await page.getByRole('button', { name: 'Jump' }).click();
  await expect.poll(() => rows(page)).toEqual(['3', '4']);
});

test('the address keeps the filter', async ({ hub, page }) => {
  const log = (level, message) => ({ stream: 'n', type: 'log', data: { level, message } });
  await hub.publish([log('info', 'one'), log('error', 'two'), log('error', 'three'), { stream: 'n', data: 'three' }]);
  await page.goto(`${hub.url}/#/streams/n`);
  await expect.poll(() => rows(page)).toHaveLength(4);
  await page.locator('[name=level]').selectOption('error');
  await page.locator('[name=type]').selectOption('log');
  await expect(page.locator('[name=filter]')).toHaveValue('level>=error type=log');
  await page.locator('[name=filter]').fill('level>=error type=log thr');
  await expect.poll(() => rows(page)).toEqual(['three']);
  await page.reload();
  await expect.poll(() => rows(page)).toEqual(['three']);
  await expect(page.locator('#counts')).toHaveText('1 of 4 events');
  await expect(page.locator('[name=level]')).toHaveValue('error');
  // Addresses of earlier versions.
  await page.goto(`${hub.url}/#/streams/n?level=error&type=log&text=two`);
  await expect.poll(() => rows(page)).toEqual(['two']);
  await page.goto(`${hub.url}/#/streams/n?level=none`);
  await page.reload();
  await expect.poll(() => rows(page)).toHaveLength(4);
});

test('an empty list shows why it is empty', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/streams/n`);
  const empty = (text) => expect(page.locator('.tail')).toHaveAttribute('data-empty', text);
  await empty('No events yet. They appear here as they are published.');
  await hub.publish({ stream: 'n', data: 'one' });
  await expect(page.locator('#counts')).toHaveText('1 event');
  await expect(page.locator('.tail')).not.toHaveAttribute('data-empty');
  await page.locator('[name=filter]').fill('two');
  await empty('No event matches the filter. Search history looks further back.');
  await page.locator('[name=filter]').fill('');
  await page.getByText('Time', { exact: true }).click();
  await page.locator('[name=at]').fill('2099-01-01T00:00');
  await page.getByRole('button', { name: 'Jump' }).click();
  await empty('No events since then.');
  // The panel closes when the page changes.
  await page.locator('#connection').click();
  await expect(page.locator('#drop')).toBeVisible();
  await page.getByRole('button', { name: 'Close' }).click();
  await expect(page.locator('#drop')).toBeHidden();
  await page.locator('#connection').click();
  await page.goto(`${hub.url}/#/publish`);
  await expect(page.locator('#drop')).toBeHidden();
});

test('older events are shown on request', async ({ hub, page }) => {
  await hub.publishNumbers('n', 0, 3_000);
  await page.goto(`${hub.url}/#/streams/n`);
  await expect(page.locator('#counts')).toHaveText('1000 events');
  await page.getByText('Time', { exact: true }).click();
  await page.getByRole('button', { name: 'Older' }).click();
  await expect(page.locator('#counts')).toHaveText('3000 events');
  await expect(page.locator('.tail .row').last()).toContainText('2999');
});

test('an opened event shows commands to read on and, if allowed, to publish it', async ({ hub, page }) => {
  await hub.publish(['first', "it's; $(this)", 'last'].map((data) => ({ stream: 'n/ü', data })));
  await page.goto(`${hub.url}/#/streams/${encodeURIComponent('n/ü')}`);
  await page.locator('.tail .row', { hasText: 'this' }).click();
  const commands = await page.locator('.opened .command').allTextContents();
  expect(commands).toHaveLength(2);
  const runShell = (command) => promisify(execFile)('sh', ['-c', command]).then(({ stdout }) => stdout);
  expect(JSON.parse(await runShell(commands[1]))).toMatchObject({ stream: 'n/ü', duplicate: false });
  const read = await runShell(`${commands[0]}'&follow=false'`);
  expect(read.match(/^data: (it's.*)$/gm)).toEqual(["data: it's; $(this)", "data: it's; $(this)"]);
  // Only the hub publishes to its own streams.
  await page.goto(`${hub.url}/#/streams/system`);
  await page.locator('.tail .row').first().click();
  await expect(page.locator('.opened .command')).toHaveCount(1);
});

test('pages that a build of the hub lacks are not linked', async ({ hub, page }) => {
  const labels = page.locator('nav a');
  await page.goto(hub.url);
  await expect(labels).toHaveText(['Overview', 'Streams', 'Publish', 'Sessions', 'Jobs', 'Access', 'Chat', 'API']);
  const version = await hub.get('/version');
  expect(version.features).toContain('jobs');
  const features = version.features.filter((name) => name !== 'jobs' && name !== 'chat');
  await page.route('**/version', (route) => route.fulfill({ json: { ...version, features } }));
  await page.reload();
  await expect(labels).toHaveText(['Overview', 'Streams', 'Publish', 'Sessions', 'Access', 'API']);
});

test('a long list has pages', async ({ hub, page }) => {
  await hub.publish(Array.from({ length: 450 }, (_, n) => ({ stream: `s.${String(n).padStart(3, '0')}`, data: n })));
  await page.goto(`${hub.url}/#/streams?prefix=s.`);
  const names = page.locator('tbody td:first-child');
  await expect(names).toHaveCount(200);
  await page.getByRole('button', { name: 'Next' }).click();
  await expect(names.first()).toHaveText('s.200');
  await page.getByRole('button', { name: 'Next' }).click();
  await expect(names).toHaveCount(50);
  await expect(page.getByRole('button', { name: 'Next' })).toBeHidden();
  await page.getByRole('button', { name: 'First page' }).click();
  await expect(names.first()).toHaveText('s.000');
  await page.getByRole('button', { name: 'Next' }).click();
  await page.locator('[name=prefix]').fill('s.1');
  await expect(names.first()).toHaveText('s.100');
});

/** Returns the contrast of an element's text with its background (WCAG 2.2 §1.4.3). */
const contrast = (page, selector) => page.locator(selector).first().evaluate((element) => {
  const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = color;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((channel) => channel / 255)
    .map((channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4))
    .reduce((sum, channel, n) => sum + channel * [0.2126, 0.7152, 0.0722][n], 0);
  let behind = element;
  while (behind.parentElement && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map((color) => luminance(rgba(color)));
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
});

for (const colorScheme of ['light', 'dark']) {
  test(`text has enough contrast and the focus is visible (${colorScheme})`, async ({ hub, page }) => {
    await page.emulateMedia({ colorScheme });
    const levels = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
    await hub.publish(levels.map((level) => ({ stream: 'n', type: 'log', data: { level, message: level } })));
    await page.goto(`${hub.url}/#/streams/n`);
    await expect.poll(() => rows(page)).toEqual(levels);
    await page.locator('.tail .row').first().click();
    const dark = await page.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches);
    expect(dark).toBe(colorScheme === 'dark');
    for (const selector of ['h1', 'nav a', 'nav a[aria-current]', '#connection', '.user', '#counts', 'label', 'button', 'select', '.opened dt',
      '.opened code', '.json .name', '.json-string', '.row .time', ...levels.map((level) => `.level-${level} .text`)]) {
      expect(await contrast(page, selector), selector).toBeGreaterThan(4.5);
    }
    // By the keyboard alone: the focus is visible and reaches all controls.
    await page.goto('about:blank');
    await page.goto(`${hub.url}/#/streams/n`);
    await expect(page.locator('.tail .row').first()).toBeVisible();
    const seen = new Set();
    for (let presses = 0; presses < 30; presses += 1) {
      await page.keyboard.press('Tab');
      const focused = await page.evaluate(() => {
        const element = document.activeElement;
        if (element === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return { name: element.name || element.textContent || element.className, hasOutline: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1 };
      });
      if (focused === null) break;
      expect(focused.hasOutline, focused.name).toBe(true);
      seen.add(focused.name.slice(0, 20));
    }
    for (const name of ['Overview', 'API', 'filter', 'level', 'type', 'Columns', 'Views', 'Time', 'Pause', 'Download']) expect([...seen]).toContain(name);
  });
}

test('metrics are drawn by name and label, heartbeats as a board, progress as bars', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/streams/mixed`);
  await expect(page.locator('#connection')).toHaveText('live');
  const metric = (host, value) => ({ stream: 'mixed', type: 'metric', data: { name: 'queue', value, labels: { host } } });
  await hub.publish([metric('a', 1), metric('b', 2), metric('a', 3)]);
  await hub.publish([{ stream: 'mixed', type: 'heartbeat', data: { source: 'billing', status: 'ok' } }]);
  await hub.publish([{ stream: 'mixed', type: 'progress', data: { file: 'x.iso', bytes_sent: 512, total_size: 1024, percentage: 50, state: 'sending' } }]);
  await expect(page.locator('.drawn figure')).toHaveCount(2);
  await expect(page.locator('figure', { hasText: 'queue (host=a)' }).locator('.value')).toHaveText('3');
  await expect(page.locator('.source[data-state=up]')).toContainText('billing up ok');
  await expect(page.getByRole('progressbar', { name: 'x.iso' })).toHaveAttribute('aria-valuenow', '50');
});

test('a chart has a gap for a time without values', async ({ hub, page }) => {
  await page.goto(`${hub.url}/#/access`);
  // The page is drawn first; drawing it removes what is in its place.
  await expect(page.locator('h1')).toHaveText('Access');
  await page.evaluate(async () => {
    const { createChart } = await import('/dashboard/charts.js');
    const draw = (/** @type {number[]} */ times) => {
      const { element, add } = createChart({ title: 't', series: ['a', 'b'], spanSeconds: 600, format: String, signal: new AbortController().signal });
      document.querySelector('main').append(element);
      // Alternates between two series, as metrics do.
      times.forEach((time, n) => add(time, n % 2 ? [null, 30] : [50, null]));
    };
    const now = Date.now() / 1000;
    const steady = Array.from({ length: 120 }, (_, n) => now - 600 + n * 5);
    draw(steady.filter((time) => time < now - 450 || time > now - 150));
    draw(steady);
  });
  // Counts the pixels in the middle of each plot that are drawn, except those of the grid.
  const countPixels = () => page.evaluate(() => [...document.querySelectorAll('main canvas')].map((canvas) => {
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(Math.round(width * 0.5), 0, Math.round(width * 0.2), height);
    let count = 0;
    // The lines have colours; the grid is nearly grey.
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 128 && Math.max(...data.slice(at, at + 3)) - Math.min(...data.slice(at, at + 3)) > 60) count += 1;
    return count;
  }));
  // The chart with a gap is drawn first.
  await expect.poll(async () => (await countPixels())[1]).toBeGreaterThan(20);
  expect((await countPixels())[0]).toBe(0);
});

test('the form for publishing checks input while typing and shows a receipt', async ({ hub, page, context }) => {
  await page.goto(`${hub.url}/#/publish`);
  const button = page.getByRole('button', { name: 'Publish', exact: true });
  const wrong = page.locator('#wrong');
  await page.getByLabel('Stream').fill('a b');
  await expect(wrong).toContainText('no spaces');
  await expect(button).toBeDisabled();
  await page.getByLabel('Stream').fill('hub.x');
  await expect(wrong).toContainText('only the hub');
  await page.getByLabel('Stream').fill('typed');
  await page.getByLabel('Stream').fill('typed');
  await page.getByLabel('Data: JSON').fill('{"a": ');
  await expect(page.locator('main')).toContainText('sent as text');
  await page.getByLabel('Data: JSON').fill('[12345678901234567890]');
  await expect(page.locator('main pre')).toContainText('[12345678901234567890]');
  await page.getByLabel('Type').selectOption('metric');
  await page.getByLabel('Name').fill('depth');
  await page.getByLabel('Value').fill('many');
  await expect(wrong).toContainText('a number');
  await page.getByLabel('Value').fill('4.5');
  await page.getByLabel('Labels').fill('[1]');
  await expect(wrong).toContainText('an object');
  await page.getByLabel('Labels').fill('{"host": "a"}');
  await page.getByLabel('Key').fill('once');
  const reader = await context.newPage();
  await reader.goto(`${hub.url}/#/streams/typed`);
  await expect(reader.locator('#connection')).toHaveText('live');
  await button.click();
  await expect(page.locator('#receipt')).toContainText('to 1 reader');
  await button.click();
  await expect(page.locator('#receipt')).toContainText('Published before');
  await expect.poll(() => rows(reader)).toEqual(['depth 4.5']);
  for (const [type, filled] of [['log', { Message: 'm' }], ['heartbeat', { Source: 's' }]]) {
    await page.getByLabel('Type').selectOption(type);
    for (const [label, value] of Object.entries(filled)) await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByLabel('Key').fill('');
    await button.click();
    await expect(page.locator('#receipt')).toContainText('Published as');
  }
  // Both pages share one connection.
  await expect.poll(() => rows(reader)).toHaveLength(3);
});

test('a page shows every event over a slow network', async ({ hub, page }) => {
  const proxy = await FaultyProxy.start(hub, { bytesPerSecond: 100_000 });
  await hub.publishNumbers('n', 0, 1_000);
  await page.goto(`${proxy.url}/#/streams/n`);
  await expect(page.locator('#counts')).toHaveText('1000 events');
  proxy.stop();
});
