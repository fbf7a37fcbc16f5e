// Which streams a subscriber wants, as the hub itself reads it.

/**
 * Whether `selector` means the stream `name`: `*` stands for one part, a last `**` for one or more.
 *
 * @param {string} selector
 * @param {string} name
 */
export function selects(selector, name) {
  if (!selector.includes('*')) return selector === name;
  const wanted = selector.split('.');
  const parts = name.split('.');
  for (const [at, part] of wanted.entries()) {
    if (at >= parts.length) return false;
    if (part === '**') return true;
    if (part !== '*' && part !== parts[at]) return false;
  }
  return parts.length === wanted.length;
}

/** @param {unknown} selector */
export function checkSelector(selector) {
  const refuse = (/** @type {string} */ why) => {
    throw new TypeError(`the selector ${JSON.stringify(selector)}: ${why}`);
  };
  if (typeof selector !== 'string' || selector === '') return refuse('it is no text');
  const parts = selector.split('.');
  parts.forEach((part, at) => {
    if (!part.includes('*')) return;
    if (part !== '*' && part !== '**') refuse('a star must be a whole part');
    if (part === '**' && at < parts.length - 1) refuse('`**` must be the last part');
  });
}
