// Page `Overview`: what needs attention, health, load, refusals and limits of the hub, and its machine.

import { createAttention } from './attention.js';
import { loginLink, showBanner } from './banner.js';
import { createBar } from './bar.js';
import { createChart } from './charts.js';
import { subscribeForPage } from './connection.js';
import { append, h, replaceChildren, setText, table, updateRows } from './dom.js';
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate, quantile } from './figures.js';
import { fetchHubStats } from './history.js';
import { poll, request } from './hub.js';
import { limitName, settingName } from './limits.js';
import { selects } from '../fanfare.js';

/** Time span of the charts, in seconds: the hub keeps this much of its own figures and of the machine's. */
const SPAN_S = 3_600;
const POLL_INTERVAL_MS = 2_000;
/** Period of rates; it is longer than the poll interval, because workers report their counts only now and then. */
const RATE_PERIOD_MS = 8_000;
/** Period of recent refusals. */
const MINUTE_MS = 60_000;

/** @param {import('./main.js').Context} context */
export function overview({ main, user, signal }) {
  const machine = h('div', { class: 'stack' });
  const hub = h('div', { class: 'stack' });
  const attention = createAttention(user, signal);
  main.append(h('h1', {}, 'Overview'), hub, h('h2', {}, 'Machine, last hour'), machine);
  const loginHint = (/** @type {string} */ text) => {
    const { href, text: linkText } = loginLink();
    return h('p', { class: 'muted' }, text, ' ', h('a', { href }, linkText), '.');
  };
  // Each hub of a cluster has its own.
  const own = (/** @type {string} */ stream) => (user.node ? `${stream}.${user.node}` : stream);
  if (user.admin) drawHub(hub, attention, own('hub.stats'), signal);
  else append(hub, attention.element, loginHint('Only admins can see the state of the hub.'));
  if (user.subscribe.some((selector) => selects(selector, own('system')))) drawMachine(machine, own('system'), signal);
  else machine.append(loginHint(`You cannot read the stream “${own('system')}”.`));
}

/** A sample of the figures. @typedef {{ at: number, stats: any }} Sample */

/** @param {Element} hub @param {ReturnType<typeof createAttention>} attention @param {string} stream @param {AbortSignal} signal */
function drawHub(hub, attention, stream, signal) {
  const health = h('p', { class: 'health', role: 'status' });
  /** @param {string} title @param {(n: number) => string} format */
  const createHubChart = (title, format) => createChart({ title, series: [title], spanSeconds: SPAN_S, format, showsGaps: true, signal });
  const charts = {
    sessions: createHubChart('sessions', formatCount),
    events: createHubChart('events published', formatRate),
    deliveries: createHubChart('deliveries', formatRate),
    fanOut: createHubChart('fan-out, 99th percentile', formatDuration),
  };
  const totals = h('dl', { class: 'totals' });
  const limits = h('div');
  const refusals = table('Refusals by reason', ['of', 'reason', ['last minute'], ['since start']]);
  const noRefusals = h('p', { class: 'muted' }, 'No refusals.');
  append(hub, health, attention.element, h('h2', {}, 'Hub, last hour'), h('div', { class: 'cards' }, Object.values(charts).map(({ element }) => element)), totals,
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, 'Limits in use'), limits),
      h('section', { class: 'card' }, h('h2', {}, 'Refused, by reason'), noRefusals, refusals.element)));

  // Without the system monitor the charts begin now.
  const history = fetchHubStats(signal, (time, stats) => {
    charts.sessions.add(time, [stats.sessions]);
    charts.events.add(time, [stats.events_per_second]);
    charts.deliveries.add(time, [stats.deliveries_per_second]);
    charts.fanOut.add(time, [stats.fan_out_p99_s]);
  }, stream).catch(() => {});
  /** @type {Sample[]} */
  let samples = [];
  poll(signal, POLL_INTERVAL_MS, async () => {
    await history;
    const time = Date.now() / 1000;
    let stats;
    try {
      stats = await request('stats', { signal });
    } catch (error) {
      // The charts have a gap for this time.
      for (const { add } of Object.values(charts)) add(time, [null]);
      samples = [];
      if (!signal.aborted) {
        health.dataset.state = 'bad';
        setText(health, 'Unknown');
      }
      throw error;
    }
    const now = { at: performance.now(), stats };
    // Smaller counts are those of a new process.
    const last = samples.at(-1)?.stats;
    if (last && (stats.uptime_s < last.uptime_s || stats.totals.events_published < last.totals.events_published)) samples = [];
    samples = [...samples.filter(({ at }) => now.at - at <= MINUTE_MS), now];
    const earlier = samples.find(({ at }) => now.at - at <= RATE_PERIOD_MS);
    charts.sessions.add(time, [stats.totals.sessions]);
    if (earlier && earlier !== now) {
      const ratePerSecond = (/** @type {string} */ name) => (stats.totals[name] - earlier.stats.totals[name]) / ((now.at - earlier.at) / 1000);
      charts.events.add(time, [ratePerSecond('events_published')]);
      charts.deliveries.add(time, [ratePerSecond('deliveries')]);
      charts.fanOut.add(time, [quantile(earlier.stats.fan_out, stats.fan_out, 0.99)]);
    }
    drawHealth(health, stats);
    replaceChildren(totals, totalsOf(stats).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
    replaceChildren(limits, limitsOf(stats.limits));
    const rows = refusalsOf(samples[0].stats.refusals, stats.refusals);
    attention.showRefusals(rows);
    [noRefusals.hidden, refusals.element.hidden] = [rows.length > 0, rows.length === 0];
    updateRows(refusals.body, rows, ([kind, reason]) => `${kind} ${reason}`, ([kind, reason, lastMinute, total]) => [
      h('span', {}, kind), h('span', {}, reason), formatCount(lastMinute), formatCount(total),
    ]);
  });
}

