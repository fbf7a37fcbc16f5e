// Draws events: metrics as charts by name and labels, heartbeats as a board, progress as bars.

import { createChart } from './charts.js';
import { createBar } from './bar.js';
import { h, replaceChildren, setText } from './dom.js';
import { formatBytes, formatCount, formatDuration, formatPercent } from './figures.js';
import { subscribeToHub } from './hub.js';

/** Maximum number of charts, bars and sources on a page. */
const MAX_CHARTS = 24;
const MAX_BARS = 24;
const MAX_SOURCES = 200;
const SPAN_S = 600;
/** Seconds without a heartbeat after which a source is late or down, if the hub does not report that. */
const [LATE_S, DOWN_S] = [30, 90];
/** Final states of a download. */
const FINAL_STATES = ['done', 'aborted'];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** A kind of drawings; `describe` returns texts for the strip. @typedef {{ element: any, add: (event: FanfareEvent) => void, describe: () => string[] }} Drawing */

const plural = (/** @type {number} */ n, /** @type {string} */ noun) => `${formatCount(n)} ${noun}${n === 1 ? '' : 's'}`;

/** Returns the user's choice, or null. */
function readChoice() {
  try {
    const stored = localStorage.getItem(STORAGE_KEY);
    return stored === null ? null : stored === 'open';
  } catch {
    return null;
  }
}

/** @param {boolean} isOpen */
function storeChoice(isOpen) {
  try {
    localStorage.setItem(STORAGE_KEY, isOpen ? 'open' : 'closed');
  } catch {
    // The browser stores nothing for this page.
  }
}

/** Key of the user's choice to open or close the drawings. */
const STORAGE_KEY = 'fanfare-drawings';

/**
 * Creates the charts, the board and the bars of a page: a strip that lists them, and opens.
 *
 * @param {boolean} isOpen True if they are open unless the user has closed them.
 * @param {AbortSignal} signal
 */
export function createDrawings(isOpen, signal) {
  const summary = h('summary');
  const parts = [createMetrics(signal), createHeartbeats(signal), createProgress()];
  const [charts, board, bars] = parts;
  const element = h('details', { class: 'drawn', hidden: true }, summary, h('div', { class: 'drawn-panel', tabindex: 0, role: 'region', 'aria-label': 'Charts and services' }, parts.map((part) => part.element)));
  const stored = readChoice();
  element.open = stored === null ? isOpen : stored;
  summary.addEventListener('click', () => storeChoice(!element.open));
  /** @type {string[]} */
  let shown = [];
  const showSummary = () => {
    const texts = parts.flatMap((part) => part.describe());
    if (texts.join() === shown.join()) return;
    shown = texts;
    element.hidden = texts.length === 0;
    replaceChildren(summary, texts.map((text) => h('span', { class: / (down|late)$/.test(text) ? text.split(' ').at(-1) : false }, text)));
  };
  const timer = setInterval(showSummary, 1_000);
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  return {
    element,
    /** @param {FanfareEvent[]} events */
    add(events) {
      for (const event of events) {
        const { type, stream, data } = event;
        if (data === null || typeof data !== 'object') continue;
        if (type === 'metric') charts.add(event);
        else if (type === 'heartbeat' || (type === 'status' && stream === 'heartbeats')) board.add(event);
        else if (type === 'progress') bars.add(event);
      }
      showSummary();
    },
  };
}

/** @param {AbortSignal} signal @returns {Drawing} */
function createMetrics(signal) {
  /** @type {Map<string, ReturnType<typeof createChart>>} */
  const chartsByKey = new Map();
  const omittedKeys = new Set();
  const cards = h('div', { class: 'cards' });
  const omittedNote = h('p', { class: 'muted', hidden: true });
  const element = h('div', { hidden: true }, cards, omittedNote);
  return {
    element,
    describe: () => (chartsByKey.size === 0 ? [] : [plural(chartsByKey.size + omittedKeys.size, 'chart')]),
    add({ time, data: { name, value, unit, labels, timestamp } }) {
      if (!Number.isFinite(value)) return;
      const labelText = Object.entries(labels ?? {}).map(([label, labelValue]) => `${label}=${labelValue}`).sort().join(' ');
      const key = `${name} ${labelText}`;
      let metricChart = chartsByKey.get(key);
      if (!metricChart) {
        if (chartsByKey.size >= MAX_CHARTS) {
          if (omittedKeys.size < 10_000) omittedKeys.add(key);
          omittedNote.hidden = false;
          return setText(omittedNote, `and ${omittedKeys.size} more metrics`);
        }
        metricChart = createChart({ title: labelText ? `${name} (${labelText})` : name, series: [name], spanSeconds: SPAN_S, format: formatterOf(unit), signal });
        chartsByKey.set(key, metricChart);
        element.hidden = false;
        cards.append(metricChart.element);
      }
      metricChart.add(Date.parse(timestamp ?? time) / 1000, [value]);
    },
  };
}

