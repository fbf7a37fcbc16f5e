// Time series charts by uPlot, in the colours of the page.

import uPlot from '../vendor/uplot/uPlot.esm.js';
import { h, write } from './dom.js';
import { clock } from './figures.js';

const HEIGHT = 140;
const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-4'];
/** Minimum interval between two drawings, and between two points. */
const DRAW_MS = 250;
const APART_S = 1;
/** Time for which a chart scrolls on without a new point. */
const AFTER_S = 30;
/** Minimum distance of points with a gap between them: in seconds, and relative to the usual distance. */
const GAP_S = 15;
const GAP_TIMES = 4;

/** Returns a colour of the page in a form that a canvas accepts. @param {string} name */
function colour(name) {
  const probe = h('i', { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/**
 * Creates a chart of the last `span` seconds.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string[]} options.series Names of the series.
 * @param {number} options.span
 * @param {(value: number) => string} options.format
 * @param {number} [options.max] Minimum upper end of the scale.
 * @param {boolean} [options.isWhole] True if a missing value is a gap.
 * @param {AbortSignal} options.signal
 */
export function chart({ title, series, span, format, max = 0, isWhole = false, signal }) {
  /** @type {any} */
  const data = [[], ...series.map(() => [])];
  const value = h('span', { class: 'value' }, '–');
  const box = h('div', { class: 'plot', 'aria-hidden': 'true' });
  const element = h('figure', { class: 'card chart' }, h('figcaption', {}, h('span', {}, title), value), box);
  /** @type {any} */
  let plot = null;
  /** Average number of seconds between two points. */
  let usual = 0;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let due = null;

  // Follows the points, because the browser's clock may differ.
  const end = () => {
    const [newest, now] = [data[0].at(-1) ?? 0, Date.now() / 1000];
    return Math.max(newest, Math.min(now, newest + AFTER_S));
  };
  /** @returns {any} */
  const options = () => {
    const [text, line] = [colour('--muted'), colour('--grid')];
    const axis = (/** @type {any} */ more) => ({ stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px system-ui', ...more });
    return {
      width: Math.max(box.clientWidth, 100),
      height: HEIGHT,
      legend: { show: series.length > 1, live: false },
      cursor: { drag: { x: false, y: false } },
      padding: [8, 8, 0, 0],
      scales: {
        x: { range: () => [end() - span, end()] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [Math.min(0, low ?? 0), Math.max(max, (high ?? 0) * 1.1) || 1] },
      },
      axes: [
        axis({ space: 70, size: 24, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((at) => clock(at * 1000).slice(-8, -3)) }),
        axis({ size: 56, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(format) }),
      ],
      series: [{}, ...series.map((label, n) => ({
        label, stroke: colour(COLOURS[n % COLOURS.length]), width: 1.5, spanGaps: false,
        points: { show: () => data[0].length < 3 },
      }))],
    };
  };

  const draw = () => {
    due = null;
    if (signal.aborted || !box.isConnected) return;
    const from = end() - span;
    let old = 0;
    while (old < data[0].length && data[0][old] < from) old += 1;
    if (old > 0) data.forEach((/** @type {number[]} */ column) => column.splice(0, old));
    plot ??= new uPlot(options(), data, box);
    plot.setData(data);
    const now = data.slice(1).map((/** @type {any[]} */ column) => column.findLast((n) => isWhole || typeof n === 'number'));
    write(value, now.map((/** @type {any} */ n) => (n === null || n === undefined ? '–' : format(n))).join(' / '));
  };
  const soon = () => { due ??= setTimeout(() => requestAnimationFrame(draw), DRAW_MS); };

  const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(box.clientWidth, 100), height: HEIGHT }));
  resized.observe(box);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const recolour = () => {
    plot?.destroy();
    plot = null;
    soon();
  };
  dark.addEventListener('change', recolour);
  signal.addEventListener('abort', () => {
    resized.disconnect();
    dark.removeEventListener('change', recolour);
    plot?.destroy();
  }, { once: true });

  return {
    element,
    /** Adds a point; null is an unknown value. @param {number} time In seconds. @param {(number | null)[]} values */
    add(time, values) {
      const [times] = data;
      const last = times.at(-1) ?? -Infinity;
      if (time < last) return;
      if (time - last < APART_S) {
        values.forEach((n, at) => { if (n !== null) data[at + 1][times.length - 1] = n; });
      } else {
        if (time - last > GAP_S && time - last > GAP_TIMES * usual && times.length > 1) {
          times.push(last + APART_S);
          data.slice(1).forEach((/** @type {any[]} */ column) => column.push(null));
        } else if (last > 0) {
          usual = usual === 0 ? time - last : usual * 0.8 + (time - last) * 0.2;
        }
        times.push(time);
        // An unknown value is no gap unless `isWhole`: uPlot distinguishes null from undefined.
        values.forEach((n, at) => data[at + 1].push(isWhole ? n : n ?? undefined));
      }
      soon();
    },
  };
}
