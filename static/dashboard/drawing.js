// Draws events: metrics as charts by name and labels, heartbeats as a board, progress as bars.

import { chart } from './charts.js';
import { h, replace, write } from './dom.js';
import { bytes, count } from './figures.js';
import { watch } from './hub.js';

/** Maximum number of charts, bars and sources on a page. */
const MOST_CHARTS = 24;
const MOST_BARS = 24;
const MOST_SOURCES = 200;
const SPAN = 600;
/** Seconds without a heartbeat after which a source is late or down, if the hub does not report that. */
const [LATE_S, DOWN_S] = [30, 90];
/** Final states of a download. */
const OVER = ['done', 'aborted'];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** @typedef {{ element: any, add: (event: FanfareEvent) => void }} Part */

/** @param {AbortSignal} signal */
export function drawing(signal) {
  const [charts, board, bars] = [metrics(signal), heartbeats(signal), progress()];
  return {
    element: h('div', { class: 'drawn stack' }, charts.element, board.element, bars.element),
    /** @param {FanfareEvent[]} events */
    add(events) {
      for (const event of events) {
        const { type, stream, data } = event;
        if (data === null || typeof data !== 'object') continue;
        if (type === 'metric') charts.add(event);
        else if (type === 'heartbeat' || (type === 'status' && stream === 'heartbeats')) board.add(event);
        else if (type === 'progress') bars.add(event);
      }
    },
  };
}

/** @param {AbortSignal} signal @returns {Part} */
function metrics(signal) {
  /** @type {Map<string, ReturnType<typeof chart>>} */
  const known = new Map();
  const left = new Set();
  const cards = h('div', { class: 'cards' });
  const more = h('p', { class: 'muted', hidden: true });
  const element = h('div', { hidden: true }, cards, more);
  return {
    element,
    add({ time, data: { name, value, unit, labels, timestamp } }) {
      if (!Number.isFinite(value)) return;
      const labelled = Object.entries(labels ?? {}).map(([label, is]) => `${label}=${is}`).sort().join(' ');
      const key = `${name} ${labelled}`;
      let found = known.get(key);
      if (!found) {
        if (known.size >= MOST_CHARTS) {
          if (left.size < 10_000) left.add(key);
          more.hidden = false;
          return write(more, `and ${left.size} more metrics`);
        }
        const ends = unit === 'percent' ? ' %' : '';
        const format = (/** @type {number} */ n) => (String(unit ?? '').startsWith('bytes') ? bytes(n) : `${count(n)}${ends}`);
        found = chart({ title: labelled ? `${name} (${labelled})` : name, series: [name], span: SPAN, format, signal });
        known.set(key, found);
        element.hidden = false;
        cards.append(found.element);
      }
      found.add(Date.parse(timestamp ?? time) / 1000, [value]);
    },
  };
}

/** @param {AbortSignal} signal @returns {Part} */
function heartbeats(signal) {
  /** Sources by stream and name: another stream says nothing about a source.
   * @type {Map<string, { source: string, time: number, status: string, state?: string }>} */
  const sources = new Map();
  const keyOf = (/** @type {any} */ stream, /** @type {string} */ source) => JSON.stringify([[stream].flat()[0], source]);
  const element = h('div', { class: 'board', hidden: true });
  let isAsked = false;
  const draw = () => {
    element.hidden = sources.size === 0;
    if (element.hidden) return;
    const now = Date.now();
    const age = (/** @type {number} */ time) => (now - time) / 1000;
    const all = [...sources.values()].map(({ source, time, status, state }) => ({
      source, status, state: state ?? (age(time) > DOWN_S ? 'down' : age(time) > LATE_S ? 'late' : 'up'),
    }));
    const order = ['down', 'late', 'up'];
    all.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.source.localeCompare(b.source));
    replace(element, all.slice(0, MOST_SOURCES).map(({ source, status, state }) => h('div', { class: 'source', 'data-state': state },
      h('b', {}, source), ` ${state} `, h('span', { class: 'muted' }, status))),
    all.length > MOST_SOURCES ? h('span', { class: 'muted' }, `and ${all.length - MOST_SOURCES} more`) : null);
  };
  const timer = setInterval(draw, 1_000);
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  const told = (/** @type {FanfareEvent} */ { time, data }) => {
    const { source, stream, status } = data;
    const key = keyOf(stream, source);
    sources.set(key, { source, time: Date.parse(time), status: '', ...sources.get(key), state: status });
  };
  // The hub knows better which sources are late, if its stream may be read.
  const ask = () => {
    isAsked = true;
    watch({ streams: 'heartbeats', types: ['status'], from: '24h', share: false, signal, onEvent: told });
  };
  return {
    element,
    add(event) {
      const { source, status, timestamp } = event.data;
      if (typeof source !== 'string') return;
      if (event.type === 'status') return told(event);
      if (!isAsked) ask();
      const key = keyOf(event.stream, source);
      sources.set(key, { ...sources.get(key), source, time: Date.parse(timestamp ?? event.time), status: String(status ?? '') });
      if (element.hidden) draw();
    },
  };
}

/** @returns {Part} */
function progress() {
  /** @type {Map<string, { row: any, bar: any, said: any, isOver: boolean }>} */
  const moving = new Map();
  const element = h('div', { class: 'bars', hidden: true });
  return {
    element,
    add({ stream, data: { file, state, bytes_sent: sent, total_size: size, percentage } }) {
      const name = String(file ?? stream);
      let found = moving.get(name);
      if (!found) {
        if (moving.size >= MOST_BARS) {
          // Removes a finished download, or else the oldest one.
          const [gone] = [...moving].find(([, { isOver }]) => isOver) ?? [...moving][0];
          moving.get(gone)?.row.remove();
          moving.delete(gone);
        }
        const bar = h('progress', { max: 100, 'aria-label': name });
        const said = h('span', { class: 'muted' });
        found = { bar, said, row: h('div', { class: 'moving' }, h('span', { class: 'name' }, name), bar, said), isOver: false };
        moving.set(name, found);
        element.hidden = false;
        element.append(found.row);
      }
      found.isOver = OVER.includes(state);
      if (Number.isFinite(percentage)) found.bar.value = percentage;
      write(found.said, `${bytes(sent)} of ${bytes(size)} ${state ?? ''}`);
    },
  };
}
