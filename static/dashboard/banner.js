// Banner of a page: what is wrong, and what can be done about it.

import { h, replaceChildren } from './dom.js';
import { formatTime } from './figures.js';
import { HubError, errorMessage, isLoggedIn } from './hub.js';
import { limitName, settingName } from './limits.js';

/**
 * @typedef {object} Banner
 * @property {'bad' | 'warn' | 'info'} kind
 * @property {string} text
 * @property {{ text: string, href: string }} [link]
 */

/** Banners by their source. @type {Map<string, Banner>} */
const banners = new Map();

/**
 * Shows a banner, or removes it. Each source has one.
 *
 * @param {string} source
 * @param {Banner | null} banner
 */
export function showBanner(source, banner) {
  const shown = banners.get(source);
  if (JSON.stringify(shown) === JSON.stringify(banner ?? undefined)) return;
  if (banner) banners.set(source, banner);
  else banners.delete(source);
  draw();
}

/** Removes all banners, because another page is shown. */
export function clearBanners() {
  if (banners.size === 0) return;
  banners.clear();
  draw();
}

function draw() {
  const element = document.getElementById('banner');
  if (!element) return;
  element.hidden = banners.size === 0;
  // Two sources often report the same.
  const unique = new Map([...banners.values()].map((banner) => [banner.text, banner]));
  replaceChildren(element, [...unique.values()].map(({ kind, text, link }) => h('p', { class: `banner ${kind}` }, text,
    link ? [' ', h('a', { href: link.href }, link.text)] : null)));
}

/** Shows that the user may not see something on this page. @param {string} text */
export const showForbidden = (text) => showBanner('page', { kind: 'bad', text, link: loginLink() });

/** Returns the link to the login, from which one returns to this page. */
export const loginLink = () => (isLoggedIn()
  ? { text: 'Log in as another user', href: '#/access' }
  : { text: 'Log in', href: `#/login?${new URLSearchParams({ next: location.hash })}` });

/** Returns the name of a limit with that of its setting. @param {string} limit */
const describeLimit = (limit) => `${limitName(limit)} (${settingName(limit)})`;

/**
 * Returns the banner of a refusal.
 *
 * @param {{ status?: number, code?: string, detail?: string, limit?: string }} refusal
 * @returns {Banner}
 */
function bannerOfRefusal({ status, code, detail, limit }) {
  const reason = detail ? `: ${detail}` : '';
  const limitText = limit ?? detail?.match(/the limit (\w+) is reached/)?.[1];
  if (limitText) return { kind: 'bad', text: `Refused: the limit ${describeLimit(limitText)} is reached.` };
  if (status === 401) return { kind: 'bad', text: `This needs a login${reason}.`, link: loginLink() };
  if (status === 403) return { kind: 'bad', text: `Not permitted${reason}.`, link: loginLink() };
  if (status === 410) return { kind: 'info', text: `Gone${reason}.` };
  if (status === 404) return { kind: 'bad', text: `Not found${reason}.` };
  if (status === 503 && code === 'draining') return { kind: 'warn', text: 'The hub is stopping.' };
  return { kind: 'bad', text: status ? `The hub refused the request with ${status}${reason}.` : `Refused${reason || (code ? `: ${code}` : '')}.` };
}

/**
 * Returns the banner of a failed request.
 *
 * @param {unknown} error
 * @param {number} [since] Time up to which the page is current.
 * @returns {Banner}
 */
export function bannerOfError(error, since) {
  const age = since === undefined ? '' : ` This page is as of ${formatTime(since)}.`;
  const banner = error instanceof HubError ? bannerOfRefusal({ ...error, detail: errorMessage(error) }) : error instanceof TypeError || error instanceof DOMException
    ? { kind: /** @type {const} */ ('bad'), text: `The hub does not answer (${errorMessage(error)}).` }
    : { kind: /** @type {const} */ ('bad'), text: `${errorMessage(error)}.` };
  return { ...banner, text: banner.text + age };
}

/**
 * Returns the banner of a subscription's state, or null if there is nothing to report.
 *
 * @param {import('../fanfare.d.ts').State} state
 * @param {string} [endReason] Reason of the end of the last stream.
 * @returns {Banner | null}
 */
export function bannerOfState(state, endReason) {
  switch (state.state) {
    case 'refused': return bannerOfRefusal(state);
    case 'expired': return { kind: 'bad', text: 'Your login has ended.', link: loginLink() };
    case 'ended': return { kind: 'info', text: endReason === 'deleted' ? 'Gone: the stream was deleted.' : 'The stream has ended. No event follows.' };
    case 'offline': return { kind: 'warn', text: 'This computer has no network. The page continues once it has.' };
    case 'live': return state.denied.length === 0 ? null
      : { kind: 'warn', text: `Not permitted, and therefore not shown: ${state.denied.join(', ')}.`, link: loginLink() };
    case 'waiting': {
      const seconds = `${Math.max(1, Math.round(state.delay / 1000))} s`;
      if (state.limit) return { kind: 'bad', text: `Refused: the limit ${describeLimit(state.limit)} is reached. The next attempt is in ${seconds}.` };
      if (state.reason === 'isolated') return { kind: 'warn', text: 'The hub is cut off from the log of its cluster. The page continues once it is back, or at another hub.' };
      if (state.reason === 'draining') return { kind: 'warn', text: 'The hub is stopping or restarting. The page continues once it is back.' };
      // A single lost connection is usually back at once; the header shows it.
      return state.attempt < 2 && state.reason === 'lost' ? null
        : { kind: 'warn', text: 'The hub does not answer. The page continues once it is back.' };
    }
    default: return null;
  }
}
