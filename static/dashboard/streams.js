// Page `Streams`: all streams with their live rates.

import { field, h, setText, table, updateRows } from './dom.js';
import { formatBytes, formatCount, formatTime } from './figures.js';
import { debounce, poll, request } from './hub.js';
import { createPager } from './pages.js';
import { openStream } from './stream.js';
import { checkSelector } from '../fanfare/selector.js';

/** Number of streams on a page of the list. */
const PAGE_SIZE = 200;
/** Maximum number of requests until an answer is not empty. */
const MAX_REQUESTS = 20;
const POLL_INTERVAL_MS = 2_000;

/** @param {import('./main.js').Context} context */
export function streams(context) {
  const { main, path, query, user, signal } = context;
  if (path.length > 0) return openStream(context, path.join('/'));
  if (!user.isKnown) {
    main.append(h('h1', {}, 'Streams'), h('p', {}, h('a', { href: '#/access' }, 'Log in'), ' to see the streams that you can read.'));
    return;
  }

  const prefix = h('input', { name: 'prefix', type: 'search', placeholder: 'builds.', autocomplete: 'off', spellcheck: 'false' });
  const pattern = h('input', { name: 'watch', placeholder: '**', autocomplete: 'off', spellcheck: 'false', required: true });
  const errorElement = h('span', { class: 'bad', role: 'status' });
  const list = table('Streams', ['name', ['events/s'], ['readers'], ['events'], ['kept'], ['last event'], 'state']);
  const more = h('span', { class: 'muted' });
  const pager = createPager(`Next ${PAGE_SIZE}`, () => refresh());
  const openPattern = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      checkSelector(pattern.value);
      location.hash = `#/streams/${encodeURIComponent(pattern.value)}`;
    } catch (error) {
      setText(errorElement, error instanceof Error ? error.message : String(error));
    }
  };
  main.append(
    h('h1', {}, 'Streams'),
    h('div', { class: 'bar' },
      h('form', { onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, field('Names that begin with', prefix)),
      h('form', { onsubmit: openPattern }, field('Or watch a pattern', pattern), h('button', {}, 'Watch'), errorElement)),
    list.element, h('p', { class: 'bar' }, more, pager.buttons));
  prefix.value = query.get('prefix') ?? '';

  /** Previous count of each stream, its time, and the rate. @type {Map<string, [number, number, string]>} */
  const previousCounts = new Map();
  let latestRequest = 0;
  const refresh = async () => {
    const thisRequest = latestRequest += 1;
    const { streams, next } = await fetchPage(prefix.value, pager.after(), signal);
    // A later request has been sent.
    if (thisRequest !== latestRequest) return;
    pager.update(next);
    const now = performance.now();
    updateRows(list.body, streams, (/** @type {any} */ { name }) => name, (/** @type {any} */ stream) => {
      const [previousPublished, previousTime, previousRate] = previousCounts.get(stream.name) ?? [stream.published, now, '–'];
      // A rate over less than a second is inaccurate.
      const isRateDue = now - previousTime >= 1_000;
      const rate = isRateDue ? formatCount(Math.max(0, stream.published - previousPublished) / ((now - previousTime) / 1000)) : previousRate;
      if (isRateDue || !previousCounts.has(stream.name)) previousCounts.set(stream.name, [stream.published, now, rate]);
      return [
        h('a', { href: `#/streams/${encodeURIComponent(stream.name)}` }, stream.name),
        rate, formatCount(stream.subscribers), formatCount(stream.events), formatBytes(stream.bytes),
        stream.last_time ? formatTime(stream.last_time) : '–', stream.state,
      ];
    });
    const emptyText = prefix.value === '' ? 'No readable streams yet.' : 'No name starts with this.';
    setText(more, streams.length === 0 ? emptyText : next ? 'There are more.' : '');
  };
  const refilter = debounce(refresh);
  prefix.addEventListener('input', () => {
    pager.first();
    refilter();
  });
  poll(signal, POLL_INTERVAL_MS, refresh);
}

/**
 * Returns a page of streams. Skips empty answers, which occur if few of many streams may be read.
 *
 * @param {string} prefix
 * @param {string | null} after
 * @param {AbortSignal} signal
 */
async function fetchPage(prefix, after, signal) {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), prefix });
  if (after !== null) query.set('after', after);
  for (let requests = 1; ; requests += 1) {
    const { streams, next } = await request(`streams?${query}`, { signal });
    if (streams.length > 0 || next === null || requests >= MAX_REQUESTS) return { streams, next };
    query.set('after', next);
  }
}
