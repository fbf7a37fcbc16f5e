// Base URL of a hub.

/**
 * Returns the base URL of a hub, which ends in a slash; by default the hub that served this module.
 *
 * @param {string | URL | undefined} url
 * @throws {TypeError} if the URL is invalid or not HTTP(S)
 */
export function hubAt(url) {
  const base = globalThis.location?.href ?? import.meta.url;
  const at = new URL(url ?? new URL('..', import.meta.url), base);
  if (!at.pathname.endsWith('/')) at.pathname += '/';
  at.search = at.hash = '';
  if (!/^https?:$/.test(at.protocol)) {
    throw new TypeError(`\`url\` must be the http(s) URL of a hub, not ${at.href}; set it outside of a browser`);
  }
  return at;
}
