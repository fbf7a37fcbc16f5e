// The dashboard: selects the page to show, and fetches the user.

import { setTitle, watchAlerts } from './alerts.js';
import { closePanel, mountPanel } from './connection.js';
import { bannerOfError, clearBanners, showBanner } from './banner.js';
import { clearErrors, h, notify, replaceChildren } from './dom.js';
import { formatTime } from './figures.js';
import { HubError, errorMessage, fetchFeatures, fetchUser, onUnauthorized } from './hub.js';
import { drawLogin, logIn } from './login.js';
import { listenToKeys } from './shortcuts.js';

/**
 * Context of a page.
 *
 * @typedef {object} Context
 * @property {HTMLElement} main Element to draw into.
 * @property {string[]} path Parts of the address after the name of the page.
 * @property {URLSearchParams} query
 * @property {import('./hub.js').User} user
 * @property {() => void} onUserChange Called when the user has logged in or out.
 * @property {AbortSignal} signal Aborted when another page is shown.
 */

/** Functions that draw the pages. A page whose module fails does not affect the others.
 * @type {Record<string, () => Promise<(context: Context) => void | Promise<void>>>} */
const PAGES = {
  overview: async () => (await import('./overview.js')).overview,
  streams: async () => (await import('./streams.js')).streams,
  publish: async () => (await import('./publish.js')).publish,
  sessions: async () => (await import('./sessions.js')).sessions,
  jobs: async () => (await import('./jobs.js')).jobs,
  cluster: async () => (await import('./cluster.js')).cluster,
  access: async () => (await import('./access.js')).access,
};

/** Time before the end of a login at which the user is warned. */
const LOGIN_WARNING_MS = 120_000;
/** Maximum delay of a timer. */
const MAX_TIMER_MS = 2 ** 31;

const main = /** @type {HTMLElement} */ (document.querySelector('main'));
const nav = /** @type {HTMLElement} */ (document.querySelector('nav ul'));
const userLink = h('a', { class: 'user', href: '#/access' });
let pageController = new AbortController();
/** True once a page was shown. */
let hasShownPage = false;
/** @type {import('./hub.js').User | null} */
let user = null;

