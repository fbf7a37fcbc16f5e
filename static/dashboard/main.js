// The dashboard: which page is shown, and who looks at it.

import { access } from './access.js';
import { mount } from './connection.js';
import { h, replace } from './dom.js';
import { who as ask } from './hub.js';
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

const main = /** @type {HTMLElement} */ (document.querySelector('main'));
const nav = /** @type {HTMLElement} */ (document.querySelector('nav ul'));
const user = h('a', { class: 'user', href: '#/access' });
let shown = new AbortController();
/** @type {import('./hub.js').Who | null} */
let who = null;

async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const [address, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', ...path] = address.split('/').map(decodeURIComponent);
  const page = PAGES[name] ? name : 'overview';
  document.title = `${path[0] ?? page[0].toUpperCase() + page.slice(1)} · Fanfare`;
  for (const link of nav.querySelectorAll('a')) {
    const isHere = link.getAttribute('href') === `#/${page}`;
    if (isHere) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  try {
    who ??= await ask();
  } catch (error) {
    if (signal.aborted) return;
    replace(main, h('p', { class: 'bad' }, `The hub does not answer: ${error instanceof Error ? error.message : error}`),
      h('button', { type: 'button', onclick: show }, 'Try again'));
    return;
  }
  if (signal.aborted) return;
  user.textContent = who.subject ?? 'not logged in';
  replace(main);
  PAGES[page]({ main, path, query: new URLSearchParams(search), who, changed, signal });
  if (document.activeElement?.closest('nav')) main.focus();
}

function changed() {
  who = null;
  show();
}

replace(nav, [...Object.keys(PAGES).map((name) => h('li', {}, h('a', { href: `#/${name}` }, name[0].toUpperCase() + name.slice(1)))),
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
