// Matches stream names against selectors, by the same rule as the hub.

/** @import { FanfareEvent } from '../fanfare.d.ts' */

/** Returns the first part of a name or pattern that has several parts, otherwise ''. @param {string} text */
const namespaceOf = (text) => (text.includes('.') ? text.slice(0, text.indexOf('.')) : '');

/**
 * Returns true if `selector` matches the stream `name`.
 *
 * `*` matches one part, a final `**` one or more. No wildcard matches `chat.…`, and only a pattern that
 * begins with `hub.` matches `hub.…`.
 *
 * @param {string} selector
 * @param {string} name
 */
export function selects(selector, name) {
  if (!selector.includes('*')) return selector === name;
  if (namespaceOf(name) === 'chat' || (namespaceOf(name) === 'hub' && namespaceOf(selector) !== 'hub')) return false;
  const patternParts = selector.split('.');
  const nameParts = name.split('.');
  for (const [index, part] of patternParts.entries()) {
    if (index >= nameParts.length) return false;
    if (part === '**') return true;
    if (part !== '*' && part !== nameParts[index]) return false;
  }
  return nameParts.length === patternParts.length;
}

/**
 * Returns an event with only those of its streams that are selected, or null if none is.
 *
 * @param {FanfareEvent} event
 * @param {string[]} selectors
 * @returns {FanfareEvent | null}
 */
export function narrowEvent(event, selectors) {
  const streams = event.streams.filter((name) => selectors.some((selector) => selects(selector, name)));
  return streams.length > 0 ? { ...event, stream: streams[0], streams } : null;
}

/**
 * Returns the part of a connection's grants that concerns the selectors of one of its subscriptions.
 *
 * @param {string[]} selectors
 * @param {{ granted: string[] | null, denied: string[] }} grants
 */
export function grantsOf(selectors, { granted, denied }) {
  const ownDenied = denied.filter((selector) => selectors.includes(selector));
  if (granted === null || ownDenied.length === 0) return { granted: null, denied: [] };
  const isOwn = (/** @type {string} */ grant) => selectors.some((selector) => selector === grant || selects(selector, grant));
  return { granted: granted.filter(isOwn), denied: ownDenied };
}

/**
 * Throws if the hub would refuse the selector, because a refusal would end a shared connection.
 *
 * @param {unknown} selector
 */
export function checkSelector(selector) {
  const fail = (/** @type {string} */ reason) => {
    throw new TypeError(`the selector ${JSON.stringify(selector)}: ${reason}`);
  };
  if (typeof selector !== 'string' || selector === '') return fail('must be a non-empty string');
  if (new TextEncoder().encode(selector).length > 255) fail('it has more than 255 bytes');
  if (/[\s\u0000-\u001f\u007f-\u009f]/.test(selector)) fail('it has spaces or control characters');
  if (!selector.includes('*')) return;
  if (namespaceOf(selector) === 'chat') fail('no wildcard reaches a chat');
  const parts = selector.split('.');
  parts.forEach((part, index) => {
    if (part === '') fail('a part between dots must not be empty');
    if (part.includes('*') && part !== '*' && part !== '**') fail('a star must be a whole part');
    if (part === '**' && index < parts.length - 1) fail('`**` must be the last part');
  });
}
