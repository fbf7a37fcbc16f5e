// The page `/chat` in a browser, with a scripted upstream.

import { FaultyProxy, Hub, expect, test as base } from './hub.js';
import { Upstream, answerInTwoParts, answerWith, pause } from './upstream.js';

const WORDS = Array.from({ length: 60 }, (_, n) => `word${n} `);

const test = base.extend({
  scripts: [[answerWith(WORDS, 50)], { option: true }],
  // Further settings of the upstream.
  upstreamSettings: ['', { option: true }],
  upstream: async ({ scripts }, use) => {
    const upstream = await Upstream.start(...scripts);
    await use(upstream);
    await upstream.stop();
  },
  // A real hub with the upstream.
  hub: async ({ upstream, flags, upstreamSettings }, use) => {
    const hub = await Hub.start(flags, upstream.config + upstreamSettings);
    await use(hub);
    await hub.stop();
  },
});

const ask = async (page, text) => {
  await page.getByLabel('What do you want to ask?').fill(text);
  await page.keyboard.press('Enter');
};
const answer = (page, n = 0) => page.locator('.said').nth(n);
const state = (page, n = 0) => page.locator('.state').nth(n);
const expectAnswer = async (page, text, n = 0) => {
  await expect(answer(page, n)).toHaveAttribute('aria-busy', 'false');
  await expect(answer(page, n)).toHaveText(text);
};

test('continues an answer after a reload and in a second tab', async ({ page, context, hub, upstream }) => {
  await page.goto(`${hub.url}/chat`);
  await ask(page, 'say some words');
  await expect(answer(page)).toContainText('word3');
  const other = await context.newPage();
  await other.goto(`${hub.url}/chat`);
  await page.reload();
  await expect(page.locator('.asked')).toHaveText('say some words');
  for (const tab of [page, other]) await expectAnswer(tab, WORDS.join('').trim());
  expect(upstream.requests.length).toBe(1);
  expect(upstream.requests[0].messages).toEqual([{ role: 'user', content: 'say some words' }]);
  await page.reload();
  await expectAnswer(page, WORDS.join('').trim());
});

test('shows the questions of one tab in another', async ({ page, context, hub, upstream }) => {
  await page.goto(`${hub.url}/chat`);
  const other = await context.newPage();
  await other.goto(`${hub.url}/chat`);
  await ask(page, 'one');
  for (const tab of [page, other]) await expectAnswer(tab, WORDS.join('').trim());
  await ask(other, 'two');
  for (const tab of [page, other]) await expectAnswer(tab, WORDS.join('').trim(), 1);
  expect(upstream.requests.length).toBe(2);
  expect(upstream.requests[1].messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  await page.getByRole('button', { name: 'New chat' }).click();
  await expect(other.locator('.asked')).toHaveCount(0);
});

test.describe('an answer that does not end', () => {
  test.use({ scripts: [answerInTwoParts(WORDS, 9), answerWith(WORDS)] });

  test('is stopped, and asked for again', async ({ page, hub, upstream }) => {
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'words');
    await expect(answer(page)).toContainText('word3');
    await page.getByRole('button', { name: 'Stop' }).click();
    await expect(state(page)).toHaveText('stopped');
    await expect(answer(page)).not.toContainText('word59');
    await page.getByRole('button', { name: 'Retry' }).click();
    await expectAnswer(page, WORDS.join('').trim());
    await expect(page.locator('.asked')).toHaveCount(1);
    expect(upstream.requests.length).toBe(2);
  });
});

test.describe('before the list of models arrives', () => {
  /** Holds back the list of models until the returned function is called. */
  const delayModels = async (page) => {
    let release;
    const released = new Promise((resolve) => { release = resolve; });
    await page.route('**/v1/models', async (route) => {
      await released;
      await route.continue();
    });
    return release;
  };

  test('keeps the typed text, then asks the right model', async ({ page, hub, upstream }) => {
    const posted = [];
    page.on('request', (request) => request.method() === 'POST' && posted.push(request.postData()));
    const release = await delayModels(page);
    const requested = page.waitForRequest('**/v1/models');
    await page.goto(`${hub.url}/chat`);
    await requested;
    await ask(page, 'say some words');
    await expect(page.getByText(/waiting for the list of models/i)).toBeVisible();
    await expect(page.getByLabel('What do you want to ask?')).toHaveValue('say some words');
    expect(posted).toEqual([]);
    release();
    await expectAnswer(page, WORDS.join('').trim());
    await expect(page.getByText(/waiting for the list of models/i)).toHaveCount(0);
    await expect(page.getByLabel('What do you want to ask?')).toHaveValue('');
    expect(posted.map((body) => JSON.parse(body).model)).toEqual(['m']);
    expect(upstream.requests.length).toBe(1);
  });

  test('shows the earlier conversation', async ({ page, hub }) => {
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'say some words');
    await expectAnswer(page, WORDS.join('').trim());
    const release = await delayModels(page);
    await page.reload();
    await expect(page.locator('.asked')).toHaveText('say some words');
    await expectAnswer(page, WORDS.join('').trim());
    release();
    await expect(page.getByLabel('Model')).toHaveValue('m');
  });
});

