// Page `Sessions`: lists and disconnects sessions, for admins.

import { showForbidden } from './banner.js';
import { field, h, notify, setText, table, updateRows } from './dom.js';
import { formatBytes, formatCount, formatTime } from './figures.js';
import { debounce, errorMessage, poll, request } from './hub.js';
import { createPager } from './pages.js';

const POLL_INTERVAL_MS = 2_000;
/** Maximum number of sessions requested. */
const MAX_REQUESTED = 1_000;
/** Maximum number of sessions shown: those that lag most. */
const MAX_ROWS = 200;

/** @param {import('./main.js').Context} context */
export function sessions({ main, user, signal }) {
  main.append(h('h1', {}, 'Sessions'));
  if (!user.admin) {
    showForbidden('Only admins can see sessions.');
    return;
  }
  const filters = ['stream', 'subject', 'address'].map((name) => h('input', { name, type: 'search', 'data-search': name === 'stream', autocomplete: 'off', spellcheck: 'false' }));
  const list = table('Sessions', ['session', ...(user.node ? ['hub'] : []), 'streams', 'subject', 'address', ['since'], ['behind'], ['queued'], ['sent'], 'resume', '']);
  const more = h('span', { class: 'muted' });
  const pager = createPager(`Next ${formatCount(MAX_REQUESTED)}`, () => refresh());
  const disconnect = async (/** @type {string} */ id) => {
    try {
      await request(`sessions/${id}`, { method: 'DELETE' });
      notify('Session closed; its client may reconnect.', 'good');
      await refresh();
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };
  let latestRequest = 0;
  const refresh = async () => {
    const thisRequest = latestRequest += 1;
    const query = new URLSearchParams({ limit: String(MAX_REQUESTED) });
    const after = pager.after();
    if (after !== null) query.set('after', after);
    for (const input of filters) if (input.value !== '') query.set(input.name, input.value);
    const { sessions, next, silent_workers: silentWorkers, silent_hubs: silentHubs } = await request(`sessions?${query}`, { signal });
    if (thisRequest !== latestRequest) return;
    pager.update(next);
    const lagOf = (/** @type {any} */ { lag }) => (lag === null ? Infinity : lag);
    sessions.sort((/** @type {any} */ a, /** @type {any} */ b) => lagOf(b) - lagOf(a) || b.queued_bytes - a.queued_bytes || a.since.localeCompare(b.since));
    updateRows(list.body, sessions.slice(0, MAX_ROWS), (/** @type {any} */ { id }) => id, (/** @type {any} */ session) => [
      h('code', { title: session.id }, session.id.slice(0, 8)),
      ...(user.node ? [session.hub] : []),
      h('span', {}, session.streams.join(', ')),
      h('span', {}, session.subject ?? '–'),
      h('span', {}, session.address),
      formatTime(session.since),
      session.lag === null ? '– catching up' : `${formatCount(session.lag)} ms`,
      formatBytes(session.queued_bytes),
      formatCount(session.sent_events),
      session.resume,
      h('button', { type: 'button', 'aria-label': `Disconnect ${session.id.slice(0, 8)}`, onclick: () => disconnect(session.id) }, 'Disconnect'),
    ]);
    setText(more, [
      sessions.length === 0 ? 'No sessions.' : '',
      sessions.length > MAX_ROWS ? `Showing ${MAX_ROWS} of ${formatCount(sessions.length)}, the furthest behind first.` : '',
      next === null ? '' : 'More sessions are on the next page.',
      silentWorkers > 0 ? `${silentWorkers} worker threads have not answered; their sessions are missing.` : '',
      silentHubs.length > 0 ? `Hubs that have not answered: ${silentHubs.join(', ')}; their sessions are missing.` : '',
    ].join(' '));
  };
  const refilter = debounce(refresh);
  for (const input of filters) {
    input.addEventListener('input', () => {
      pager.first();
      refilter();
    });
  }
  main.append(h('div', { class: 'bar' }, filters.map((input) => field(input.name, input))), list.element, h('p', { class: 'bar' }, more, pager.buttons));
  poll(signal, POLL_INTERVAL_MS, refresh);
}
