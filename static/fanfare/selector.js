// Matches stream names against selectors, by the same rule as the hub.

/** Returns the first part of a name or pattern with several parts. @param {string} text */
const above = (text) => (text.includes('.') ? text.slice(0, text.indexOf('.')) : '');

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
  if (above(name) === 'chat' || (above(name) === 'hub' && above(selector) !== 'hub')) return false;
  const wanted = selector.split('.');
  const parts = name.split('.');
  for (const [at, part] of wanted.entries()) {
    if (at >= parts.length) return false;
    if (part === '**') return true;
    if (part !== '*' && part !== parts[at]) return false;
  }
  return parts.length === wanted.length;
}

/**
 * Throws if a hub would refuse the selector: a refusal would end a connection that others share.
 *
 * @param {unknown} selector
 */
export function checkSelector(selector) {
  const refuse = (/** @type {string} */ why) => {
    throw new TypeError(`the selector ${JSON.stringify(selector)}: ${why}`);
  };
  if (typeof selector !== 'string' || selector === '') return refuse('must be a non-empty string');
  if (new TextEncoder().encode(selector).length > 255) refuse('it has more than 255 bytes');
  if (/[\s\u0000-\u001f\u007f-\u009f]/.test(selector)) refuse('it has spaces or control characters');
  if (!selector.includes('*')) return;
  if (above(selector) === 'chat') refuse('no wildcard reaches a chat');
  const parts = selector.split('.');
  parts.forEach((part, at) => {
    if (part === '') refuse('a part between dots must not be empty');
    if (part.includes('*') && part !== '*' && part !== '**') refuse('a star must be a whole part');
    if (part === '**' && at < parts.length - 1) refuse('`**` must be the last part');
  });
}
