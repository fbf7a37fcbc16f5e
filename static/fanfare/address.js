// Base URL of a hub.

/**
 * Returns the base URL of a hub, which ends in a slash; by default the hub that served this module.
 *
 * @param {string | URL | undefined} url
 * @throws {TypeError} if the URL is invalid or not HTTP(S)
 */
export function resolveHubUrl(url) {
  const base = globalThis.location?.href ?? import.meta.url;
  const hubUrl = new URL(url ?? new URL('..', import.meta.url), base);
  if (!hubUrl.pathname.endsWith('/')) hubUrl.pathname += '/';
  hubUrl.search = hubUrl.hash = '';
  if (!/^https?:$/.test(hubUrl.protocol)) {
    throw new TypeError(`\`url\` must be the http(s) URL of a hub, not ${hubUrl.href}; set it outside of a browser`);
  }
  return hubUrl;
}
