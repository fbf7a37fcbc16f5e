// One stream, or a pattern of them: its events as they come, what they are drawn as, and one opened.

import { chart } from './charts.js';
import { follow } from './connection.js';
import { field, h, replace, say } from './dom.js';
import { bytes, clock, count } from './figures.js';
import { HUB } from './hub.js';
import { tail } from './tail.js';
import { curl, tree } from './tree.js';

/** Events from before that are shown at first. */
const LAST = 1_000;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];
/** Charts and bars on one page at most. */
const MAX_DRAWN = 24;
const SPAN = 600;
/** After so many seconds without a heartbeat a source is late, or down, unless the hub says it. */
const [LATE_S, DOWN_S] = [30, 90];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/** @param {any} data */
const text = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

/** @param {FanfareEvent} event */
function summary({ type, data }) {
  if (type === 'log' && data?.message !== undefined) return String(data.message);
  if (type === 'metric' && data?.name !== undefined) return `${data.name} ${data.value}${data.unit ? ` ${data.unit}` : ''}`;
  return text(data);
}

/** @param {FanfareEvent} event */
const levelOf = ({ type, data }) => (type === 'log' && LEVELS.includes(data?.level) ? data.level : '');

/**
 * @param {import('./main.js').Context} context
 * @param {string} name
 */
export function openStream({ main, query, signal }, name) {
  const isPattern = name.includes('*');
  const opened = h('aside', { class: 'opened card', hidden: true, 'aria-label': 'The chosen event' });
  const list = tail({
    label: `Events of ${name}`,
    look: (/** @type {FanfareEvent} */ event) => `level-${levelOf(event)} type-${event.type === 'log' ? 'log' : 'other'}`,
    row: (event) => [
      h('span', { class: 'time' }, clock(event.time, true)),
      isPattern ? h('span', { class: 'stream' }, event.stream) : null,
      h('span', { class: 'kind' }, levelOf(event) || event.type),
      h('span', { class: 'text' }, summary(event).slice(0, 500)),
    ].filter((cell) => cell !== null),
    open: (event) => show(opened, event),
  });

  // What is wanted of it.
  const types = h('select', { name: 'type' }, h('option', { value: '' }, 'every type'));
  const level = h('select', { name: 'level' }, h('option', { value: '' }, 'every level'),
    LEVELS.map((level) => h('option', { value: level }, `${level} and above`)));
  const search = h('input', { name: 'text', type: 'search', placeholder: 'text', autocomplete: 'off', spellcheck: 'false' });
  const filter = () => {
    const [type, least, wanted] = [types.value, LEVELS.indexOf(level.value), search.value.toLowerCase()];
    list.filter((event) => (type === '' || event.type === type)
      && (least < 0 || LEVELS.indexOf(levelOf(event)) >= least)
      && (wanted === '' || text(event.data).toLowerCase().includes(wanted) || event.stream.toLowerCase().includes(wanted)));
    counted();
  };
  for (const control of [types, level, search]) control.addEventListener('input', filter);

  // What comes is held while it is paused, and nothing of it is lost.
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => setPaused(!isPaused) }, 'Pause');
  const status = h('output', { class: 'muted', id: 'counts' });
  let isPaused = false;
  /** @type {FanfareEvent[]} */
  let waiting = [];
  let isDue = false;
  const flush = () => {
    isDue = false;
    if (!isPaused && waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      list.add(batch);
      drawn.add(batch);
      know(batch);
    }
    counted();
  };
  const counted = () => {
    const { all, shown, removed } = list.count();
    const parts = [`${shown === all ? count(all) : `${count(shown)} of ${count(all)}`} events`];
    if (removed > 0) parts.push(`${count(removed)} older ones left out`);
    if (isPaused) parts.push(`${count(waiting.length)} waiting`);
    status.textContent = parts.join(', ');
  };
  /** @param {boolean} paused */
  const setPaused = (paused) => {
    isPaused = paused;
    pause.textContent = paused ? 'Go on' : 'Pause';
    pause.setAttribute('aria-pressed', String(paused));
    flush();
  };
  /** @type {Set<string>} */
  const known = new Set();
  /** @param {FanfareEvent[]} events */
  const know = (events) => {
    for (const { type } of events) {
      if (known.has(type)) continue;
      known.add(type);
      types.append(h('option', { value: type }, type));
    }
  };

  // Where it begins.
  const at = h('input', { name: 'at', type: 'datetime-local', step: 1 });
  let reading = new AbortController();
  /** @param {string | null} from */
  const read = (from) => {
    reading.abort();
    reading = new AbortController();
    list.clear();
    drawn.clear();
    waiting = [];
    follow({
      streams: name,
      ...(from ? { from } : { last: LAST }),
      signal: reading.signal,
      onEvent: (event) => {
        waiting.push(event);
        if (isDue) return;
        isDue = true;
        requestAnimationFrame(flush);
      },
    });
  };
  signal.addEventListener('abort', () => reading.abort());

  const drawn = drawing(signal);
  main.append(
    h('h1', {}, h('a', { href: '#/streams' }, 'Streams'), ' / ', h('span', { class: 'name' }, name)),
    drawn.element,
    h('div', { class: 'bar' },
      field('Type', types), field('Level', level), field('With', search), pause,
      h('form', {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (at.value === '') return read(null);
          read(new Date(at.value).toISOString());
        },
      }, field('From', at), h('button', {}, 'Jump')),
      h('button', { type: 'button', onclick: () => list.end() }, 'Newest'),
      status),
    h('div', { class: 'split' }, list.element, opened));
  try {
    read(query.get('from'));
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), 'bad');
  }
}

