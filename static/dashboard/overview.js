// Is it healthy: what the hub does, what it refuses, what will run out first, and its machine.

import { chart } from './charts.js';
import { follow } from './connection.js';
import { h, replace, table } from './dom.js';
import { bytes, count, quantile, seconds } from './figures.js';
import { ask, every } from './hub.js';

/** What the charts show, in seconds. */
const SPAN = 600;
const ASK_MS = 2_000;

/** @typedef {import('./main.js').Context} Context */

/** @param {Context} context */
export function overview({ main, who, signal }) {
  const machine = h('div', { class: 'cards' });
  const hub = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Overview'), hub, h('h2', {}, 'The machine'), machine);
  const mayRead = who.subscribe.length > 0;
  if (mayRead) drawMachine(machine, signal);
  else machine.append(h('p', {}, 'Nobody who shows nothing may read here. ', h('a', { href: '#/access' }, 'Log in'), ' to see it.'));
  if (who.admin) drawHub(hub, signal);
  else hub.append(h('p', {}, 'What the hub does is shown to admins. ', h('a', { href: '#/access' }, 'Log in'), ' as one to see it.'));
}

/** @param {Element} hub @param {AbortSignal} signal */
function drawHub(hub, signal) {
  const health = h('p', { class: 'health', role: 'status' });
  const make = (/** @type {string} */ title, /** @type {string[]} */ series, /** @type {(n: number) => string} */ format) => chart({ title, series, span: SPAN, format, signal });
  const charts = {
    sessions: make('sessions', ['sessions'], count),
    events: make('events published a second', ['events'], count),
    deliveries: make('deliveries a second', ['deliveries'], count),
    fanOut: make('fan-out, 99th percentile', ['p99'], seconds),
  };
  const totals = h('dl', { class: 'totals' });
  const limits = h('div');
  const refusals = h('div');
  hub.append(health, h('div', { class: 'cards' }, Object.values(charts).map(({ element }) => element)), totals,
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, 'Limits in use'), limits),
      h('section', { class: 'card' }, h('h2', {}, 'Refused, by reason'), refusals)));

  /** @type {any} */
  let before = null;
  let asked = 0;
  every(signal, ASK_MS, async () => {
    const now = performance.now();
    let stats;
    try {
      stats = await ask('stats', { signal });
    } catch (error) {
      if (!signal.aborted) {
        health.dataset.state = 'bad';
        health.textContent = `The hub does not answer: ${error instanceof Error ? error.message : error}`;
      }
      throw error;
    }
    const time = Date.now() / 1000;
    const { totals: figures } = stats;
    charts.sessions.add(time, [figures.sessions]);
    if (before && stats.uptime_s >= before.uptime_s) {
      const each = (/** @type {string} */ name) => (figures[name] - before.totals[name]) / ((now - asked) / 1000);
      charts.events.add(time, [each('events_published')]);
      charts.deliveries.add(time, [each('deliveries')]);
      charts.fanOut.add(time, [quantile(before.fan_out.buckets, stats.fan_out.buckets, 0.99)]);
    }
    [before, asked] = [stats, now];
    drawHealth(health, stats);
    replace(totals, figuresOf(stats).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
    replace(limits, limitsOf(stats.limits));
    replace(refusals, refusalsOf(stats.refusals));
  });
}

/** @param {HTMLElement} health @param {any} stats */
function drawHealth(health, stats) {
  const failing = Object.entries(stats.checks).filter(([, check]) => !check.ok);
  health.dataset.state = stats.ready ? 'good' : 'bad';
  const why = failing.map(([name, check]) => `${name}: ${check.reason}`).join('; ');
  const loss = stats.checks.loss?.reason;
  const text = stats.ready ? `Ready, for ${seconds(stats.uptime_s)}` : `Not ready. ${why}`;
  health.textContent = loss ? `${text}. ${loss}` : text;
}