/** Shows the page that the address names. */
async function showPage() {
  pageController.abort();
  pageController = new AbortController();
  const { signal } = pageController;
  const [page, path, query] = parseLocation();
  setTitle(`${path[0] ?? pageTitle(page)} · Fanfare`);
  for (const link of nav.querySelectorAll('a')) {
    const isCurrent = link.getAttribute('href') === `#/${page}`;
    if (isCurrent) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  clearBanners();
  closePanel();
  for (const link of nav.querySelectorAll('[aria-current]')) link.scrollIntoView({ block: 'nearest', inline: 'center' });
  let loginError = '';
  if (page === 'login' && query.has('key')) {
    // The key must not stay in the history of the browser.
    history.replaceState(null, '', '#/login');
    try {
      await logIn(query.get('key') ?? '');
      user = null;
      channel.postMessage('changed');
    } catch (error) {
      loginError = `The link does not log you in: ${errorMessage(error)}.`;
    }
  }
  try {
    if (!user) {
      user = await fetchUser();
      showClusterLink(user);
      watchAlerts(user);
    }
  } catch (error) {
    if (signal.aborted) return;
    replaceChildren(main);
    // Without a credential the hub answers only to known hosts.
    if (error instanceof HubError && error.status === 421) return drawLogin(main, errorMessage(error), handleUserChange);
    showBanner('user', bannerOfError(error));
    main.append(h('h1', {}, pageTitle(page)), h('button', { type: 'button', onclick: showPage }, 'Try again'));
    return;
  }
  if (signal.aborted) return;
  if (page === 'login' && user.subject) {
    const next = query.get('next') ?? '';
    return void location.replace(next.startsWith('#/') && !next.startsWith('#/login') ? next : '#/overview');
  }
  userLink.textContent = user.subject ?? 'not logged in';
  scheduleLoginWarning(user);
  replaceChildren(main);
  clearErrors();
  const needsLogin = page === 'login' || !user.isKnown;
  if (needsLogin) drawLogin(main, loginError || (user.isKnown ? 'Log in to see what your key or token grants.' : 'This hub requires a login.'), handleUserChange);
  else if (!await drawPage({ main, path, query, user, onUserChange: handleUserChange, signal }, page)) return;
  if (!hasShownPage) return void (hasShownPage = true);
  // Puts screen readers and the keyboard at the beginning of the page.
  const heading = main.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus();
}

/** Draws a page. Returns false if another one is shown meanwhile. @param {Context} context @param {string} page */
async function drawPage(context, page) {
  try {
    const draw = await PAGES[page]();
    if (context.signal.aborted) return false;
    replaceChildren(main);
    await draw(context);
    if (context.signal.aborted) return false;
  } catch (error) {
    if (context.signal.aborted) return false;
    showBanner('page', { kind: 'bad', text: `This page cannot be shown: ${errorMessage(error)}` });
    if (!main.querySelector('h1')) main.prepend(h('h1', {}, pageTitle(page)));
  }
  return true;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let warningTimer;
/** Schedules a warning shortly before a login ends. @param {import('./hub.js').User} user */
function scheduleLoginWarning({ expires_at: expiresAt }) {
  clearTimeout(warningTimer);
  const remainingMs = expiresAt === null ? Infinity : Date.parse(expiresAt) - Date.now();
  // The login ends too late for a timer or never, or it has ended.
  if (remainingMs > MAX_TIMER_MS || remainingMs < 0) return;
  warningTimer = setTimeout(() => {
    notify(`Your login ends at ${formatTime(String(expiresAt))}. Log in again to go on.`, 'bad');
  }, Math.max(0, remainingMs - LOGIN_WARNING_MS));
}

/** Returns the page, path and query of the address. @returns {[string, string[], URLSearchParams]} */
function parseLocation() {
  const [address, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const decode = (/** @type {string} */ part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  const [name = '', ...path] = address.split('/').map(decode);
  return [Object.hasOwn(PAGES, name) || name === 'login' ? name : 'overview', path, new URLSearchParams(search)];
}

const pageTitle = (/** @type {string} */ page) => page[0].toUpperCase() + page.slice(1);

/** Shows the page again, in all tabs, after a login or logout. */
function handleUserChange() {
  user = null;
  channel.postMessage('changed');
  showPage();
}

/** Shows the link to the page of the cluster if the hub belongs to one. @param {import('./hub.js').User} user */
function showClusterLink({ node }) {
  const link = links.get('cluster');
  if (node === null) link?.remove();
  else if (link?.isConnected === false) links.get('access')?.before(link);
}

/** Hides the links to pages that this build of the hub has no feature for. */
async function hideMissingFeatures() {
  const features = await fetchFeatures();
  for (const name of ['jobs', 'chat']) if (features && !features.includes(name)) links.get(name)?.remove();
}

const channel = new BroadcastChannel('fanfare-dashboard');
channel.onmessage = () => {
  user = null;
  showPage();
};
// The login may have ended since the page was opened.
onUnauthorized(() => {
  if (user?.subject) handleUserChange();
});

const link = (/** @type {string} */ href, /** @type {string} */ text) => h('li', {}, h('a', { href }, text));
const links = new Map(Object.keys(PAGES).map((name) => [name, link(`#/${name}`, pageTitle(name))]));
links.set('chat', link('chat', 'Chat')).set('docs', link('docs', 'API'));
replaceChildren(nav, [...links].filter(([name]) => name !== 'cluster').map(([, link]) => link));
hideMissingFeatures();
const header = /** @type {HTMLElement} */ (document.querySelector('header .right'));
mountPanel(header);
header.append(userLink);
// The fragment of the address names the page, so a link to an element cannot use it.
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', showPage);
listenToKeys();
showPage();
