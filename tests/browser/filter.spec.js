// The grammar of the filter.

import { expect, test } from '@playwright/test';
import { fieldOf, matchesEvent, parseFilter, quote, replaceField, splitMatches } from '../../static/dashboard/filter.js';

const event = (data, more = {}) => ({ id: '1', stream: 'shop.mail', streams: ['shop.mail'], type: 'log', time: '2026-01-01T00:00:00Z', data, ...more });
const log = event({ level: 'warn', message: 'Payment "slow": timeout after 3 s', order: 9088, host: 'a', 'http.status': 503, customer: { country: 'DE' }, fields: { ms: 1200 }, tags: ['x', 'y'], ok: false, none: null });
const matches = (filter, each = log) => {
  const { terms, error } = parseFilter(filter);
  expect(error, filter).toBe('');
  return matchesEvent(terms, each);
};

test('all terms of a filter must match', () => {
  for (const filter of ['', '  ', 'timeout', 'TIMEOUT payment', '"timeout after"', '"Payment \\"slow\\""', '/time.?out/', '/PAYMENT/i', '/after \\d s/', '-noise', '-/\\d{5}/', '-"timeout before"',
    'order=9088', 'order=9088.0', 'order!=1', 'order>9000 order<9100', 'order>=9088 order<=9088', '-order=1', 'customer.country=DE', 'customer.country!=FR', 'http.status>=500', 'ms>1000', 'fields.ms=1200',
    'tags.0=x', 'ok=false', 'none=null', 'missing!=1', '-missing=1', 'host>=a', 'type=log', 'type!=metric', 'stream=shop.mail', 'stream=shop.*', 'stream!=other', '-stream=other.*',
    'level=warn', 'level>=warn', 'level<error', 'level!=info', 'level>=WARNING', 'host="a"', '9088 timeout level>=info -noise', '"unfinished quote'.replace('unfinished quote', 'timeout aft')]) {
    expect(matches(filter), filter).toBe(true);
  }
  for (const filter of ['noise', 'timeout noise', '"after timeout"', '/TIMEOUT/', '-timeout', '-/time/', 'order=908', 'order!=9088', 'order>9088', 'order<9088', '-order=9088', 'customer.country=de', 'missing=1', 'missing>1',
    'type=metric', 'stream=shop', 'stream!=shop.*', 'level>warn', 'level<=info', 'level=error', 'host=b', 'none=0']) {
    expect(matches(filter), filter).toBe(false);
  }
});

test('events without a level or with text as data can be filtered', () => {
  const text = event('GET /var/log/x?a=b 200', { type: 'message' });
  for (const filter of ['/var/log', '/var/log/x', '"x?a=b"', '/200$/', 'level!=warn', 'a!=b', '-level>=trace']) expect(matches(filter, text), filter).toBe(true);
  for (const filter of ['level>=trace', 'a=b', '404']) expect(matches(filter, text), filter).toBe(false);
  for (const data of [null, 7, true, []]) expect(matches('a.b=1 level>=info', event(data))).toBe(false);
  expect(matches('7', event(7))).toBe(true);
  // An event of several streams is in each of them.
  expect(matches('stream=b stream!=c', event(1, { streams: ['a', 'b'] }))).toBe(true);
  expect(fieldOf(event({ a: { 'b.c': 1 } }), 'a.b.c')).toBe(1);
  expect(matches('constructor=1', event({}))).toBe(false);
});

test('an incomplete filter names the error', () => {
  expect(parseFilter('order=').error).toContain('a value is missing after order=');
  expect(parseFilter('a level>=loud').error).toContain('unknown level “loud”');
  expect(parseFilter('/(/').error).toContain('/(/ is not a regular expression');
  // A lone quote, minus or operator is being typed, or is a word.
  for (const text of ['"', '-', '=', '/', '//', '-"']) expect(parseFilter(text).error).toBe('');
  expect(matches('-', event('a - b'))).toBe(true);
});

test('matches of words and regular expressions are found in a text', () => {
  const split = (text, filter) => splitMatches(text, parseFilter(filter).terms);
  expect(split('one two ONE', 'one')).toEqual(['', 'one', ' two ', 'ONE', '']);
  expect(split('abcd', 'abc bcd')).toEqual(['', 'abc', '', 'd', '']);
  expect(split('a1 b22', '/\\d+/ -b order=1')).toEqual(['a', '1', ' b', '22', '']);
  expect(split('text', '/x*/')).toEqual(['te', 'x', 't']);
  expect(split('text', 'nothing')).toEqual(['text']);
});

test('a term of a field is replaced and quoted', () => {
  expect(replaceField('a level>=info "b  c"', 'level', 'level>=warn')).toBe('a "b  c" level>=warn');
  expect(replaceField('level>=info level!=warn a', 'level', '')).toBe('a');
  expect(replaceField('-level=info', 'level', 'level>=warn')).toBe('-level=info level>=warn');
  for (const value of ['plain', 'two words', 'a "quote"', 'back\\slash', '']) {
    const [term] = parseFilter(`type=${quote(value)}`).terms;
    expect(term).toMatchObject({ kind: 'field', name: 'type', operator: '=', value });
  }
});
