// Page `Access`: login and logout, and tickets and a token decoder for developers.

import { copyable, field, h, replaceChildren } from './dom.js';
import { formatTime } from './figures.js';
import { HUB, errorMessage, request } from './hub.js';
import { loginForm } from './login.js';

/** @param {import('./main.js').Context} context */
export function access({ main, user, onUserChange }) {
  main.append(h('h1', {}, 'Access'), h('div', { class: 'columns' },
    h('div', { class: 'stack' }, userCard(user, onUserChange), ticketCard(user)), decodeCard()));
}

/** @param {string[]} names */
const joinNames = (names) => (names.length === 0 ? 'nothing' : names.join(', '));

/** @param {import('./hub.js').User} user @param {() => void} onUserChange */
function userCard(user, onUserChange) {
  const logout = async () => {
    try {
      await request('session', { method: 'DELETE' });
    } catch {
      // The refusal of an expired login ends it as well.
    }
    onUserChange();
  };
  return h('section', { class: 'card' },
    h('h2', {}, user.subject ?? 'Not logged in'),
    user.subject || !user.admin ? null : h('p', { class: 'muted' }, 'This hub needs no login: it has no credentials and answers only its own machine.'),
    h('dl', {},
      h('dt', {}, 'reads'), h('dd', {}, joinNames(user.subscribe)),
      h('dt', {}, 'publishes to'), h('dd', {}, joinNames(user.publish)),
      h('dt', {}, 'ends'), h('dd', {}, joinNames(user.end)),
      h('dt', {}, 'chats with'), h('dd', {}, joinNames(user.chat)),
      h('dt', {}, 'runs'), h('dd', {}, joinNames(user.run)),
      h('dt', {}, 'downloads from'), h('dd', {}, joinNames(user.files)),
      h('dt', {}, 'admin'), h('dd', {}, user.admin ? 'yes' : 'no'),
      user.expires_at ? [h('dt', {}, 'until'), h('dd', {}, formatTime(user.expires_at))] : null),
    user.subject ? h('p', {}, h('button', { type: 'button', onclick: logout }, 'Log out')) : null,
    loginForm(onUserChange, user.subject ?? undefined));
}

/** @param {import('./hub.js').User} user */
function ticketCard(user) {
  const streams = h('input', { name: 'streams', required: true, value: 'builds.*', autocomplete: 'off', spellcheck: 'false' });
  const ttl = h('input', { name: 'ttl', value: '10m', size: 6, autocomplete: 'off' });
  const ticketOutput = h('div', { 'aria-live': 'polite' });
  const createTicket = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const selectors = streams.value.split(/[\s,]+/).filter(Boolean);
    try {
      const { ticket, expires_at: expiresAt } = await request('tickets', { method: 'POST', body: { streams: selectors, ttl: ttl.value } });
      const query = new URLSearchParams([...selectors.map((/** @type {string} */ stream) => ['stream', stream]), ['ticket', ticket]]);
      replaceChildren(ticketOutput, h('p', { class: 'good' }, `For new connections until ${formatTime(expiresAt)}:`),
        copyable(`new EventSource('${new URL(`events?${query}`, HUB).href}')`),
        h('p', { class: 'muted' }, 'Events with a type need addEventListener(type, …); onmessage gets only those without.'));
    } catch (error) {
      replaceChildren(ticketOutput, h('p', { class: 'bad' }, errorMessage(error)));
    }
  };
  return h('section', { class: 'card' }, h('h2', {}, 'Ticket for an EventSource'),
    h('p', { class: 'muted' }, `An EventSource sends no header; a ticket stands in its URL, reads only, and no more than ${user.subject ?? 'you'} may.`),
    h('form', { class: 'form', onsubmit: createTicket }, field('Streams', streams), field('Valid for', ttl), h('button', {}, 'Make a ticket')), ticketOutput);
}

/** Decodes a token in the page, which sends it nowhere. */
function decodeCard() {
  const token = h('textarea', { name: 'jwt', rows: 4, spellcheck: 'false', autocomplete: 'off' });
  const output = h('div', { 'aria-live': 'polite' });
  const decodePart = (/** @type {string} */ text) => {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  };
  const time = (/** @type {any} */ seconds) => (typeof seconds === 'number' ? formatTime(seconds * 1000) : '–');
  token.addEventListener('input', () => {
    const parts = token.value.trim().split('.');
    if (token.value.trim() === '') return replaceChildren(output);
    try {
      if (parts.length !== 3) throw new Error('a JWT has three parts with dots between them');
      const [head, claims] = [decodePart(parts[0]), decodePart(parts[1])];
      const remainingMs = claims.exp * 1000 - Date.now();
      const grants = claims.fanfare;
      replaceChildren(output,
        claims.nbf * 1000 > Date.now() ? h('p', { class: 'bad' }, `Not valid before ${time(claims.nbf)}.`) : null,
        h('p', { class: remainingMs > 0 ? 'good' : 'bad' }, claims.exp === undefined ? 'No expiry (`exp`): the hub rejects it.' : remainingMs > 0 ? `Valid until ${time(claims.exp)}.` : `Expired at ${time(claims.exp)}.`),
        grants === undefined ? h('p', { class: 'bad' }, 'It grants nothing: there is no claim `fanfare`.') : null,
        h('pre', { class: 'command' }, JSON.stringify(head, null, 2), '\n', JSON.stringify(claims, null, 2)),
        h('p', { class: 'muted' }, 'Only the hub can verify the signature.'));
    } catch (error) {
      replaceChildren(output, h('p', { class: 'bad' }, `The token cannot be read: ${errorMessage(error)}`));
    }
  });
  return h('section', { class: 'card form' }, h('h2', {}, 'Decode a token'),
    field('A JWT; it is read here and sent nowhere', token), output);
}
