// The client's parser, compared with WHATWG HTML §9.2.6 and with another parser.

import { createParser } from 'eventsource-parser';
import { expect, test } from '@playwright/test';
import { Parser } from '../../static/fanfare.js';

const utf8 = new TextEncoder();

/** Returns the blocks dispatched for `text`, whose bytes are split at `cuts`. */
function blocks(text, cuts = []) {
  const all = [];
  const parser = new Parser((block) => all.push(block));
  const bytes = text instanceof Uint8Array ? text : utf8.encode(text);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    parser.push(bytes.subarray(from, cut));
    from = cut;
  }
  return { all, lastEventId: parser.lastEventId, retry: parser.retry };
}

const data = (text) => blocks(text).all.map((block) => block.data);

test('follows every rule of the specification', () => {
  expect(data('data: YHOO\ndata: +2\ndata: 10\n\n')).toEqual(['YHOO\n+2\n10']);
  expect(data(': test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n')).toEqual(['first', 'second', ' third']);
  expect(data('data\n\ndata\ndata\n\ndata:')).toEqual(['', '\n']);
  expect(data('data:test\n\ndata: test\n\n')).toEqual(['test', 'test']);
  expect(data('data: a\r\rdata: b\r\n\r\ndata: c\n\r\n')).toEqual(['a', 'b', 'c']);
  expect(data('\uFEFFdata: 1\n\n\uFEFFdata: 2\n\ndata: 3\n\n'), 'one byte order mark is removed').toEqual(['1', '3']);
  expect(data('data: cut off'), 'an incomplete block is not dispatched').toEqual([]);
  expect(data('Data: no\n data: no\ndata : no\nfoo: no\nno\n\n')).toEqual([]);
  expect(data('data: a\u0000b\u2028c\n\n')).toEqual(['a\u0000b\u2028c']);
  expect(blocks('event: x\n\ndata: 1\n\nevent:y\nevent: z\ndata: 2\n\n').all.map((b) => b.type)).toEqual(['message', 'z']);
  const ids = blocks('id: 1\ndata: a\n\ndata: b\n\nid: 2\u0000\ndata: c\n\nid\ndata: d\n\nid: 3\n\n');
  expect(ids.all.map((block) => block.lastEventId)).toEqual(['1', '1', '1', '']);
  expect(ids.lastEventId, 'a block without data sets the id').toBe('3');
  expect(blocks('id: 1\n').lastEventId, 'an incomplete block does not set the id').toBe('');
  expect(blocks('retry: 3000\nretry: 1e3\nretry: -1\nretry: 4x\nretry\n').retry).toBe(3000);
  expect(data(new Uint8Array([...utf8.encode('data: '), 0xff, 0xc3, 0x0a, 0x0a]))).toEqual(['\ufffd\ufffd']);
});

test('accepts bytes that are split anywhere', () => {
  const text = '\uFEFFid: 7\r\ndata: grüße 🎺\rdata: b\r\n\revent: x\ndata: 東京\n\nretry: 5\n\n';
  const bytes = utf8.encode(text);
  const expected = blocks(text);
  expect(expected.all).toHaveLength(2);
  for (let first = 0; first <= bytes.length; first += 1) {
    expect(blocks(text, [first]), `split at ${first}`).toEqual(expected);
    for (let second = first; second <= bytes.length; second += 1) expect(blocks(text, [first, second])).toEqual(expected);
  }
  expect(blocks(text, bytes.map((_, n) => n))).toEqual(expected);
});

test('agrees with another parser on random input', () => {
  // A fixed seed makes the input the same in every run.
  let seed = 7;
  const randomBelow = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n;
  const words = ['data', 'data:', 'data: ', 'id: ', 'id', 'event: ', 'retry: ', ':', ' ', 'x', '12', 'ü', '🎺', '\r', '\n', '\r\n', '\n\n', '\r\r'];
  for (let round = 0; round < 5_000; round += 1) {
    const text = `${Array.from({ length: randomBelow(30) }, () => words[randomBelow(words.length)]).join('')}x\n\ndata: end\n\n`;
    const expected = [];
    const parser = createParser({ onEvent: ({ event, data }) => expected.push({ type: event || 'message', data }) });
    parser.feed(text);
    const bytes = utf8.encode(text);
    const cuts = Array.from({ length: randomBelow(4) }, () => randomBelow(bytes.length)).sort((a, b) => a - b);
    const actual = blocks(text, cuts).all.map(({ type, data }) => ({ type, data }));
    expect(actual, JSON.stringify(text)).toEqual(expected);
  }
});

test('parses a large event of many chunks in linear time', () => {
  const all = [];
  const parser = new Parser((block) => all.push(block.data.length));
  const chunk = utf8.encode('x'.repeat(1_000));
  parser.push(utf8.encode('data: '));
  for (let n = 0; n < 20_000; n += 1) parser.push(chunk);
  parser.push(utf8.encode('\n\n'));
  expect(all).toEqual([20_000_000]);
});
