// Page `Access`: login and logout, and tickets and a token decoder for developers.

import { copyable, field, h, replace, say, write } from './dom.js';
import { ask, HUB, why } from './hub.js';

/** @param {import('./main.js').Context} context */
export function access({ main, who, changed }) {
  main.append(h('h1', {}, 'Access'), h('div', { class: 'columns' },
    h('div', { class: 'stack' }, whoCard(who, changed), ticketCard(who)), decodeCard()));
}

/** @param {string[]} names */
const listed = (names) => (names.length === 0 ? 'nothing' : names.join(', '));

/** @param {import('./hub.js').Who} who @param {() => void} changed */
function whoCard(who, changed) {
  const token = h('input', { name: 'token', type: 'password', required: true, autocomplete: 'current-password', spellcheck: 'false' });
  const wrong = h('span', { class: 'bad', role: 'status' });
  const login = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await ask('session', { method: 'POST', headers: { Authorization: `Bearer ${token.value.trim()}` } });
      token.value = '';
      say('You are logged in.', 'good');
      changed();
    } catch (error) {
      write(wrong, why(error));
    }
  };
  const logout = async () => {
    try {
      await ask('session', { method: 'DELETE' });
    } catch {
      // The refusal of an expired login ends it as well.
    }
    changed();
  };
  return h('section', { class: 'card' },
    h('h2', {}, who.subject ?? 'Not logged in'),
    who.subject || !who.admin ? null : h('p', { class: 'muted' }, 'This hub needs no login: it has no credentials and answers only its own machine.'),
    h('dl', {},
      h('dt', {}, 'reads'), h('dd', {}, listed(who.subscribe)),
      h('dt', {}, 'publishes to'), h('dd', {}, listed(who.publish)),
      h('dt', {}, 'ends'), h('dd', {}, listed(who.end)),
      h('dt', {}, 'chats with'), h('dd', {}, listed(who.chat)),
      h('dt', {}, 'runs'), h('dd', {}, listed(who.run)),
      h('dt', {}, 'downloads from'), h('dd', {}, listed(who.files)),
      h('dt', {}, 'admin'), h('dd', {}, who.admin ? 'yes' : 'no'),
      who.expires_at ? [h('dt', {}, 'until'), h('dd', {}, new Date(who.expires_at).toLocaleString())] : null),
    who.subject ? h('p', {}, h('button', { type: 'button', onclick: logout }, 'Log out')) : null,
    h('form', { class: 'form', onsubmit: login },
      // For password managers.
      h('input', { name: 'username', autocomplete: 'username', value: who.subject ?? 'fanfare', hidden: true }),
      field('An API key or a token', token),
      h('p', { class: 'muted' }, 'It is kept in a cookie that no script can read.'),
      h('div', { class: 'bar' }, h('button', { class: 'main' }, 'Log in'), wrong)));
}

/** @param {import('./hub.js').Who} who */
function ticketCard(who) {
  const streams = h('input', { name: 'streams', required: true, value: 'builds.*', autocomplete: 'off', spellcheck: 'false' });
  const ttl = h('input', { name: 'ttl', value: '10m', size: 6, autocomplete: 'off' });
  const made = h('div', { 'aria-live': 'polite' });
  const mint = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const wanted = streams.value.split(/[\s,]+/).filter(Boolean);
    try {
      const { ticket, expires_at: until } = await ask('tickets', { method: 'POST', body: { streams: wanted, ttl: ttl.value } });
      const query = new URLSearchParams([...wanted.map((/** @type {string} */ stream) => ['stream', stream]), ['ticket', ticket]]);
      replace(made, h('p', { class: 'good' }, `For new connections until ${new Date(until).toLocaleTimeString()}:`),
        copyable(`new EventSource('${new URL(`events?${query}`, HUB).href}')`),
        h('p', { class: 'muted' }, 'Events with a type need addEventListener(type, …); onmessage gets only those without.'));
    } catch (error) {
      replace(made, h('p', { class: 'bad' }, why(error)));
    }
  };
  return h('section', { class: 'card' }, h('h2', {}, 'Ticket for an EventSource'),
    h('p', { class: 'muted' }, `An EventSource sends no header; a ticket stands in its URL, reads only, and no more than ${who.subject ?? 'you'} may.`),
    h('form', { class: 'form', onsubmit: mint }, field('Streams', streams), field('Valid for', ttl), h('button', {}, 'Make a ticket')), made);
}

/** Decodes a token in the page, which sends it nowhere. */
function decodeCard() {
  const token = h('textarea', { name: 'jwt', rows: 4, spellcheck: 'false', autocomplete: 'off' });
  const said = h('div', { 'aria-live': 'polite' });
  const part = (/** @type {string} */ text) => {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  };
  const time = (/** @type {any} */ at) => (typeof at === 'number' ? new Date(at * 1000).toLocaleString() : '–');
  token.addEventListener('input', () => {
    const parts = token.value.trim().split('.');
    if (token.value.trim() === '') return replace(said);
    try {
      if (parts.length !== 3) throw new Error('a JWT has three parts with dots between them');
      const [head, claims] = [part(parts[0]), part(parts[1])];
      const left = claims.exp * 1000 - Date.now();
      const grants = claims.fanfare;
      replace(said,
        claims.nbf * 1000 > Date.now() ? h('p', { class: 'bad' }, `Not valid before ${time(claims.nbf)}.`) : null,
        h('p', { class: left > 0 ? 'good' : 'bad' }, claims.exp === undefined ? 'No expiry (`exp`): the hub rejects it.' : left > 0 ? `Valid until ${time(claims.exp)}.` : `Expired at ${time(claims.exp)}.`),
        grants === undefined ? h('p', { class: 'bad' }, 'It grants nothing: there is no claim `fanfare`.') : null,
        h('pre', { class: 'command' }, JSON.stringify(head, null, 2), '\n', JSON.stringify(claims, null, 2)),
        h('p', { class: 'muted' }, 'Only the hub can verify the signature.'));
    } catch (error) {
      replace(said, h('p', { class: 'bad' }, `This is no token that can be read: ${why(error)}`));
    }
  });
  return h('section', { class: 'card form' }, h('h2', {}, 'Decode a token'),
    field('A JWT; it is read here and sent nowhere', token), said);
}
