// Formats of numbers on the dashboard.

import { expect, test } from '@playwright/test';
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate, formatTime, quantile } from '../../static/dashboard/figures.js';
import { countBars } from '../../static/dashboard/histogram.js';

test('counts, bytes and durations are shown with few digits', () => {
  expect([0, 7, 0.5, 12.34, 999.4, 9_999, 10_000, 123_456, 5e9, null, NaN].map(formatCount)).toEqual(['0', '7', '0.50', '12.3', '999', '9999', '10.0k', '123k', '5000M', '–', '–']);
  expect([0, 1023, 1024, 150 * 1024, 5 * 2 ** 30, undefined].map(formatBytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '150 KiB', '5.0 GiB', '–']);
  expect([0.00005, 0.0012, 0.05, 0.12, 0.5, 1.5, 42, 90, 7_300, 90_000, Infinity, null].map(formatDuration))
    .toEqual(['50 µs', '1.2 ms', '50 ms', '120 ms', '500 ms', '1.5 s', '42 s', '1 m', '2 h 1 m', '1 d 1 h', '> 10 s', '–']);
});

test('rates and shares are shown with their unit', () => {
  expect([0, 0.5, 12_345, null].map(formatRate)).toEqual(['0/s', '0.50/s', '12.3k/s', '–']);
  expect([0, 4.21, 99.6].map(formatPercent)).toEqual(['0.0 %', '4.2 %', '100 %']);
});

test('a histogram counts events by time and severity, in bars of a round width', () => {
  const at = (seconds, severity) => ({ time: 1_000_000_000_000 + seconds * 1000, severity, event: {} });
  expect(countBars([])).toBeNull();
  expect(countBars([{ time: 5, severity: -1, event: null }])).toBeNull();
  expect(countBars([at(0, 4)])).toMatchObject({ stepMs: 1_000, counts: [[1, 0, 0]] });
  // The order of arrival does not matter.
  expect(countBars([at(2, -1), at(0, 5), at(0, 3), at(2, 2)])).toMatchObject({ stepMs: 1_000, counts: [[1, 1, 0], [0, 0, 0], [0, 0, 2]] });
  for (const span of [89, 90, 3_600, 86_400, 40 * 86_400, 4_000 * 86_400]) {
    const { counts, stepMs } = countBars([at(0, 2), at(span, 2)]);
    expect(counts.length, `${span} s`).toBeLessThanOrEqual(92);
    expect(counts.flat().reduce((sum, n) => sum + n, 0)).toBe(2);
    expect(stepMs % 1_000).toBe(0);
  }
});

test('a time of another day is shown with its date', () => {
  const now = new Date();
  expect(formatTime(now.getTime())).toMatch(/^\d\d:\d\d:\d\d$/);
  expect(formatTime('2020-02-03T04:05:06.007Z', true)).toMatch(/^2020-02-0[234] \d\d:\d\d:06\.007$/);
  expect(formatTime('no time')).toBe('');
});

test('a quantile covers the observations between two samples, also beyond the last bucket', () => {
  const histogram = (count, ...counts) => ({ count, buckets: [0.001, 0.01, 0.1].map((le_s, n) => ({ le_s, count: counts[n] })) });
  const nothing = histogram(0, 0, 0, 0);
  expect(quantile(nothing, nothing, 0.99)).toBeNull();
  expect(quantile(nothing, histogram(100, 100, 100, 100), 0.5)).toBeCloseTo(0.0005);
  expect(quantile(nothing, histogram(100, 0, 50, 100), 0.75)).toBeCloseTo(0.055);
  expect(quantile(histogram(100, 100, 100, 100), histogram(110, 100, 110, 110), 0.99)).toBeCloseTo(0.001 + 0.009 * 0.99);
  expect(quantile(nothing, histogram(100, 10, 20, 50), 0.99)).toBe(Infinity);
});
