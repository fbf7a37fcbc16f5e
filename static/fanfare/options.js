// Options of subscriptions and requests, checked by name and type.

/** @import { SubscriptionOptions } from '../fanfare.d.ts' */

import { resolveHubUrl } from './address.js';
import { checkSelector } from './selector.js';

/**
 * Options with `url` and `streams` normalised.
 *
 * @typedef {SubscriptionOptions & { url: URL, streams: string[] }} NormalizedOptions
 *
 * Check of a value: returns true if the value is valid, and describes what it must be.
 *
 * @typedef {{ isValid: (value: any) => boolean, expected: string }} Check
 */

/** @type {(name: string) => Check} */
const typeCheck = (name) => ({ isValid: (value) => typeof value === name, expected: `a ${name}` });
/** @param {unknown} value */
const isListOfStrings = (value) => Array.isArray(value) && value.every((item) => typeof item === 'string');
/** @param {any} value */
const isStringRecord = (value) => Object(value) === value && !Array.isArray(value)
  && !(typeof Headers === 'function' && value instanceof Headers)
  && Object.values(value).every((item) => typeof item === 'string');
/** @param {any} storage */
const isStorage = (storage) => ['getItem', 'setItem'].every((name) => typeof storage?.[name] === 'function');
/** @type {(minimum: number, expected: string) => Check} */
const integerCheck = (minimum, expected) => ({
  isValid: (value) => Number.isSafeInteger(value) && value >= minimum, expected,
});
/** @type {Check} */
const credentialCheck = {
  isValid: (value) => typeof value === 'function' || (typeof value === 'string' && value !== ''),
  expected: 'a non-empty string or a function that returns one',
};

/** Checks of all options. @type {Record<string, Check>} */
const CHECKS = {
  streams: { isValid: (value) => typeof value === 'string' || isListOfStrings(value), expected: 'a string or a list of strings' },
  url: { isValid: (value) => typeof value === 'string' || value instanceof URL, expected: 'a string or a URL' },
  types: { isValid: isListOfStrings, expected: 'a list of strings' },
  token: credentialCheck,
  ticket: credentialCheck,
  credentials: {
    isValid: (value) => ['omit', 'same-origin', 'include'].includes(value),
    expected: '"omit", "same-origin" or "include"',
  },
  headers: { isValid: isStringRecord, expected: 'an object whose values are strings' },
  from: typeCheck('string'),
  last: integerCheck(0, 'an integer that is not negative'),
  limit: integerCheck(1, 'a positive integer'),
  onEvent: typeCheck('function'),
  onEvents: typeCheck('function'),
  onState: typeCheck('function'),
  remember: {
    isValid: (value) => ['boolean', 'string'].includes(typeof value)
      || (typeof value?.key === 'string' && isStorage(value.storage)),
    expected: 'true, false, a string or { storage, key }',
  },
  share: { isValid: (value) => ['boolean', 'string'].includes(typeof value), expected: 'true, false or a string' },
  pauseHidden: typeCheck('boolean'),
  signal: {
    isValid: (value) => typeof value?.aborted === 'boolean' && typeof value.addEventListener === 'function',
    expected: 'an AbortSignal',
  },
  fetch: typeCheck('function'),
  type: typeCheck('string'),
  key: typeCheck('string'),
  ttl: typeCheck('string'),
};

/** Names of options in other libraries, and those that replace them. */
const OTHER_NAMES = new Map(Object.entries({
  lastEventId: 'from', onMessage: 'onEvent', onerror: 'onState', onopen: 'onState', withCredentials: 'credentials',
}));

/** Options of every request. */
export const REQUEST_OPTIONS = ['url', 'token', 'credentials', 'headers', 'signal', 'fetch'];
/** Options of `subscribe`. */
export const SUBSCRIPTION_OPTIONS = [
  ...REQUEST_OPTIONS, 'streams', 'types', 'ticket', 'from', 'last', 'onEvent', 'onEvents', 'onState', 'remember', 'share',
  'pauseHidden',
];

/**
 * Checks the names and types of options. An option that is `undefined` counts as omitted.
 *
 * @param {unknown} options
 * @param {string[]} known Names of the options that are accepted.
 * @throws {TypeError} if an option is unknown or has the wrong type
 */
export function checkOptions(options, known) {
  if (Object(options) !== options || Array.isArray(options)) {
    throw new TypeError(`the options must be an object, not ${describe(options)}`);
  }
  for (const [name, value] of Object.entries(/** @type {object} */ (options))) {
    if (!known.includes(name)) {
      throw new TypeError(`unknown option \`${name}\`; did you mean \`${nearestName(name, known)}\`?`);
    }
    const { isValid, expected } = CHECKS[name];
    if (value !== undefined && !isValid(value)) {
      throw new TypeError(`\`${name}\` must be ${expected}, not ${describe(value)}`);
    }
  }
  const { token, ticket } = /** @type {{ token?: unknown, ticket?: unknown }} */ (options);
  if (token && ticket) throw new TypeError('set `token` or `ticket`, not both');
}

/**
 * Returns checked options with `url` and `streams` normalised.
 *
 * @param {SubscriptionOptions} options
 * @returns {NormalizedOptions}
 */
export function normalizeOptions(options) {
  return { ...options, streams: normalizeStreams(options.streams), url: resolveHubUrl(options.url) };
}

/**
 * Returns a list of selectors without duplicates.
 *
 * @param {string | string[] | undefined} streams
 * @throws {TypeError} if the list is empty or a selector is invalid
 */
export function normalizeStreams(streams) {
  const list = [...new Set([streams ?? []].flat())];
  if (list.length === 0) throw new TypeError('`streams` names no stream');
  list.forEach(checkSelector);
  return list;
}

/** Returns a short description of a value for an error. @param {unknown} value */
function describe(value) {
  if (typeof value === 'string' || typeof value === 'number') return JSON.stringify(value);
  if (Array.isArray(value)) return 'a list';
  const name = Object(value) === value ? /** @type {object} */ (value).constructor?.name : '';
  return typeof value === 'object' && value !== null && name ? `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}` : String(typeof value === 'function' ? 'a function' : value);
}

/**
 * Returns the known name that is most like a misspelt one.
 *
 * @param {string} name
 * @param {string[]} known
 */
function nearestName(name, known) {
  const otherName = OTHER_NAMES.get(name);
  if (otherName && known.includes(otherName)) return otherName;
  const distances = known.map((candidate) => editDistance(name.toLowerCase(), candidate.toLowerCase()));
  return known[distances.indexOf(Math.min(...distances))];
}

/** Returns the number of characters to insert, delete or replace (Levenshtein). @param {string} a @param {string} b */
function editDistance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
