// The dashboard: which page is shown, and who looks at it.

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
 * What a page is given.
 *
 * @typedef {object} Context
 * @property {HTMLElement} main Where it is drawn.
 * @property {string[]} path What follows its name in the address.
 * @property {URLSearchParams} query
 * @property {import('./hub.js').Who} who Who looks at it.
 * @property {() => void} changed That has changed.
 * @property {AbortSignal} signal Another is shown.
 */

/** @type {Record<string, (context: Context) => void>} */
const PAGES = { overview, streams, publish, sessions, jobs, access };

/** Before a login ends; and what a timer can wait for. */
const WARN_MS = 120_000;
const LONGEST_MS = 2 ** 31;

const main = /** @type {HTMLElement} */ (document.querySelector('main'));
const nav = /** @type {HTMLElement} */ (document.querySelector('nav ul'));
const user = h('a', { class: 'user', href: '#/access' });
let shown = new AbortController();
/** Whether a page was shown before. */
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
  // Whoever reads by ear, or by keys, is where the page begins.
  const head = main.querySelector('h1');
  head?.setAttribute('tabindex', '-1');
  head?.focus();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let ending;
/** Says that a login ends, while there is time to do something about it. @param {import('./hub.js').Who} who */
function warn({ expires_at: at }) {
  clearTimeout(ending);
  const left = at === null ? Infinity : Date.parse(at) - Date.now();
  // Otherwise there is nothing to warn of, or nothing more to be done.
  if (left > LONGEST_MS || left < 0) return;
  ending = setTimeout(() => {
    say(`Your login ends at ${clock(String(at))}. Log in again to go on.`, 'bad');
  }, Math.max(0, left - WARN_MS));
}

/** What the address says: a page, what of it, and how. @returns {[string, string[], URLSearchParams]} */
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

/** Somebody logged in or out: in this tab, or in another. */
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
// What was good when the page was opened may have ended since.
onUnauthorized(() => {
  if (who?.subject) changed();
});

replace(nav, [...Object.keys(PAGES).map((name) => h('li', {}, h('a', { href: `#/${name}` }, title(name)))),
  h('li', {}, h('a', { href: 'chat' }, 'Chat')),
  h('li', {}, h('a', { href: 'docs' }, 'API'))]);
const header = /** @type {HTMLElement} */ (document.querySelector('header .right'));
mount(header);
header.append(user);
// The address says which page is shown, so that a link within one cannot be there.
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', show);
show();
