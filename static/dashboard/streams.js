// Every stream with how much comes by it, live.

import { follow } from './connection.js';
import { field, h, keepRows, say } from './dom.js';
import { bytes, clock, count } from './figures.js';
import { ask, every } from './hub.js';
import { openStream } from './stream.js';

/** Streams on one page of the list. */
const SHOWN = 200;
const ASK_MS = 2_000;

/** @typedef {import('./main.js').Context} Context */

/** @param {Context} context */
export function streams(context) {
  const { main, path, query, signal } = context;
  if (path.length > 0) return openStream(context, path.join('/'));

  const rows = h('tbody');
  const prefix = h('input', { name: 'prefix', type: 'search', placeholder: 'builds.', autocomplete: 'off', spellcheck: 'false' });
  const watch = h('input', { name: 'watch', placeholder: '**', autocomplete: 'off', spellcheck: 'false', required: true });
  const more = h('p', { class: 'muted' });
  main.append(
    h('h1', {}, 'Streams'),
    h('div', { class: 'bar' },
      h('form', { onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, field('Names that begin with', prefix)),
      h('form', {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          location.hash = `#/streams/${encodeURIComponent(watch.value)}`;
        },
      }, field('Or watch a pattern', watch), h('button', {}, 'Watch'))),
    h('div', { class: 'scroll' },
      h('table', {},
        h('caption', { class: 'unseen' }, 'Streams'),
        h('thead', {}, h('tr', {}, ['name', 'events/s', 'readers', 'events', 'kept', 'last event', 'state'].map((head) => h('th', { scope: 'col' }, head)))),
        rows)),
    more);
  prefix.value = query.get('prefix') ?? '';

  /** What each had when it was looked at before. @type {Map<string, [number, number]>} */
  let before = new Map();
  const look = async () => {
    const asked = `streams?limit=${SHOWN}&prefix=${encodeURIComponent(prefix.value)}`;
    const { streams, next } = await ask(asked, { signal });
    const now = performance.now();
    const seen = new Map(streams.map((/** @type {any} */ s) => [s.name, [s.published, now]]));
    keepRows(rows, streams, (/** @type {any} */ { name }) => name, (/** @type {any} */ stream) => {
      const [published, then] = before.get(stream.name) ?? [stream.published, now - 1];
      const rate = Math.max(0, stream.published - published) / ((now - then) / 1000);
      return [
        h('a', { href: `#/streams/${encodeURIComponent(stream.name)}` }, stream.name),
        count(rate), count(stream.subscribers), count(stream.events), bytes(stream.bytes),
        stream.last_time ? clock(stream.last_time) : '–', stream.state,
      ];
    });
    before = seen;
    more.textContent = streams.length === 0 ? 'There is none yet.' : next ? `There are more than ${SHOWN}; say what their names begin with.` : '';
  };
  prefix.addEventListener('input', () => look().catch((error) => say(error.message, 'bad')));
  every(signal, ASK_MS, look);
  // Nothing is read but where the connection stands.
  follow({ streams: 'heartbeats', signal });
}
