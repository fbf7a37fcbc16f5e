// One stream, or a pattern of them: its events as they come, what is drawn of them, and one opened.

import { follow } from './connection.js';
import { copyable, field, h, replace, say, write } from './dom.js';
import { drawing } from './drawing.js';
import { clock, count } from './figures.js';
import { HUB, why } from './hub.js';
import { tail } from './tail.js';
import { curl, tree } from './tree.js';

/** Events from before that are shown at first. */
const LAST = 1_000;
/** Events that wait to be shown; further ones wait in the hub. */
const MOST_WAITING = 20_000;
/** Types to choose among. */
const MOST_TYPES = 100;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/**
 * A row of the tail: an event, or what became of the stream there.
 *
 * @typedef {{ event: FanfareEvent, chars: number, hay: string, mark?: undefined }
 *   | { event: null, chars: number, hay: string, mark: string, time: number }} Row
 */

/** @param {any} data */
const text = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

/** What a row says of an event. @param {FanfareEvent} event */
function summary({ type, data }) {
  if (type === 'log' && data?.message !== undefined) return String(data.message);
  if (type === 'metric' && data?.name !== undefined) return `${data.name} ${data.value}${data.unit ? ` ${data.unit}` : ''}`;
  return text(data);
}

/** @param {FanfareEvent} event */
const levelOf = ({ type, data }) => (type === 'log' && LEVELS.includes(data?.level) ? data.level : '');

/** @param {FanfareEvent} event @returns {Row} */
const rowOf = (event) => ({ event, chars: text(event.data).length + 200, hay: '' });