test.describe('with a bad network', () => {
  test.use({ expectedErrors: [/Failed to load resource|ERR_/], scripts: [answerInTwoParts(WORDS, 9)] });
  test('loses nothing of an answer when the connection breaks', async ({ page, hub, upstream }) => {
    const proxy = await FaultyProxy.start(hub);
    await page.goto(`${proxy.url}/chat`);
    await ask(page, 'words');
    await expect(answer(page)).toContainText('word3');
    proxy.block();
    await expect(state(page)).toHaveText(/connection lost/);
    proxy.unblock();
    upstream.release();
    await expectAnswer(page, WORDS.join('').trim());
    proxy.stop();
  });

  test('shows the partial answer, marked as cut, after the hub was killed', async ({ page, hub }) => {
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'words');
    await expect(answer(page)).toContainText('word3');
    await hub.kill();
    await hub.restart();
    await expect(state(page)).toHaveText(/^cut: the hub was stopped/);
    await expect(answer(page)).toContainText('word3');
  });
});

test.describe('if the upstream breaks off', () => {
  const truncatedAnswer = async ({ startStream, sendText, response }) => {
    startStream();
    sendText('half an ');
    await pause(300);
    response.destroy();
  };
  test.use({ scripts: [truncatedAnswer, answerWith(['whole'])] });
  test('marks the answer as cut, not as complete', async ({ page, hub }) => {
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'words');
    await expect(state(page)).toHaveText(/^cut: the connection to the upstream failed/);
    await expect(answer(page)).toHaveText('half an');
    await page.getByRole('button', { name: 'Retry' }).click();
    await expectAnswer(page, 'whole');
  });
});

test.describe('at the limit of chats', () => {
  test.use({ flags: ['--max-chats', '1'], expectedErrors: [/503/] });
  test('names the limit and asks again until there is room', async ({ page, hub }) => {
    const begun = await fetch(`${hub.url}/chats`, { method: 'POST', body: '{"message":"x"}' });
    const { stop_url } = await begun.json();
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'words');
    await expect(state(page)).toHaveText(/max_chats .* reached.*asking again/);
    await fetch(hub.url + stop_url, { method: 'POST' });
    await expectAnswer(page, WORDS.join('').trim());
  });
});

test.describe('if the upstream allows one request at a time', () => {
  test.use({ upstreamSettings: 'max-running = 1\n' });
  test('shows that a later question waits for its turn', async ({ page, hub, upstream }) => {
    await fetch(`${hub.url}/chats`, { method: 'POST', body: JSON.stringify({ message: 'first' }) });
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'later');
    await expect(state(page)).toHaveText('queued…');
    expect(upstream.requests.length).toBe(1);
    await expectAnswer(page, WORDS.join('').trim());
    expect(upstream.requests.length).toBe(2);
  });
});

test.describe('the text of a model', () => {
  const text = '# Title\n\n<img src=x onerror="window.isHurt = true"><script>window.isHurt = true</script>\n\n'
    + '[here](javascript:window.isHurt=true) and [there](https://example.com)\n\n```js\nconst a = "<b>";\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n';
  test.use({ scripts: [answerWith([...text])] });
  test('is shown as Markdown with code to copy, and runs no script', async ({ page, context, hub }) => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.goto(`${hub.url}/chat`);
    await ask(page, 'words');
    await expect(answer(page)).toHaveAttribute('aria-busy', 'false');
    await expect(answer(page).locator('h1')).toHaveText('Title');
    await expect(answer(page).locator('td')).toHaveText(['1', '2']);
    await expect(answer(page).locator('img, script')).toHaveCount(0);
    await expect(answer(page)).toContainText('<img src=x onerror="window.isHurt = true">');
    expect(await page.evaluate(() => window.isHurt)).toBeUndefined();
    const links = await answer(page).locator('a').evaluateAll((all) => all.map((a) => [a.textContent, a.getAttribute('href'), a.rel]));
    expect(links).toEqual([['here', null, expect.any(String)], ['there', 'https://example.com', 'noopener noreferrer nofollow']]);
    await answer(page).locator('pre button').click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('const a = "<b>";\n');
    await page.locator('.foot').getByRole('button', { name: 'Copy' }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(text);
  });
});

test.describe('a user without a credential', () => {
  test.use({ expectedErrors: [/401/] });
  test('learns that a credential is needed', async ({ page }) => {
    const config = `[[key]]\nname = "ann"\nsha256 = "${'a'.repeat(64)}"\nchat = ["*"]\n`;
    const hub = await Hub.start([], config);
    await page.goto(`${hub.url}/chat`);
    await expect(page.locator('#empty')).toHaveText(/models are not known: a credential is required/);
    await expect(page.getByRole('link', { name: 'log in' })).toHaveAttribute('href', './#/access');
    await hub.stop();
  });
});
