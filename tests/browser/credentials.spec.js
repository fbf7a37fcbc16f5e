// Credentials that expire or are refused, in a browser.

import { createHmac } from 'node:crypto';
import { ADMIN, expect, key, test } from './hub.js';
import { NETWORK_ERRORS, controlEvents, received, states, subscribe, subscribeByEventSource, waitUntilLive } from './watching.js';

const secret = '0123456789abcdef0123456789abcdef';
test.use({
  expectedErrors: [NETWORK_ERRORS],
  flags: ['--jwt-secret', secret],
  config: key('admin', ADMIN, { publish: ['**'], subscribe: ['**'], admin: true }),
});
const admin = { Authorization: `Bearer ${ADMIN}` };
const publish = (hub, n) => hub.publish({ stream: 'n', data: n }, admin);

/** Returns a token that expires after some seconds. */
function token(seconds) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: 'reader', iat: now, exp: now + seconds, fanfare: { subscribe: ['n'] } };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Repeats `attempt` with longer lifetimes until the credential is still valid when the connection opens. */
async function retryWithLongerLifetime(attempt) {
  let seconds = 4;
  while (!await attempt(seconds)) seconds *= 2;
}

async function createTicket(hub, bearer) {
  const init = { method: 'POST', headers: { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' }, body: '{"streams": ["n"]}' };
  const response = await fetch(`${hub.url}/tickets`, init);
  expect(response.status).toBe(200);
  return (await response.json()).ticket;
}

for (const share of [true, false]) {
  test(`a token that expires is requested again (share: ${share})`, async ({ hub, page }) => {
    const reasons = [];
    await page.exposeFunction('secret', (reason) => {
      reasons.push(reason);
      return token(reasons.length === 1 ? 4 : 600);
    });
    await page.goto(`${hub.url}/healthz`);
    await page.evaluate(async ([at, share]) => {
      const { subscribe } = await import(`${at}/fanfare.js`);
      [window.received, window.states] = [[], []];
      const onEvent = (event) => window.received.push(event);
      const onState = (state) => window.states.push(state);
      subscribe({ url: at, streams: 'n', token: window.secret, share, onEvent, onState });
    }, [hub.url, share]);
    await waitUntilLive(page);
    await publish(hub, 0);
    await expect.poll(() => reasons.at(-1)).toBe('expired');
    await publish(hub, 1);
    await expect.poll(() => received(page)).toEqual([0, 1]);
  });
}

test('an expired credential is distinguished from an invalid one', async ({ hub, page, context }) => {
  await retryWithLongerLifetime(async (seconds) => {
    await subscribe(page, hub.url, { streams: 'n', ticket: await createTicket(hub, token(seconds)) });
    await expect.poll(async () => (await states(page)).some(({ state }) => ['live', 'expired'].includes(state))).toBe(true);
    return (await states(page)).some(({ state }) => state === 'live');
  });
  await expect.poll(async () => (await states(page)).at(-1)).toMatchObject({ state: 'expired' });
  const other = await context.newPage();
  await subscribe(other, hub.url, { streams: 'n', ticket: 'no ticket at all' });
  await expect.poll(async () => (await states(other)).at(-1)).toMatchObject({ state: 'refused', status: 401, code: 'unauthorized' });
  await subscribe(other, hub.url, { streams: 'other', token: token(600) });
  await expect.poll(async () => (await states(other)).at(-1)).toMatchObject({ state: 'refused', status: 403, code: 'forbidden' });
});

test('an EventSource with an expired ticket gets the reason and closes', async ({ hub, page }) => {
  let published = 0;
  await retryWithLongerLifetime(async (seconds) => {
    await subscribeByEventSource(page, hub.url, `stream=n&ticket=${await createTicket(hub, token(seconds))}`);
    await expect.poll(async () => (await controlEvents(page)).some((event) => ['hub-open', 'error'].includes(event.type))).toBe(true);
    await publish(hub, published);
    published += 1;
    await expect.poll(async () => (await received(page)).length > 0 || (await controlEvents(page)).some((event) => event.type === 'error')).toBe(true);
    return (await received(page)).length > 0;
  });
  await expect.poll(async () => (await controlEvents(page)).find((event) => event.type === 'hub-error')).toMatchObject({ code: 'token_expired' });
  await expect.poll(async () => (await controlEvents(page)).at(-1)).toEqual({ type: 'error', state: 2 });
  expect(await received(page)).toEqual([published - 1]);
});
