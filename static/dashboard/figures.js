// Formats numbers for people.

const STEPS = ['', 'k', 'M', 'G', 'T'];

/** @param {number | null | undefined} n */
export function count(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  let at = 0;
  let value = n;
  while (Math.abs(value) >= 9_999.5 && at < STEPS.length - 1) {
    value /= 1000;
    at += 1;
  }
  const digits = at > 0 || Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(at > 0 && value < 100 ? 1 : digits)}${STEPS[at]}`;
}

/** @param {number | null | undefined} n */
export function bytes(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const at = n < 1024 ? 0 : Math.min(steps.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 1024 ** at;
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${steps[at]}`;
}

/** @param {number | null | undefined} s */
export function seconds(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return '–';
  // Beyond the last bucket of a histogram.
  if (s === Infinity) return '> 10 s';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  const [d, hours, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return d > 0 ? `${d} d ${hours} h` : hours > 0 ? `${hours} h ${m} m` : `${m} m`;
}

/** Returns the time of day, with the date unless it is today. @param {string | number} time @param {boolean} [exact] */
export function clock(time, exact = false) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '';
  const text = date.toTimeString().slice(0, 8);
  const isToday = date.toDateString() === new Date().toDateString();
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const day = isToday ? '' : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
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
  const wanted = all * q;
  let [low, below] = [0, 0];
  for (const [n, { le_s: high, count }] of now.buckets.entries()) {
    const within = count - (before.buckets[n]?.count ?? 0);
    if (within >= wanted) return low + (high - low) * ((wanted - below) / (within - below));
    [low, below] = [high, within];
  }
  return Infinity;
}
