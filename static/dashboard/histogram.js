// Histogram of the events of a log: their number over time, by level.

import { h, setText } from './dom.js';
import { formatCount, formatTime } from './figures.js';

/** Approximate number of bars. */
const MAX_BARS = 90;
/** Widths of a bar in seconds. */
const STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];
/** Minimum number of bars for which there is room. */
const MIN_SLOTS = 60;
const HEIGHT = 36;
const DRAW_INTERVAL_MS = 250;
/** Parts of a bar, from below: their name, and their severities. @type {[string, (severity: number) => boolean][]} */
const PARTS = [['error', (n) => n >= 4], ['warn', (n) => n === 3], ['other', (n) => n < 3]];

/** @typedef {{ time: number, severity: number, event: any }} Point */
/** @typedef {{ start: number, stepMs: number, counts: number[][] }} Bars */

/**
 * Returns the number of events of each bar and part.
 *
 * @param {Point[]} points
 * @returns {Bars | null} null if there are none.
 */
export function countBars(points) {
  let [first, last] = [Infinity, -Infinity];
  for (const { time, event } of points) {
    if (!event) continue;
    first = Math.min(first, time);
    last = Math.max(last, time);
  }
  if (!Number.isFinite(first) || !Number.isFinite(last)) return null;
  const spanS = (last - first) / 1000;
  const stepMs = 1000 * (STEPS_S.find((step) => spanS / step < MAX_BARS) ?? Math.ceil(spanS / MAX_BARS / 86_400) * 86_400);
  const start = Math.floor(first / stepMs) * stepMs;
  const counts = Array.from({ length: Math.floor((last - start) / stepMs) + 1 }, () => PARTS.map(() => 0));
  for (const { time, severity, event } of points) {
    if (event) counts[Math.floor((time - start) / stepMs)][PARTS.findIndex(([, includes]) => includes(severity))] += 1;
  }
  return { start, stepMs, counts };
}

/** Returns a text such as `42 events, 3 errors`. @param {number[]} counts */
function describeCounts([errors, warnings, others]) {
  const total = errors + warnings + others;
  const plural = (/** @type {number} */ n, /** @type {string} */ noun) => `${formatCount(n)} ${noun}${n === 1 ? '' : 's'}`;
  return [plural(total, 'event'), ...(errors > 0 ? [plural(errors, 'error')] : []), ...(warnings > 0 ? [plural(warnings, 'warning')] : [])].join(', ');
}

/** Returns the width of a bar with its unit. @param {number} s */
const formatStep = (s) => (s < 60 ? `${s} s` : s < 3_600 ? `${s / 60} min` : s < 86_400 ? `${s / 3_600} h` : `${s / 86_400} d`);

const svg = (/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
};

/**
 * Creates a histogram.
 *
 * @param {() => Point[]} getPoints Returns the events of the log that is shown.
 * @param {(time: number) => void} onSelect Called with the start of the chosen bar.
 */
export function createHistogram(getPoints, onSelect) {
  const plot = svg('svg', { role: 'img', preserveAspectRatio: 'none', class: 'histogram-plot', 'aria-label': 'Events over time: none' });
  const [start, middle, end] = [h('span'), h('span', { class: 'histogram-scale' }), h('span')];
  const element = h('figure', { class: 'histogram' }, plot, h('figcaption', {}, start, middle, end));
  /** @type {Bars | null} */
  let bars = null;
  /** Number of the bar under the pointer. @type {number | null} */
  let pointed = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;

  const showScale = () => {
    if (!bars) return setText(middle, '');
    const bar = pointed === null ? undefined : bars.counts[pointed];
    setText(middle, bar ? `${formatTime(bars.start + Number(pointed) * bars.stepMs)}: ${describeCounts(bar)}` : `${formatStep(bars.stepMs / 1000)} per bar`);
  };
  const draw = () => {
    timer = null;
    bars = countBars(getPoints());
    const length = bars?.counts.length ?? 1;
    // A few bars do not fill the width, and the newest one is at the right.
    const slots = Math.max(length, MIN_SLOTS);
    plot.setAttribute('viewBox', `0 0 ${slots} ${HEIGHT}`);
    const max = Math.max(1, ...(bars?.counts ?? []).map((counts) => counts.reduce((sum, n) => sum + n, 0)));
    plot.replaceChildren(...(bars?.counts ?? []).flatMap((counts, index) => {
      let y = HEIGHT;
      return counts.flatMap((count, part) => {
        if (count === 0) return [];
        // A single event is visible beside many.
        const height = Math.max(1.5, (count / max) * (HEIGHT - 3));
        y -= height;
        return [svg('rect', { class: `part-${PARTS[part][0]}`, x: slots - length + index + 0.1, y, width: 0.8, height })];
      });
    }));
    const totals = (bars?.counts ?? []).reduce((sums, counts) => sums.map((sum, part) => sum + counts[part]), [0, 0, 0]);
    const [from, to] = bars ? [formatTime(bars.start), formatTime(bars.start + length * bars.stepMs)] : ['', ''];
    plot.setAttribute('aria-label', bars ? `Events over time: ${describeCounts(totals)} from ${from} to ${to}` : 'Events over time: none');
    setText(start, bars && slots === length ? from : '');
    setText(end, to);
    showScale();
  };
  const barAt = (/** @type {MouseEvent} */ event) => {
    const { left, width } = plot.getBoundingClientRect();
    const length = bars?.counts.length ?? 0;
    const slots = Math.max(length, MIN_SLOTS);
    const index = Math.floor(((event.clientX - left) / width) * slots) - (slots - length);
    return index >= 0 && index < length ? index : null;
  };
  plot.addEventListener('pointermove', (event) => {
    pointed = barAt(event);
    showScale();
  });
  plot.addEventListener('pointerleave', () => {
    pointed = null;
    showScale();
  });
  plot.addEventListener('click', (event) => {
    const index = barAt(event);
    if (bars && index !== null) onSelect(bars.start + index * bars.stepMs);
  });
  return {
    element,
    update() {
      timer ??= setTimeout(draw, DRAW_INTERVAL_MS);
    },
  };
}
