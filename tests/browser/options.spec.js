// Options of `fanfare.js`: misspelt names and wrong types are refused, with the name.

import { expect, test } from '@playwright/test';
import { history, presence, publish, subscribe, ticket } from '../../static/fanfare.js';

/** Returns the error of a call that must throw or reject. */
async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('the call has not failed');
}

const hub = { url: 'http://127.0.0.1:9', streams: 'a' };

test('a misspelt option is refused with the nearest known one', async () => {
  const misspelt = {
    stream: 'streams', Streams: 'streams', onEvnt: 'onEvent', onevents: 'onEvents', onMessage: 'onEvent', tokn: 'token',
    lastEventId: 'from', withCredentials: 'credentials', pausehidden: 'pauseHidden', header: 'headers', form: 'from',
  };
  for (const [name, known] of Object.entries(misspelt)) {
    const error = await errorOf(() => subscribe({ ...hub, [name]: 'x' }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`unknown option \`${name}\`; did you mean \`${known}\`?`);
  }
  expect((await errorOf(() => publish('a', 1, { ...hub, streams: undefined }))).message).toContain('`streams`');
  expect((await errorOf(() => publish('a', 1, { keys: 'k' }))).message).toContain('did you mean `key`?');
  expect((await errorOf(() => history('a', { last_: 1 }))).message).toContain('did you mean `last`?');
  expect((await errorOf(() => ticket('a', { tll: '1m' }))).message).toContain('did you mean `ttl`?');
  expect((await errorOf(() => presence('a', { ticket: 'x' }))).message).toContain('`ticket`');
});

test('a value of the wrong type is refused with the name of the option', async () => {
  const wrong = {
    streams: [7, ['a', 7], null, { a: 1 }], url: [7, {}], types: ['log', [1]], token: ['', 7, {}], ticket: ['', true],
    credentials: ['always', true], headers: ['x', ['a'], { a: 1 }, new Headers({ a: 'b' })], from: [7, new Date()],
    last: ['20', -1, 1.5, NaN], onEvent: ['x', null], onEvents: [[]], onState: [{}],
    remember: [7, { key: 'k' }, { storage: {}, key: 'k' }], share: [1], pauseHidden: ['yes'], signal: [{}, 'x'], fetch: ['x'],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const error = await errorOf(() => subscribe({ ...hub, [name]: value }));
      expect(error, `${name}: ${JSON.stringify(value)}`).toBeInstanceOf(TypeError);
      expect(error.message).toContain(`\`${name}\` must be `);
    }
  }
  expect((await errorOf(() => subscribe({ ...hub, last: '20' }))).message).toBe('`last` must be an integer that is not negative, not "20"');
  for (const options of [undefined, null, 'builds.*', ['builds.*']]) {
    expect((await errorOf(() => subscribe(options))).message).toContain('options must be an object');
  }
  expect((await errorOf(() => subscribe({ url: hub.url }))).message).toBe('`streams` names no stream');
  expect((await errorOf(() => subscribe({ ...hub, token: 'x', ticket: 'y' }))).message).toContain('not both');
  expect((await errorOf(() => history('a', { ...hub, streams: undefined, limit: 0 }))).message).toContain('`');
  expect((await errorOf(() => history('a', { limit: 0 }))).message).toContain('`limit` must be');
  for (const stream of ['', 'a.*', 7, []]) expect(await errorOf(() => publish(stream, 1, { url: hub.url }))).toBeInstanceOf(TypeError);
  for (const data of [undefined, () => {}, 1n]) {
    expect((await errorOf(() => publish('a', data, { url: hub.url })))).toBeInstanceOf(TypeError);
  }
});

test('omitted and undefined options are accepted', () => {
  const subscription = subscribe({
    ...hub, types: undefined, last: undefined, onEvent: undefined, signal: undefined, share: false, remember: false,
    headers: { a: 'b' }, token: () => 'x', fetch: () => new Promise(() => {}),
  });
  subscription.close();
});