/** @param {HTMLElement} opened @param {FanfareEvent} event */
function show(opened, event) {
  const command = curl(event, HUB);
  opened.hidden = false;
  replace(opened,
    h('header', {}, h('h2', {}, event.type), h('button', { type: 'button', 'aria-label': 'Close', onclick: () => { opened.hidden = true; } }, '×')),
    h('dl', {},
      h('dt', {}, 'id'), h('dd', {}, h('code', {}, event.id)),
      h('dt', {}, event.streams.length > 1 ? 'streams' : 'stream'), h('dd', {}, event.streams.join(', ')),
      h('dt', {}, 'time'), h('dd', {}, event.time)),
    tree(event.data),
    h('h3', {}, 'Publish it again'),
    h('pre', { class: 'command' }, command),
    h('button', {
      type: 'button',
      onclick: () => navigator.clipboard.writeText(command).then(() => say('copied', 'good'), () => say('the browser does not allow it', 'bad')),
    }, 'Copy'));
}

/**
 * What is drawn of events: metrics by name and labels, heartbeats as a board, progress as bars.
 *
 * @param {AbortSignal} signal
 */
function drawing(signal) {
  const [charts, board, bars] = ['cards', 'board', 'bars'].map((name) => h('div', { class: name, hidden: true }));
  const element = h('div', { class: 'drawn stack' }, charts, board, bars);
  /** @type {Map<string, ReturnType<typeof chart>>} */
  const metrics = new Map();
  /** @type {Map<string, { time: number, status: string, state?: string }>} */
  const sources = new Map();
  /** @type {Map<string, { bar: any, said: any }>} */
  const moving = new Map();

  /** @param {any} data @param {string} time */
  const metric = ({ name, value, unit, labels = {}, timestamp }, time) => {
    const labelled = Object.entries(labels ?? {}).map(([label, is]) => `${label}=${is}`).join(' ');
    const key = `${name} ${labelled}`;
    let found = metrics.get(key);
    if (!found) {
      if (metrics.size >= MAX_DRAWN) return;
      const format = (/** @type {number} */ n) => (String(unit ?? '').startsWith('bytes') ? bytes(n) : count(n)) + (unit === 'percent' ? ' %' : '');
      found = chart({ title: labelled ? `${name} (${labelled})` : name, series: [name], span: SPAN, format, signal });
      metrics.set(key, found);
      charts.hidden = false;
      charts.append(found.element);
    }
    found.add(Date.parse(timestamp ?? time) / 1000, [value]);
  };
  /** @param {any} data @param {string} time */
  const heartbeat = ({ source, status, timestamp }, time) => {
    const known = sources.get(source);
    sources.set(source, { ...known, time: Date.parse(timestamp ?? time), status: status ?? '' });
  };
  /** @param {any} data */
  const progress = ({ file = 'progress', state = '', bytes_sent = 0, total_size = 0, percentage }) => {
    let found = moving.get(file);
    if (!found) {
      if (moving.size >= MAX_DRAWN) return;
      found = { bar: h('progress', { max: 100, 'aria-label': file }), said: h('span', { class: 'muted' }) };
      moving.set(file, found);
      bars.hidden = false;
      bars.append(h('div', { class: 'moving' }, h('span', { class: 'name' }, file), found.bar, found.said));
    }
    found.bar.value = percentage ?? 0;
    found.said.textContent = `${bytes(bytes_sent)} of ${bytes(total_size)} ${state}`;
  };
  const drawBoard = () => {
    board.hidden = sources.size === 0;
    const now = Date.now();
    replace(board, [...sources].sort(([a], [b]) => a.localeCompare(b)).map(([source, { time, status, state }]) => {
      const age = (now - time) / 1000;
      const is = state ?? (age > DOWN_S ? 'down' : age > LATE_S ? 'late' : 'up');
      return h('div', { class: 'source', 'data-state': is }, h('b', {}, source), ` ${is} `, h('span', { class: 'muted' }, status));
    }));
  };
  const timer = setInterval(drawBoard, 1_000);
  signal.addEventListener('abort', () => clearInterval(timer));

  return {
    element,
    /** @param {FanfareEvent[]} events */
    add(events) {
      for (const { type, stream, data, time } of events) {
        if (data === null || typeof data !== 'object') continue;
        if (type === 'metric') metric(data, time);
        else if (type === 'heartbeat') heartbeat(data, time);
        else if (type === 'progress') progress(data);
        else if (stream === 'heartbeats' && typeof data.source === 'string') {
          sources.set(data.source, { time: Date.parse(time), status: '', ...sources.get(data.source), state: data.status ?? data.state });
        }
      }
      drawBoard();
    },
    clear() {
      for (const known of [metrics, sources, moving]) known.clear();
      for (const part of [charts, board, bars]) {
        part.replaceChildren();
        part.hidden = true;
      }
    },
  };
}
