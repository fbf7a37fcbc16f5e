// Charts of what changes over time, by uPlot, in the page's colours.

import uPlot from '../vendor/uplot/uPlot.esm.js';
import { h } from './dom.js';
import { clock } from './figures.js';

const HEIGHT = 140;
const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-4'];

/** What a canvas can take for a colour of the page. @param {string} name */
function colour(name) {
  const probe = h('i', { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/**
 * A chart of the last `span` seconds, drawn at most once a frame.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string[]} options.series Their names.
 * @param {number} options.span
 * @param {(value: number) => string} options.format
 * @param {number} [options.max] Where the scale always reaches to.
 * @param {AbortSignal} options.signal
 */
export function chart({ title, series, span, format, max = 0, signal }) {
  /** @type {any} */
  const data = [[], ...series.map(() => [])];
  const value = h('output', { class: 'value' }, '–');
  const box = h('div', { class: 'plot' });
  const element = h('figure', { class: 'card chart' }, h('figcaption', {}, h('span', {}, title), value), box);
  /** @type {any} */
  let plot = null;
  let isDue = false;

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
        x: { range: () => [Date.now() / 1000 - span, Date.now() / 1000] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [Math.min(0, low ?? 0), Math.max(max, (high ?? 0) * 1.1, 1e-9)] },
      },
      axes: [
        axis({ space: 70, size: 24, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((at) => clock(at * 1000).slice(0, 5)) }),
        axis({ size: 56, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(format) }),
      ],
      series: [{}, ...series.map((label, n) => ({
        label, stroke: colour(COLOURS[n % COLOURS.length]), width: 1.5, spanGaps: true, points: { show: false },
      }))],
    };
  };

  const draw = () => {
    isDue = false;
    if (signal.aborted || !box.isConnected) return;
    const from = Date.now() / 1000 - span;
    const times = /** @type {number[]} */ (data[0]);
    let old = 0;
    while (old < times.length && times[old] < from) old += 1;
    if (old > 0) data.forEach((/** @type {number[]} */ column) => column.splice(0, old));
    plot ??= new uPlot(options(), data, box);
    plot.setData(data);
    const now = data.slice(1).map((/** @type {any[]} */ column) => column.at(-1)).filter((/** @type {any} */ n) => n !== null && n !== undefined);
    value.textContent = now.length > 0 ? now.map((/** @type {number} */ n) => format(n)).join(' / ') : '–';
  };
  const due = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(draw);
  };

  const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(box.clientWidth, 100), height: HEIGHT }));
  resized.observe(box);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const recolour = () => {
    plot?.destroy();
    plot = null;
    due();
  };
  dark.addEventListener('change', recolour);
  signal.addEventListener('abort', () => {
    resized.disconnect();
    dark.removeEventListener('change', recolour);
    plot?.destroy();
  });

  return {
    element,
    /** @param {number} time In seconds. @param {(number | null)[]} values */
    add(time, values) {
      const times = /** @type {number[]} */ (data[0]);
      if (times.length > 0 && time < times[times.length - 1]) return;
      if (times[times.length - 1] === time) {
        values.forEach((n, at) => { if (n !== null) data[at + 1][times.length - 1] = n; });
      } else {
        times.push(time);
        values.forEach((n, at) => data[at + 1].push(n));
      }
      due();
    },
  };
}
