// Who reads: for admins, who may end it.

import { follow } from './connection.js';
import { field, h, keepRows, say } from './dom.js';
import { bytes, clock, count } from './figures.js';
import { ask, every } from './hub.js';

const ASK_MS = 2_000;
const SHOWN = 200;

/** @param {import('./main.js').Context} context */
export function sessions({ main, who, signal }) {
  main.append(h('h1', {}, 'Sessions'));
  follow({ streams: 'heartbeats', signal });
  if (!who.admin) {
    main.append(h('p', {}, 'Who reads is shown to admins. ', h('a', { href: '#/access' }, 'Log in'), ' as one to see it.'));
    return;
  }
  const rows = h('tbody');
  const filters = ['stream', 'subject', 'address'].map((name) => h('input', { name, type: 'search', autocomplete: 'off', spellcheck: 'false' }));
  const more = h('p', { class: 'muted' });
  const end = async (/** @type {string} */ id) => {
    try {
      await ask(`sessions/${id}`, { method: 'DELETE' });
      say('The session is ended; its reader may come back.', 'good');
      await look();
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), 'bad');
    }
  };
  const look = async () => {
    const query = new URLSearchParams({ limit: String(SHOWN) });
    for (const input of filters) if (input.value !== '') query.set(input.name, input.value);
    const { sessions, next, silent_workers: silent } = await ask(`sessions?${query}`, { signal });
    keepRows(rows, sessions, (/** @type {any} */ { id }) => id, (/** @type {any} */ session) => [
      h('code', {}, session.id.slice(0, 8)),
      h('span', {}, session.streams.join(', ')),
      h('span', {}, session.subject ?? '–'),
      h('span', {}, session.address),
      clock(session.since),
      session.lag === null ? '– (catching up)' : `${count(session.lag)} ms`,
      bytes(session.queued_bytes),
      count(session.sent_events),
      session.resume,
      h('button', { type: 'button', onclick: () => end(session.id) }, 'Disconnect'),
    ]);
    more.textContent = [
      sessions.length === 0 ? 'There is none.' : '',
      next ? `There are more than ${SHOWN}.` : '',
      silent > 0 ? `${silent} worker threads have not answered; theirs are missing.` : '',
    ].join(' ');
  };
  for (const input of filters) input.addEventListener('input', () => look().catch((error) => say(error.message, 'bad')));
  main.append(
    h('div', { class: 'bar' }, filters.map((input) => field(input.name, input))),
    h('div', { class: 'scroll' }, h('table', {},
      h('caption', { class: 'unseen' }, 'Sessions'),
      h('thead', {}, h('tr', {}, ['session', 'streams', 'subject', 'address', 'since', 'lag', 'queued', 'sent', 'resume', ''].map((head) => h('th', { scope: 'col' }, head)))),
      rows)),
    more);
  every(signal, ASK_MS, look);
}
