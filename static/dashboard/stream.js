// Page of a stream or a pattern: a live tail of events, drawings of them, and the opened event.

import { follow } from './connection.js';
import { field, h, say, write } from './dom.js';
import { drawing } from './drawing.js';
import { count } from './figures.js';
import { filter } from './filter.js';
import { why } from './hub.js';
import { show } from './opened.js';
import { cells, levelOf, rowOf } from './row.js';
import { MOST, tail } from './tail.js';

/** Number of earlier events shown at first. */
const LAST = 1_000;
/** Bounds of the events that wait to be shown; further ones wait in the hub. */
const MOST_WAITING = 20_000;
const MOST_WAITING_CHARS = 32_000_000;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** @typedef {import('./row.js').Row} Row */

/**
 * @param {import('./main.js').Context} context
 * @param {string} name
 */
export function openStream({ main, query, signal }, name) {
  const isPattern = name.includes('*');
  const opened = h('aside', { class: 'opened card', hidden: true, 'aria-label': 'The chosen event' });
  const status = h('span', { class: 'muted', id: 'counts' });
  const state = h('p', { class: 'told', role: 'status' });
  const close = () => {
    opened.hidden = true;
    list.focus();
  };
  const list = tail({
    label: `Events of ${name}`,
    signal,
    classes: ['time', ...(isPattern ? ['stream'] : []), 'kind', 'text'],
    look: (/** @type {Row} */ row) => (row.event ? `level-${levelOf(row.event)}` : 'mark'),
    cells: (/** @type {Row} */ row) => cells(row, isPattern),
    open: (/** @type {Row} */ row) => { if (row.event) show(opened, row.event, close); },
    moved: () => go(),
  });

  // Filter.
  const wanted = filter(query, (isWanted) => {
    list.filter(isWanted);
    tell();
    keep();
  });
  /** Stores the filter in the address, for reloads and for sharing. */
  const keep = () => {
    const said = new URLSearchParams({ ...(from ? { from } : {}), ...wanted.said() }).toString();
    history.replaceState(null, '', `#/streams/${encodeURIComponent(name)}${said ? `?${said}` : ''}`);
  };

  // Events wait for the next frame or for the end of a pause; beyond the bounds they wait in the hub.
  let isPaused = false;
  /** @type {Row[]} */
  let waiting = [];
  let waitingChars = 0;
  /** @type {FanfareEvent[]} */
  let fresh = [];
  let isDue = false;
  let go = () => {};
  const isHeld = () => waiting.length >= MOST_WAITING || waitingChars >= MOST_WAITING_CHARS || list.isFull();
  const flush = () => {
    isDue = false;
    drawn.add(fresh);
    fresh = [];
    if (!isPaused) {
      list.add(waiting);
      [waiting, waitingChars] = [[], 0];
    }
    if (!isHeld()) go();
    tell();
  };
  const soon = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(flush);
  };
  const tell = () => {
    const { all, shown, removed } = list.count();
    const parts = [`${shown === all ? count(all) : `${count(shown)} of ${count(all)}`} ${all === 1 ? 'event' : 'events'}`];
    if (removed > 0) parts.push(`${count(removed)} older ones left out`);
    if (isPaused) parts.push(`${count(waiting.length)} waiting`);
    if (isHeld()) parts.push('more events remain in the hub');
    write(status, parts.join(', '));
    list.sayEmpty(shown > 0 ? '' : all > 0 ? 'No event matches the filter.' : from ? 'No events since then.' : 'No events yet.');
  };
  const pause = h('button', {
    type: 'button', 'aria-pressed': 'false',
    onclick: () => {
      isPaused = !isPaused;
      pause.setAttribute('aria-pressed', String(isPaused));
      flush();
    },
  }, 'Pause');

  // Start of reading.
  let from = query.get('from');
  let last = LAST;
  const at = h('input', { name: 'at', type: 'datetime-local', step: 1 });
  let reading = new AbortController();
  let drawn = drawing(reading.signal);
  /** @param {Row} row */
  const wait = (row) => {
    waiting.push(row);
    waitingChars += row.chars;
    soon();
  };
  /** Events received and taken. A mark follows the events received before it, once they are taken. */
  let [came, taken] = [0, 0];
  /** @type {{ behind: number, row: Row }[]} */
  let marks = [];
  /** @param {string} mark */
  const mark = (mark) => {
    marks.push({ behind: came, row: { event: null, mark, time: Date.now(), chars: 100, hay: '' } });
    place();
  };
  const place = () => {
    while (marks[0]?.behind <= taken) wait(/** @type {{ row: Row }} */ (marks.shift()).row);
  };
  /** @param {boolean} atEnd True if the view follows the end. */
  const read = async (atEnd) => {
    keep();
    reading.abort();
    const mine = reading = new AbortController();
    const before = drawn.element;
    drawn = drawing(mine.signal);
    before.replaceWith(drawn.element);
    [waiting, waitingChars, fresh, isPaused] = [[], 0, [], false];
    pause.setAttribute('aria-pressed', 'false');
    list.clear(atEnd);
    marks = [];
    [came, taken] = [0, 0];
    tell();
    write(state, '');
    const subscription = follow({
      streams: name,
      ...(from ? { from } : { last }),
      signal: mine.signal,
      onEvent: () => { came += 1; },
      onState: (told) => {
        if (mine.signal.aborted) return;
        if (told.state === 'gap') mark(`— ${told.missed ?? 'some'} events were removed before they could be read —`);
        if (told.state === 'reset') mark('— the journal was replaced; all stored events follow —');
        if (told.state === 'stream-ended') mark(`— ${told.stream} has ended (${told.reason}) —`);
        if (told.state === 'ended') write(state, 'It has ended.');
        if (told.state === 'refused' || told.state === 'expired') write(state, `${told.state}: ${told.detail ?? told.code ?? ''}`);
      },
    });
    try {
      for await (const event of subscription) {
        if (mine.signal.aborted) return;
        fresh.push(event);
        wanted.know(event);
        wait(rowOf(event));
        taken += 1;
        place();
        if (isHeld()) await new Promise((resolve) => { go = () => resolve(undefined); });
      }
    } catch {
      // `onState` has shown the reason.
    }
  };
  signal.addEventListener('abort', () => {
    reading.abort();
    go();
  }, { once: true });

  /** @param {string | null} at @param {boolean} [atEnd] */
  const begin = (at, atEnd = true) => {
    from = at;
    read(atEnd).catch((error) => say(why(error), 'bad'));
  };
  const newest = () => (list.isFull() ? begin(null) : list.end());
  const older = () => {
    last = Math.min(MOST, last * 10);
    begin(null);
  };
  main.append(
    h('h1', {}, h('a', { href: '#/streams' }, 'Streams'), ' / ', h('span', { class: 'name' }, name)),
    drawn.element,
    h('div', { class: 'bar' },
      wanted.fields, pause,
      h('form', {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (at.value === '') begin(null);
          else begin(new Date(at.value).toISOString(), false);
        },
      }, field('From', at), h('button', {}, 'Jump')),
      h('button', { type: 'button', onclick: newest }, 'Newest'),
      h('button', { type: 'button', onclick: older, title: 'Begins ten times as far back' }, 'Older'),
      status),
    state,
    h('div', { class: 'split' }, list.element, opened));
  wanted.apply();
  begin(from);
}
