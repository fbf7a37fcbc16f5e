// Where a hub is.

/**
 * The folder of a hub's paths, with a slash at its end: where this module came from, unless named.
 *
 * @param {string | URL | undefined} url
 * @throws {TypeError} where no hub can be there
 */
export function hubAt(url) {
  const base = globalThis.location?.href ?? import.meta.url;
  const at = new URL(url ?? new URL('..', import.meta.url), base);
  if (!at.pathname.endsWith('/')) at.pathname += '/';
  at.search = at.hash = '';
  if (!/^https?:$/.test(at.protocol)) throw new TypeError(`\`url\` names no hub: ${at.href}`);
  return at;
}
