// Page `Streams`: all streams with their live rates.

import { field, h, keepRows, table, write } from './dom.js';
import { bytes, clock, count } from './figures.js';
import { ask, every, settled } from './hub.js';
import { pages } from './pages.js';
import { openStream } from './stream.js';
import { checkSelector } from '../fanfare/selector.js';

/** Streams on a page of the list, and maximum number of requests until one is not empty. */
const SHOWN = 200;
const MOST_ASKED = 20;
const ASK_MS = 2_000;

/** @param {import('./main.js').Context} context */
export function streams(context) {
  const { main, path, query, who, signal } = context;
  if (path.length > 0) return openStream(context, path.join('/'));
  if (!who.isKnown) {
    main.append(h('h1', {}, 'Streams'), h('p', {}, h('a', { href: '#/access' }, 'Log in'), ' to see the streams that you can read.'));
    return;
  }

  const prefix = h('input', { name: 'prefix', type: 'search', placeholder: 'builds.', autocomplete: 'off', spellcheck: 'false' });
  const pattern = h('input', { name: 'watch', placeholder: '**', autocomplete: 'off', spellcheck: 'false', required: true });
  const wrong = h('span', { class: 'bad', role: 'status' });
  const list = table('Streams', ['name', ['events/s'], ['readers'], ['events'], ['kept'], ['last event'], 'state']);
  const more = h('span', { class: 'muted' });
  const part = pages(`Next ${SHOWN}`, () => look());
  const open = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      checkSelector(pattern.value);
      location.hash = `#/streams/${encodeURIComponent(pattern.value)}`;
    } catch (error) {
      write(wrong, error instanceof Error ? error.message : String(error));
    }
  };
  main.append(
    h('h1', {}, 'Streams'),
    h('div', { class: 'bar' },
      h('form', { onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, field('Names that begin with', prefix)),
      h('form', { onsubmit: open }, field('Or watch a pattern', pattern), h('button', {}, 'Watch'), wrong)),
    list.element, h('p', { class: 'bar' }, more, part.buttons));
  prefix.value = query.get('prefix') ?? '';

  /** Previous count of each stream, its time, and the rate. @type {Map<string, [number, number, string]>} */
  const before = new Map();
  let turn = 0;
  const look = async () => {
    const mine = turn += 1;
    const { streams, next } = await find(prefix.value, part.after(), signal);
    // A later request has been sent.
    if (mine !== turn) return;
    part.came(next);
    const now = performance.now();
    keepRows(list.body, streams, (/** @type {any} */ { name }) => name, (/** @type {any} */ stream) => {
      const [published, then, known] = before.get(stream.name) ?? [stream.published, now, '–'];
      // A rate over less than a second would say nothing.
      const isDue = now - then >= 1_000;
      const rate = isDue ? count(Math.max(0, stream.published - published) / ((now - then) / 1000)) : known;
      if (isDue || !before.has(stream.name)) before.set(stream.name, [stream.published, now, rate]);
      return [
        h('a', { href: `#/streams/${encodeURIComponent(stream.name)}` }, stream.name),
        rate, count(stream.subscribers), count(stream.events), bytes(stream.bytes),
        stream.last_time ? clock(stream.last_time) : '–', stream.state,
      ];
    });
    const none = prefix.value === '' ? 'No readable streams yet.' : 'No name starts with this.';
    write(more, streams.length === 0 ? none : next ? 'There are more.' : '');
  };
  const refilter = settled(look);
  prefix.addEventListener('input', () => {
    part.first();
    refilter();
  });
  every(signal, ASK_MS, look);
}

/**
 * Returns a page of streams. Skips empty answers, which occur if few of many streams may be read.
 *
 * @param {string} prefix
 * @param {string | null} after
 * @param {AbortSignal} signal
 */
async function find(prefix, after, signal) {
  const query = new URLSearchParams({ limit: String(SHOWN), prefix });
  if (after !== null) query.set('after', after);
  for (let asked = 1; ; asked += 1) {
    const { streams, next } = await ask(`streams?${query}`, { signal });
    if (streams.length > 0 || next === null || asked >= MOST_ASKED) return { streams, next };
    query.set('after', next);
  }
}