/** Returns a function that writes values with their unit. @param {unknown} unit */
function formatterOf(unit) {
  const text = typeof unit === 'string' ? unit.slice(0, 20) : '';
  const bytes = text.match(/^bytes(.*)$/);
  if (bytes) return (/** @type {number} */ n) => `${formatBytes(n)}${bytes[1]}`;
  if (text === 'seconds' || text === 's') return (/** @type {number} */ n) => (n < 0 ? `${formatCount(n)} s` : formatDuration(n));
  if (text === 'percent') return formatPercent;
  const suffix = text === '' || text === 'processes' ? '' : ` ${text}`;
  return (/** @type {number} */ n) => `${formatCount(n)}${suffix}`;
}

/** @param {AbortSignal} signal @returns {Drawing} */
function createHeartbeats(signal) {
  /** Sources by stream and name: another stream does not describe a source.
   * @type {Map<string, { source: string, time: number, status: string, state?: string }>} */
  const sources = new Map();
  const keyOf = (/** @type {any} */ stream, /** @type {string} */ source) => JSON.stringify([[stream].flat()[0], source]);
  const element = h('div', { class: 'board', hidden: true });
  let isSubscribed = false;
  const listSources = () => {
    const now = Date.now();
    const age = (/** @type {number} */ time) => (now - time) / 1000;
    return [...sources.values()].map(({ source, time, status, state }) => ({
      source, status, state: state ?? (age(time) > DOWN_S ? 'down' : age(time) > LATE_S ? 'late' : 'up'),
    }));
  };
  const draw = () => {
    element.hidden = sources.size === 0;
    if (element.hidden) return;
    const all = listSources();
    const order = ['down', 'late', 'up'];
    all.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.source.localeCompare(b.source));
    replaceChildren(element, all.slice(0, MAX_SOURCES).map(({ source, status, state }) => h('div', { class: 'source', 'data-state': state },
      h('b', {}, source), ` ${state} `, h('span', { class: 'muted' }, status))),
    all.length > MAX_SOURCES ? h('span', { class: 'muted' }, `and ${all.length - MAX_SOURCES} more`) : null);
  };
  const timer = setInterval(draw, 1_000);
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  const handleStatus = (/** @type {FanfareEvent} */ { time, data }) => {
    const { source, stream, status } = data;
    const key = keyOf(stream, source);
    sources.set(key, { source, time: Date.parse(time), status: '', ...sources.get(key), state: status });
  };
  // The hub's own status of the sources is more accurate, but not every user may read its stream.
  const subscribeToStatus = () => {
    isSubscribed = true;
    subscribeToHub({ streams: 'heartbeats', types: ['status'], from: '24h', share: false, signal, onEvent: handleStatus });
  };
  return {
    element,
    describe() {
      if (sources.size === 0) return [];
      const all = listSources();
      const late = all.filter(({ state }) => state !== 'up');
      return [plural(all.length, 'service'), ...late.slice(0, 5).map(({ source, state }) => `${source} ${state}`), ...(late.length > 5 ? [`${late.length - 5} more late or down`] : [])];
    },
    add(event) {
      const { source, status, timestamp } = event.data;
      if (typeof source !== 'string') return;
      if (event.type === 'status') return handleStatus(event);
      if (!isSubscribed) subscribeToStatus();
      const key = keyOf(event.stream, source);
      sources.set(key, { ...sources.get(key), source, time: Date.parse(timestamp ?? event.time), status: String(status ?? '') });
      if (element.hidden) draw();
    },
  };
}

/** @returns {Drawing} */
function createProgress() {
  /** @type {Map<string, { row: any, bar: any, amount: any, isFinished: boolean }>} */
  const downloads = new Map();
  const element = h('div', { class: 'bars', hidden: true });
  return {
    element,
    describe: () => (downloads.size === 0 ? [] : [plural(downloads.size, 'download')]),
    add({ stream, data: { file, state, bytes_sent: sent, total_size: size, percentage } }) {
      const name = String(file ?? stream);
      let download = downloads.get(name);
      if (!download) {
        if (downloads.size >= MAX_BARS) {
          // Removes a finished download, or else the oldest one.
          const [evicted] = [...downloads].find(([, { isFinished }]) => isFinished) ?? [...downloads][0];
          downloads.get(evicted)?.row.remove();
          downloads.delete(evicted);
        }
        const bar = createBar(name);
        const amount = h('span', { class: 'muted' });
        download = { bar, amount, row: h('div', { class: 'moving' }, h('span', { class: 'name' }, name), bar.element, amount), isFinished: false };
        downloads.set(name, download);
        element.hidden = false;
        element.append(download.row);
      }
      download.isFinished = FINAL_STATES.includes(state);
      if (Number.isFinite(percentage)) download.bar.set(percentage / 100);
      setText(download.amount, `${formatBytes(sent)} of ${formatBytes(size)} ${state ?? ''}`);
    },
  };
}
