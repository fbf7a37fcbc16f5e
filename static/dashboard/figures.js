// Numbers as people read them.

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
  if (n === null || n === undefined) return '–';
  const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const at = n < 1024 ? 0 : Math.min(steps.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 1024 ** at;
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${steps[at]}`;
}

/** @param {number | null | undefined} s */
export function seconds(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return '–';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toPrecision(2)} ms`;
  if (s < 60) return `${s.toPrecision(2)} s`;
  const [d, hours, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return d > 0 ? `${d} d ${hours} h` : hours > 0 ? `${hours} h ${m} m` : `${m} m`;
}

/** The time of day. @param {string | number} time @param {boolean} [exact] */
export function clock(time, exact = false) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '';
  const text = date.toTimeString().slice(0, 8);
  return exact ? `${text}.${String(date.getMilliseconds()).padStart(3, '0')}` : text;
}

/**
 * A quantile of what came between two looks at a histogram, in the unit of its buckets; null where
 * nothing came.
 *
 * @param {Array<{ le_s: number, count: number }>} before
 * @param {Array<{ le_s: number, count: number }>} now
 * @param {number} q
 */
export function quantile(before, now, q) {
  const counts = now.map(({ le_s, count }, n) => ({ le_s, count: count - (before[n]?.count ?? 0) }));
  const all = counts.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  const at = counts.findIndex(({ count }) => count >= all * q);
  const [low, below] = at === 0 ? [0, 0] : [counts[at - 1].le_s, counts[at - 1].count];
  const { le_s, count } = counts[at];
  if (!Number.isFinite(le_s)) return low;
  return low + (le_s - low) * ((all * q - below) / (count - below));
}
