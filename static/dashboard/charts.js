// Time series charts by uPlot, in the colours of the page.

import { h, setText } from './dom.js';
import { formatTime } from './figures.js';

const HEIGHT_PX = 140;
const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-4'];
/** Minimum interval between two drawings. */
const DRAW_INTERVAL_MS = 250;
/** Minimum distance of two points. */
const POINT_INTERVAL_S = 1;
/** Time for which a chart continues to scroll without a new point. */
const IDLE_SCROLL_S = 30;
/** Minimum distance of points with a gap between them: in seconds, and relative to the average distance. */
const MIN_GAP_S = 15;
const GAP_FACTOR = 4;

/** The library, once it is loaded. @type {any} */
let uPlot = null;
/** @type {Promise<void> | null} */
let loading = null;

/**
 * Loads the library. At its import it formats a number in the language of the browser and fails if that is no
 * language tag, as in WebKit with `LANG=C.UTF-8`.
 */
function loadLibrary() {
  loading ??= (async () => {
    try {
      new Intl.NumberFormat(navigator.language);
    } catch {
      Object.defineProperty(navigator, 'language', { value: 'en-US', configurable: true });
    }
    uPlot = (await import('../vendor/uplot/uPlot.esm.js')).default;
  })();
  return loading;
}

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
 * Creates a chart of the last `spanSeconds` seconds.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string[]} options.series Names of the series.
 * @param {number} options.spanSeconds
 * @param {(value: number) => string} options.format
 * @param {number} [options.max] Minimum upper end of the scale.
 * @param {boolean} [options.showsGaps] True if a missing value is a gap.
 * @param {AbortSignal} options.signal
 */
export function createChart({ title, series, spanSeconds, format, max = 0, showsGaps = false, signal }) {
  /** @type {any} */
  const data = [[], ...series.map(() => [])];
  const value = h('span', { class: 'value' }, '–');
  const box = h('div', { class: 'plot', 'aria-hidden': 'true' });
  const element = h('figure', { class: 'card chart' }, h('figcaption', {}, h('span', {}, title), value), box);
  /** @type {any} */
  let plot = null;
  /** Average number of seconds between two points. */
  let averageInterval = 0;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let drawTimer = null;

  // Follows the points, because the browser's clock may differ.
  const end = () => {
    const [newest, now] = [data[0].at(-1) ?? 0, Date.now() / 1000];
    return Math.max(newest, Math.min(now, newest + IDLE_SCROLL_S));
  };
  /** @returns {any} */
  const options = () => {
    const [text, line] = [colour('--muted'), colour('--grid')];
    const axis = (/** @type {any} */ more) => ({ stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px system-ui', ...more });
    return {
      width: Math.max(box.clientWidth, 100),
      height: HEIGHT_PX,
      legend: { show: series.length > 1, live: false },
      cursor: { drag: { x: false, y: false } },
      padding: [8, 8, 0, 0],
      scales: {
        x: { range: () => [end() - spanSeconds, end()] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [Math.min(0, low ?? 0), Math.max(max, (high ?? 0) * 1.1) || 1] },
      },
      axes: [
        axis({ space: 70, size: 24, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map((time) => formatTime(time * 1000).slice(-8, -3)) }),
        axis({ size: 56, values: (/** @type {any} */ _, /** @type {number[]} */ ticks) => ticks.map(format) }),
      ],
      series: [{}, ...series.map((label, n) => ({
        label, stroke: colour(COLOURS[n % COLOURS.length]), width: 1.5, spanGaps: false,
        points: { show: () => data[0].length < 3 },
      }))],
    };
  };

  const draw = () => {
    drawTimer = null;
    if (signal.aborted || !box.isConnected) return;
    const from = end() - spanSeconds;
    let expiredCount = 0;
    while (expiredCount < data[0].length && data[0][expiredCount] < from) expiredCount += 1;
    if (expiredCount > 0) data.forEach((/** @type {number[]} */ column) => column.splice(0, expiredCount));
    const now = data.slice(1).map((/** @type {any[]} */ column) => column.findLast((n) => showsGaps || typeof n === 'number'));
    setText(value, now.map((/** @type {any} */ n) => (n === null || n === undefined ? '–' : format(n))).join(' / '));
    // A hidden chart is drawn when it is shown. In a closed element it may have a width nevertheless.
    if (box.clientWidth === 0 || box.checkVisibility?.() === false) return;
    if (uPlot === null) {
      loadLibrary().then(scheduleDraw, () => setText(box, 'The chart cannot be drawn: its library failed to load.'));
      return;
    }
    plot ??= new uPlot(options(), data, box);
    plot.setData(data);
  };
  const scheduleDraw = () => { drawTimer ??= setTimeout(() => requestAnimationFrame(draw), DRAW_INTERVAL_MS); };

  const resizeObserver = new ResizeObserver(() => {
    plot?.setSize({ width: Math.max(box.clientWidth, 100), height: HEIGHT_PX });
    if (data[0].length > 0) scheduleDraw();
  });
  resizeObserver.observe(box);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const recolour = () => {
    plot?.destroy();
    plot = null;
    scheduleDraw();
  };
  dark.addEventListener('change', recolour);
  signal.addEventListener('abort', () => {
    resizeObserver.disconnect();
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
      if (time - last < POINT_INTERVAL_S) {
        values.forEach((n, index) => { if (n !== null) data[index + 1][times.length - 1] = n; });
      } else {
        if (time - last > MIN_GAP_S && time - last > GAP_FACTOR * averageInterval && times.length > 1) {
          times.push(last + POINT_INTERVAL_S);
          data.slice(1).forEach((/** @type {any[]} */ column) => column.push(null));
        } else if (last > 0) {
          averageInterval = averageInterval === 0 ? time - last : averageInterval * 0.8 + (time - last) * 0.2;
        }
        times.push(time);
        // An unknown value is no gap unless `showsGaps`: uPlot distinguishes null from undefined.
        values.forEach((n, index) => data[index + 1].push(showsGaps ? n : n ?? undefined));
      }
      scheduleDraw();
    },
  };
}