/** @param {any} stats @returns {[string, string][]} */
function figuresOf({ totals, version }) {
  return [
    ['version', version],
    ['events kept', `${bytes(totals.journal_bytes)} of ${bytes(totals.journal_max_bytes)}`],
    ['streams', count(totals.journal_streams)],
    ['on disk', bytes(totals.journal_disk_bytes)],
    ['disk left', bytes(totals.journal_disk_free_bytes)],
    ['published', count(totals.events_published)],
    ['delivered', count(totals.deliveries)],
    ['from history', count(totals.events_replayed)],
    ['queued for readers', bytes(totals.session_queue_bytes)],
    ['catching up', count(totals.sessions_catching_up)],
    ['gaps', count(totals.session_gaps)],
  ];
}

/** Those that come nearest to their end first. @param {any[]} limits */
function limitsOf(limits) {
  const used = limits.filter((limit) => limit.max > 0).map((limit) => ({ ...limit, share: (limit.use ?? limit.peak ?? 0) / limit.max }));
  used.sort((a, b) => b.share - a.share || b.refusals - a.refusals);
  return used.slice(0, 10).map((limit) => {
    const name = [limit.limit, ...(limit.streams ?? [])].join(' ');
    const amount = limit.limit.includes('bytes') || limit.limit.includes('memory') ? bytes : count;
    const use = limit.use ?? limit.peak ?? 0;
    return h('div', { class: 'limit' },
      h('span', {}, name),
      h('meter', { min: 0, max: limit.max, high: limit.max * 0.8, optimum: 0, value: use, 'aria-label': name }),
      h('span', { class: 'number' }, `${amount(use)} of ${amount(limit.max)}`),
      limit.refusals > 0 ? h('span', { class: 'bad' }, `refused ${count(limit.refusals)}`) : null);
  });
}

/** @param {Record<string, Record<string, number>>} refusals */
function refusalsOf(refusals) {
  const rows = Object.entries(refusals).flatMap(([kind, reasons]) => Object.entries(reasons).map(([reason, n]) => [kind, reason, n]));
  rows.sort((a, b) => Number(b[2]) - Number(a[2]));
  if (rows.length === 0) return h('p', { class: 'muted' }, 'Nothing and nobody.');
  return table(['of', 'reason', 'times'], rows.slice(0, 12).map(([kind, reason, n]) => [kind, reason, count(Number(n))]), 'Refusals by reason');
}

/** @param {Element} machine @param {AbortSignal} signal */
function drawMachine(machine, signal) {
  const percent = (/** @type {number} */ n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} %`;
  const rate = (/** @type {number} */ n) => `${bytes(n)}/s`;
  const of = (/** @type {string} */ title, /** @type {string[]} */ series, /** @type {(n: number) => string} */ format, /** @type {number} */ max = 0) => chart({ title, series, span: SPAN, format, max, signal });
  const cpu = of('processor', ['cpu'], percent, 100);
  const memory = of('memory', ['memory'], percent, 100);
  const disk = of('disk', ['disk'], percent, 100);
  const network = of('network, out / in', ['sent', 'received'], rate);
  const load = of('load average', ['load'], count);
  machine.append(cpu.element, memory.element, disk.element, network.element, load.element);
  const charts = /** @type {Record<string, [ReturnType<typeof chart>, number, number]>} */ ({
    cpu_percent: [cpu, 0, 1], memory_percent: [memory, 0, 1], disk_percent: [disk, 0, 1],
    network_sent: [network, 0, 2], network_received: [network, 1, 2], load_average: [load, 0, 1],
  });
  follow({
    streams: 'system',
    from: '10m',
    signal,
    onEvent: ({ type, time, data }) => {
      const [to, at, of] = (type === 'metric' && charts[data.name]) || [];
      if (!to) return;
      const values = Array(of).fill(null);
      values[Number(at)] = data.value;
      to.add(Date.parse(data.timestamp ?? time) / 1000, values);
    },
  });
}