/** Whether a row has a text, as it is shown or as it was published. @param {Row} row @param {string} wanted */
function has(row, wanted) {
  if (row.event && row.hay === '') row.hay = `${summary(row.event)}\n${text(row.event.data)}\n${row.event.stream}`.toLowerCase();
  return row.hay.includes(wanted);
}

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
    cells: (/** @type {Row} */ row) => {
      const { event } = row;
      if (!event) return [clock(row.time, true), ...(isPattern ? [''] : []), '', row.mark];
      return [clock(event.time, true), ...(isPattern ? [event.stream] : []), levelOf(event) || event.type, summary(event).slice(0, 500)];
    },
    open: (/** @type {Row} */ row) => { if (row.event) show(opened, row.event, close); },
    moved: () => go(),
  });

  // What is wanted of it.
  const types = h('select', { name: 'type' }, h('option', { value: '' }, 'every type'));
  const level = h('select', { name: 'level' }, h('option', { value: '' }, 'every level'),
    LEVELS.map((level) => h('option', { value: level }, `${level} and above`)));
  const search = h('input', { name: 'text', type: 'search', placeholder: 'text', autocomplete: 'off', spellcheck: 'false' });
  const filter = () => {
    const [type, least, wanted] = [types.value, LEVELS.indexOf(level.value), search.value.toLowerCase()];
    list.filter((/** @type {Row} */ row) => row.event === null
      || ((type === '' || row.event.type === type)
        && (least < 0 || LEVELS.indexOf(levelOf(row.event)) >= least)
        && (wanted === '' || has(row, wanted))));
    tell();
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  const later = () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 150);
  };
  types.addEventListener('input', filter);
  level.addEventListener('input', filter);
  search.addEventListener('input', later);
  /** @type {Set<string>} */
  const known = new Set();
  /** @param {FanfareEvent} event */
  const know = ({ type }) => {
    if (known.has(type) || known.size >= MOST_TYPES) return;
    known.add(type);
    types.append(h('option', { value: type }, type));
  };

  // What comes waits for the next frame, or for whoever paused it; what is too much waits in the hub.
  let isPaused = false;
  /** @type {Row[]} */
  let waiting = [];
  /** @type {FanfareEvent[]} */
  let fresh = [];
  let isDue = false;
  let go = () => {};
  const isHeld = () => waiting.length >= MOST_WAITING || list.isFull();
  const flush = () => {
    isDue = false;
    drawn.add(fresh);
    fresh = [];
    if (!isPaused) {
      list.add(waiting);
      waiting = [];
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
    const parts = [`${shown === all ? count(all) : `${count(shown)} of ${count(all)}`} events`];
    if (removed > 0) parts.push(`${count(removed)} older ones left out`);
    if (isPaused) parts.push(`${count(waiting.length)} waiting`);
    if (isHeld()) parts.push('the rest waits in the hub');
    write(status, parts.join(', '));
  };
  const pause = h('button', {
    type: 'button', 'aria-pressed': 'false',
    onclick: () => {
      isPaused = !isPaused;
      pause.setAttribute('aria-pressed', String(isPaused));
      flush();
    },
  }, 'Pause');

  // Where it begins.
  const at = h('input', { name: 'at', type: 'datetime-local', step: 1 });
  let reading = new AbortController();
  let drawn = drawing(reading.signal);
  /** @param {string} mark */
  const mark = (mark) => {
    waiting.push({ event: null, mark, time: Date.now(), chars: 100, hay: '' });
    soon();
  };
  /** @param {string | null} from @param {boolean} atEnd Whether what comes is looked at from its end. */
  const read = async (from, atEnd) => {
    reading.abort();
    const mine = reading = new AbortController();
    const before = drawn.element;
    drawn = drawing(mine.signal);
    before.replaceWith(drawn.element);
    [waiting, fresh, isPaused] = [[], [], false];
    pause.setAttribute('aria-pressed', 'false');
    list.clear(atEnd);
    write(state, '');
    const subscription = follow({
      streams: name,
      ...(from ? { from } : { last: LAST }),
      signal: mine.signal,
      onState: (told) => {
        if (told.state === 'gap') mark(`— ${told.missed ?? 'some'} events were removed before they could be read —`);
        if (told.state === 'reset') mark('— the hub has another journal now —');
        if (told.state === 'stream-ended') mark(`— ${told.stream} has ended (${told.reason}) —`);
        if (told.state === 'ended') write(state, 'It has ended.');
        if (told.state === 'refused' || told.state === 'expired') write(state, `${told.state}: ${told.detail ?? told.code ?? ''}`);
      },
    });
    try {
      for await (const event of subscription) {
        if (mine.signal.aborted) return;
        waiting.push(rowOf(event));
        fresh.push(event);
        know(event);
        soon();
        if (isHeld()) await new Promise((resolve) => { go = () => resolve(undefined); });
      }
    } catch {
      // It was told why.
    }
  };
  signal.addEventListener('abort', () => {
    reading.abort();
    clearTimeout(typing);
    go();
  }, { once: true });

  const begin = (/** @type {string | null} */ from, atEnd = true) => read(from, atEnd).catch((error) => say(why(error), 'bad'));
  const newest = () => (list.isFull() ? begin(null) : list.end());
  main.append(
    h('h1', {}, h('a', { href: '#/streams' }, 'Streams'), ' / ', h('span', { class: 'name' }, name)),
    drawn.element,
    h('div', { class: 'bar' },
      field('Type', types), field('Level', level), field('With', search), pause,
      h('form', {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (at.value === '') begin(null);
          else begin(new Date(at.value).toISOString(), false);
        },
      }, field('From', at), h('button', {}, 'Jump')),
      h('button', { type: 'button', onclick: newest }, 'Newest'),
      status),
    state,
    h('div', { class: 'split' }, list.element, opened));
  begin(query.get('from'));
}

/** @param {HTMLElement} opened @param {FanfareEvent} event @param {() => void} close */
function show(opened, event, close) {
  opened.hidden = false;
  opened.onkeydown = ({ key }) => { if (key === 'Escape') close(); };
  replace(opened,
    h('header', {}, h('h2', {}, event.type), h('button', { type: 'button', 'aria-label': 'Close', onclick: close }, '×')),
    h('dl', {},
      h('dt', {}, 'id'), h('dd', {}, h('code', {}, event.id)),
      h('dt', {}, event.streams.length > 1 ? 'streams' : 'stream'), h('dd', {}, event.streams.join(', ')),
      h('dt', {}, 'time'), h('dd', {}, event.time)),
    tree(event.data),
    h('h3', {}, 'Publish it again'),
    copyable(curl(event, HUB)));
}
