// Page `Sessions`: lists and disconnects sessions, for admins.

import { field, h, keepRows, say, table, write } from './dom.js';
import { bytes, clock, count } from './figures.js';
import { ask, every, settled, why } from './hub.js';
import { pages } from './pages.js';

const ASK_MS = 2_000;
/** Number of sessions requested, and of those shown: the ones that lag most. */
const LOOKED_AT = 1_000;
const SHOWN = 200;

/** @param {import('./main.js').Context} context */
export function sessions({ main, who, signal }) {
  main.append(h('h1', {}, 'Sessions'));
  if (!who.admin) {
    main.append(h('p', {}, 'Only admins can see sessions. ', h('a', { href: '#/access' }, 'Log in'), ' as an admin.'));
    return;
  }
  const filters = ['stream', 'subject', 'address'].map((name) => h('input', { name, type: 'search', autocomplete: 'off', spellcheck: 'false' }));
  const list = table('Sessions', ['session', 'streams', 'subject', 'address', ['since'], ['behind'], ['queued'], ['sent'], 'resume', '']);
  const more = h('span', { class: 'muted' });
  const part = pages(`Next ${count(LOOKED_AT)}`, () => look());
  const end = async (/** @type {string} */ id) => {
    try {
      await ask(`sessions/${id}`, { method: 'DELETE' });
      say('Session closed; its client may reconnect.', 'good');
      await look();
    } catch (error) {
      if (!signal.aborted) say(why(error), 'bad');
    }
  };
  let turn = 0;
  const look = async () => {
    const mine = turn += 1;
    const query = new URLSearchParams({ limit: String(LOOKED_AT) });
    const after = part.after();
    if (after !== null) query.set('after', after);
    for (const input of filters) if (input.value !== '') query.set(input.name, input.value);
    const { sessions, next, silent_workers: silent } = await ask(`sessions?${query}`, { signal });
    if (mine !== turn) return;
    part.came(next);
    const behind = (/** @type {any} */ { lag }) => (lag === null ? Infinity : lag);
    sessions.sort((/** @type {any} */ a, /** @type {any} */ b) => behind(b) - behind(a) || b.queued_bytes - a.queued_bytes || a.since.localeCompare(b.since));
    keepRows(list.body, sessions.slice(0, SHOWN), (/** @type {any} */ { id }) => id, (/** @type {any} */ session) => [
      h('code', { title: session.id }, session.id.slice(0, 8)),
      h('span', {}, session.streams.join(', ')),
      h('span', {}, session.subject ?? '–'),
      h('span', {}, session.address),
      clock(session.since),
      session.lag === null ? '– catching up' : `${count(session.lag)} ms`,
      bytes(session.queued_bytes),
      count(session.sent_events),
      session.resume,
      h('button', { type: 'button', 'aria-label': `Disconnect ${session.id.slice(0, 8)}`, onclick: () => end(session.id) }, 'Disconnect'),
    ]);
    write(more, [
      sessions.length === 0 ? 'No sessions.' : '',
      sessions.length > SHOWN ? `These are ${SHOWN} of ${count(sessions.length)}, those that are behind most.` : '',
      next === null ? '' : 'There are more.',
      silent > 0 ? `${silent} worker threads have not answered; theirs are missing.` : '',
    ].join(' '));
  };
  const refilter = settled(look);
  for (const input of filters) {
    input.addEventListener('input', () => {
      part.first();
      refilter();
    });
  }
  main.append(h('div', { class: 'bar' }, filters.map((input) => field(input.name, input))), list.element, h('p', { class: 'bar' }, more, part.buttons));
  every(signal, ASK_MS, look);
}