/** @param {HTMLElement} health @param {any} stats */
function drawHealth(health, stats) {
  const failing = Object.entries(stats.checks).filter(([, check]) => !check.ok);
  health.dataset.state = stats.ready ? 'good' : 'bad';
  const text = stats.ready ? 'Ready' : `Not ready. ${failing.map(([name, check]) => `${name}: ${check.reason}`).join('; ')}`;
  const loss = stats.checks.loss?.reason;
  setText(health, loss ? `${text}. ${loss}` : text);
}

/** @param {any} stats @returns {[string, string][]} */
function totalsOf({ totals, version, uptime_s: uptime }) {
  return [
    ['version', version],
    ['up for', formatDuration(uptime)],
    ['events kept', `${formatBytes(totals.journal_bytes)} of ${formatBytes(totals.journal_max_bytes)}`],
    ['streams', formatCount(totals.journal_streams)],
    ['on disk', formatBytes(totals.journal_disk_bytes)],
    ['disk left', formatBytes(totals.journal_disk_free_bytes)],
    ['published', formatCount(totals.events_published)],
    ['delivered', formatCount(totals.deliveries)],
    ['from history', formatCount(totals.events_replayed)],
    ['queued for readers', formatBytes(totals.session_queue_bytes)],
    ['catching up', formatCount(totals.sessions_catching_up)],
    ['gaps', formatCount(totals.session_gaps)],
  ];
}

/** Returns the limits in use, the highest use first. @param {any[]} limits */
function limitsOf(limits) {
  const usedLimits = limits.filter((limit) => limit.max > 0).map((limit) => ({ ...limit, share: (limit.use ?? limit.peak ?? 0) / limit.max }));
  usedLimits.sort((a, b) => b.share - a.share || b.refusals - a.refusals);
  return usedLimits.slice(0, 10).map((limit) => {
    const name = [limitName(limit.limit), ...(limit.streams ?? [])].join(' ');
    const format = limit.limit.includes('bytes') || limit.limit.includes('memory') ? formatBytes : formatCount;
    const text = `${format(limit.use ?? limit.peak ?? 0)} of ${format(limit.max)}`;
    const bar = createBar(name, 'meter');
    bar.set(limit.share, text);
    return h('div', { class: 'limit' },
      h('span', {}, name, ' ', h('code', { class: 'muted' }, settingName(limit.limit))), bar.element, h('span', { class: 'number' }, text),
      limit.refusals > 0 ? h('span', { class: 'bad' }, `${formatCount(limit.refusals)} refused since the start`) : null);
  });
}

/**
 * Returns kind, reason, count of the last minute and count since the start; recent refusals first.
 *
 * @param {Record<string, Record<string, number>>} before
 * @param {Record<string, Record<string, number>>} now
 * @returns {[string, string, number, number][]}
 */
function refusalsOf(before, now) {
  const rows = Object.entries(now).flatMap(([kind, reasons]) => Object.entries(reasons).map(([reason, total]) => {
    /** @type {[string, string, number, number]} */
    const row = [kind, reason, total - (before[kind]?.[reason] ?? 0), total];
    return row;
  }));
  return rows.sort((a, b) => b[2] - a[2] || b[3] - a[3]);
}

/** @param {Element} machine @param {string} stream @param {AbortSignal} signal */
function drawMachine(machine, stream, signal) {
  const rate = (/** @type {number} */ n) => `${formatBytes(n)}/s`;
  /** @param {string} title @param {string[]} series @param {(n: number) => string} format @param {number} [max] */
  const createMachineChart = (title, series, format, max = 0) => createChart({ title, series, spanSeconds: SPAN_S, format, max, signal });
  const cpu = createMachineChart('processor', ['cpu'], formatPercent, 100);
  const memory = createMachineChart('memory', ['memory'], formatPercent, 100);
  const disk = createMachineChart('disk', ['disk'], formatPercent, 100);
  const network = createMachineChart('network', ['sent', 'received'], rate);
  const load = createMachineChart('load average', ['load'], formatCount);
  machine.append(h('div', { class: 'cards' }, [cpu, memory, disk, network, load].map(({ element }) => element)));
  const charts = /** @type {Record<string, [ReturnType<typeof createChart>, number, number]>} */ ({
    cpu_percent: [cpu, 0, 1], memory_percent: [memory, 0, 1], disk_percent: [disk, 0, 1],
    network_sent: [network, 0, 2], network_received: [network, 1, 2], load_average: [load, 0, 1],
  });
  // The system monitor may be switched off.
  const silenceTimer = setTimeout(() => showBanner('machine', { kind: 'info', text: `The stream “${stream}” has no events. The setting --system may be off.` }), 15_000);
  signal.addEventListener('abort', () => clearTimeout(silenceTimer), { once: true });
  subscribeForPage({
    streams: stream,
    from: '1h',
    signal,
    onEvent: ({ type, time, data }) => {
      clearTimeout(silenceTimer);
      showBanner('machine', null);
      const [target, seriesIndex, seriesCount] = (type === 'metric' && charts[data.name]) || [];
      if (!target) return;
      const values = Array(seriesCount).fill(null);
      values[Number(seriesIndex)] = data.value;
      target.add(Date.parse(data.timestamp ?? time) / 1000, values);
    },
  });
}
