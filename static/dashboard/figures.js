// Formats numbers for people.

const STEPS = ['', 'k', 'M', 'G', 'T'];

/** Returns a count with few digits: `12.3`, `123k`. @param {number | null | undefined} n */
export function formatCount(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  let step = 0;
  let value = n;
  while (Math.abs(value) >= 9_999.5 && step < STEPS.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = step > 0 || Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(step > 0 && value < 100 ? 1 : digits)}${STEPS[step]}`;
}

/** Returns a size in bytes with a unit: `1.5 KiB`. @param {number | null | undefined} n */
export function formatBytes(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = n < 1024 ? 0 : Math.min(steps.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 1024 ** step;
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${steps[step]}`;
}

/** Returns a rate with its unit: `12.3/s`. @param {number | null | undefined} n */
export const formatRate = (n) => (n === null || n === undefined || !Number.isFinite(n) ? '–' : `${formatCount(n)}/s`);

/** Returns a share with its unit: `4.2 %`. @param {number} n */
export const formatPercent = (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} %`;

/** Returns a duration in seconds with a unit: `1.2 ms`, `2 h 1 m`. @param {number | null | undefined} s */
export function formatDuration(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return '–';
  // The value lies beyond the last bucket of a histogram.
  if (s === Infinity) return '> 10 s';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  const [d, hours, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return d > 0 ? `${d} d ${hours} h` : hours > 0 ? `${hours} h ${m} m` : `${m} m`;
}

/** Returns the time of day, with the date unless it is today. @param {string | number} time @param {boolean} [exact] */
export function formatTime(time, exact = false) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '';
  const text = date.toTimeString().slice(0, 8);
  const isToday = date.toDateString() === new Date().toDateString();
  const pad2 = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const day = isToday ? '' : `${date.getFullYear()}-${pad2(date.getMonth() + 1)}-${pad2(date.getDate())} `;
  return `${day}${text}${exact ? `.${String(date.getMilliseconds()).padStart(3, '0')}` : ''}`;
}

/**
 * Counts of a histogram.
 *
 * @typedef {{ count: number, buckets: Array<{ le_s: number, count: number }> }} Histogram
 */

/**
 * Returns a quantile of the observations between two samples of a histogram, in seconds: `Infinity` if
 * it lies beyond the last bucket, null if there were none.
 *
 * @param {Histogram} before
 * @param {Histogram} now
 * @param {number} q
 */
export function quantile(before, now, q) {
  const all = now.count - before.count;
  if (all <= 0) return null;
  const rank = all * q;
  let [low, previousCount] = [0, 0];
  for (const [n, { le_s: high, count }] of now.buckets.entries()) {
    const within = count - (before.buckets[n]?.count ?? 0);
    if (within >= rank) return low + (high - low) * ((rank - previousCount) / (within - previousCount));
    [low, previousCount] = [high, within];
  }
  return Infinity;
}
