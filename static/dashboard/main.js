// The dashboard: selects the page to show, and keeps the user.

import { access } from './access.js';
import { leave, mount } from './connection.js';
import { h, quiet, replace, say, stale } from './dom.js';
import { clock } from './figures.js';
import { onUnauthorized, who as ask, why } from './hub.js';
import { jobs } from './jobs.js';
import { overview } from './overview.js';
import { publish } from './publish.js';
import { sessions } from './sessions.js';
import { streams } from './streams.js';

/**
 * Context of a page.
 *
 * @typedef {object} Context
 * @property {HTMLElement} main Element to draw into.
 * @property {string[]} path Parts of the address after the name of the page.
 * @property {URLSearchParams} query
 * @property {import('./hub.js').Who} who The user.
 * @property {() => void} changed Called when the user has logged in or out.
 * @property {AbortSignal} signal Aborted when another page is shown.
 */

/** @type {Record<string, (context: Context) => void>} */
const PAGES = { overview, streams, publish, sessions, jobs, access };

/** Time before the end of a login at which the user is warned, and maximum delay of a timer. */
const WARN_MS = 120_000;
const LONGEST_MS = 2 ** 31;

const main = /** @type {HTMLElement} */ (document.querySelector('main'));
const nav = /** @type {HTMLElement} */ (document.querySelector('nav ul'));
const user = h('a', { class: 'user', href: '#/access' });
let shown = new AbortController();
/** True once a page was shown. */
let isOpen = false;
/** @type {import('./hub.js').Who | null} */
let who = null;

async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const [page, path, query] = where();
  document.title = `${path[0] ?? title(page)} · Fanfare`;
  for (const link of nav.querySelectorAll('a')) {
    const isHere = link.getAttribute('href') === `#/${page}`;
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  stale('');
  leave();
  for (const link of nav.querySelectorAll('[aria-current]')) link.scrollIntoView({ block: 'nearest', inline: 'center' });
  try {
    who ??= await ask();
  } catch (error) {
    if (signal.aborted) return;
    replace(main, h('p', { class: 'bad' }, `The hub does not answer: ${why(error)}`),
      h('button', { type: 'button', onclick: show }, 'Try again'));
    return;
  }
  if (signal.aborted) return;
  user.textContent = who.subject ?? 'not logged in';
  warn(who);
  replace(main);
  quiet();
  PAGES[page]({ main, path, query, who, changed, signal });
  if (!isOpen) return void (isOpen = true);
  // Puts screen readers and the keyboard at the beginning of the page.
  const head = main.querySelector('h1');
  head?.setAttribute('tabindex', '-1');
  head?.focus();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let ending;
/** Shows a warning shortly before a login ends. @param {import('./hub.js').Who} who */
function warn({ expires_at: at }) {
  clearTimeout(ending);
  const left = at === null ? Infinity : Date.parse(at) - Date.now();
  // The login ends too late for a timer or never, or it has ended.
  if (left > LONGEST_MS || left < 0) return;
  ending = setTimeout(() => {
    say(`Your login ends at ${clock(String(at))}. Log in again to go on.`, 'bad');
  }, Math.max(0, left - WARN_MS));
}

/** Returns the page, path and query of the address. @returns {[string, string[], URLSearchParams]} */
function where() {
  const [address, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const decoded = (/** @type {string} */ part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  const [name = '', ...path] = address.split('/').map(decoded);
  return [Object.hasOwn(PAGES, name) ? name : 'overview', path, new URLSearchParams(search)];
}

const title = (/** @type {string} */ page) => page[0].toUpperCase() + page.slice(1);

/** Shows the page anew after a login or logout, in all tabs. */
function changed() {
  who = null;
  others.postMessage('changed');
  show();
}

const others = new BroadcastChannel('fanfare-dashboard');
others.onmessage = () => {
  who = null;
  show();
};
// The login may have ended since the page was opened.
onUnauthorized(() => {
  if (who?.subject) changed();
});

replace(nav, [...Object.keys(PAGES).map((name) => h('li', {}, h('a', { href: `#/${name}` }, title(name)))),
  h('li', {}, h('a', { href: 'chat' }, 'Chat')),
  h('li', {}, h('a', { href: 'docs' }, 'API'))]);
const header = /** @type {HTMLElement} */ (document.querySelector('header .right'));
mount(header);
header.append(user);
// The fragment of the address names the page, so a link to an element cannot use it.
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', show);
show();
