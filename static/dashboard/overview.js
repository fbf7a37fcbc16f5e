// Page `Overview`: health, load, refusals and limits of the hub, and its machine.

import { chart } from './charts.js';
import { follow } from './connection.js';
import { h, keepRows, replace, table, write } from './dom.js';
import { bytes, count, quantile, seconds } from './figures.js';
import { ask, every } from './hub.js';
import { selects } from '../fanfare.js';

/** Time span of the charts, in seconds. */
const SPAN = 600;
const ASK_MS = 2_000;
/** Periods of rates and of refusals; workers report their counts only now and then. */
const RATE_MS = 8_000;
const MINUTE_MS = 60_000;

/** @param {import('./main.js').Context} context */
export function overview({ main, who, signal }) {
  const machine = h('div', { class: 'stack' });
  const hub = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Overview'), hub, h('h2', {}, 'The machine'), machine);
  const login = (/** @type {string} */ what) => (who.subject
    ? h('p', {}, `${what} You are logged in as ${who.subject}; what you may read is under `, h('a', { href: '#/streams' }, 'Streams'), '.')
    : h('p', {}, what, ' ', h('a', { href: '#/access' }, 'Log in'), ' to see it.'));
  if (who.admin) drawHub(hub, signal);
  else hub.append(login('Only admins can see the state of the hub.'));
  if (who.subscribe.some((granted) => selects(granted, 'system'))) drawMachine(machine, signal);
  else machine.append(login('You cannot read the stream “system”.'));
}

/** A sample of the figures. @typedef {{ at: number, stats: any }} Look */

/** @param {Element} hub @param {AbortSignal} signal */
function drawHub(hub, signal) {
  const health = h('p', { class: 'health', role: 'status' });
  const make = (/** @type {string} */ title, /** @type {(n: number) => string} */ format) => chart({ title, series: [title], span: SPAN, format, isWhole: true, signal });
  const charts = {
    sessions: make('sessions', count),
    events: make('events published a second', count),
    deliveries: make('deliveries a second', count),
    fanOut: make('fan-out, 99th percentile', seconds),
  };
  const totals = h('dl', { class: 'totals' });
  const limits = h('div');
  const refusals = table('Refusals by reason', ['of', 'reason', ['last minute'], ['since the start']]);
  const none = h('p', { class: 'muted' }, 'No refusals.');
  hub.append(health, h('div', { class: 'cards' }, Object.values(charts).map(({ element }) => element)), totals,
    h('div', { class: 'columns' },
      h('section', { class: 'card' }, h('h2', {}, 'Limits in use'), limits),
      h('section', { class: 'card' }, h('h2', {}, 'Refused, by reason'), none, refusals.element)));

  /** @type {Look[]} */
  let looks = [];
  every(signal, ASK_MS, async () => {
    const time = Date.now() / 1000;
    let stats;
    try {
      stats = await ask('stats', { signal });
    } catch (error) {
      // The charts have a gap for this time.
      for (const { add } of Object.values(charts)) add(time, [null]);
      looks = [];
      if (!signal.aborted) {
        health.dataset.state = 'bad';
        write(health, 'Unknown');
      }
      throw error;
    }
    const now = { at: performance.now(), stats };
    // Smaller counts are those of a new process.
    const last = looks.at(-1)?.stats;
    if (last && (stats.uptime_s < last.uptime_s || stats.totals.events_published < last.totals.events_published)) looks = [];
    looks = [...looks.filter(({ at }) => now.at - at <= MINUTE_MS), now];
    const before = looks.find(({ at }) => now.at - at <= RATE_MS);
    charts.sessions.add(time, [stats.totals.sessions]);
    if (before && before !== now) {
      const each = (/** @type {string} */ name) => (stats.totals[name] - before.stats.totals[name]) / ((now.at - before.at) / 1000);
      charts.events.add(time, [each('events_published')]);
      charts.deliveries.add(time, [each('deliveries')]);
      charts.fanOut.add(time, [quantile(before.stats.fan_out, stats.fan_out, 0.99)]);
    }
    drawHealth(health, stats);
    replace(totals, figuresOf(stats).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
    replace(limits, limitsOf(stats.limits));
    const rows = refusalsOf(looks[0].stats.refusals, stats.refusals);
    [none.hidden, refusals.element.hidden] = [rows.length > 0, rows.length === 0];
    keepRows(refusals.body, rows, ([kind, reason]) => `${kind} ${reason}`, ([kind, reason, lately, all]) => [h('span', {}, kind), h('span', {}, reason), count(lately), count(all)]);
  });
}

/** @param {HTMLElement} health @param {any} stats */
function drawHealth(health, stats) {
  const failing = Object.entries(stats.checks).filter(([, check]) => !check.ok);
  health.dataset.state = stats.ready ? 'good' : 'bad';
  const text = stats.ready ? 'Ready' : `Not ready. ${failing.map(([name, check]) => `${name}: ${check.reason}`).join('; ')}`;
  const loss = stats.checks.loss?.reason;
  write(health, loss ? `${text}. ${loss}` : text);
}

/** @param {any} stats @returns {[string, string][]} */
function figuresOf({ totals, version, uptime_s: uptime }) {
  return [
    ['version', version],
    ['up for', seconds(uptime)],
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

/** Returns the limits with the highest use, the highest first. @param {any[]} limits */
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

/**
 * Returns kind, reason, count of the last minute and count since the start; recent refusals first.
 *
 * @param {Record<string, Record<string, number>>} before
 * @param {Record<string, Record<string, number>>} now
 * @returns {[string, string, number, number][]}
 */
function refusalsOf(before, now) {
  const rows = Object.entries(now).flatMap(([kind, reasons]) => Object.entries(reasons).map(([reason, all]) => {
    /** @type {[string, string, number, number]} */
    const row = [kind, reason, all - (before[kind]?.[reason] ?? 0), all];
    return row;
  }));
  return rows.sort((a, b) => b[2] - a[2] || b[3] - a[3]);
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
  const state = h('p', { class: 'told', role: 'status' });
  machine.append(state, h('div', { class: 'cards' }, [cpu, memory, disk, network, load].map(({ element }) => element)));
  const charts = /** @type {Record<string, [ReturnType<typeof chart>, number, number]>} */ ({
    cpu_percent: [cpu, 0, 1], memory_percent: [memory, 0, 1], disk_percent: [disk, 0, 1],
    network_sent: [network, 0, 2], network_received: [network, 1, 2], load_average: [load, 0, 1],
  });
  // The system monitor may be switched off.
  const silent = setTimeout(() => write(state, 'Nothing came on the stream “system”: is it switched off (--system off)?'), 15_000);
  signal.addEventListener('abort', () => clearTimeout(silent), { once: true });
  follow({
    streams: 'system',
    from: '10m',
    signal,
    onState: (told) => {
      if (told.state === 'refused' || told.state === 'expired') write(state, `${told.state}: ${told.detail ?? told.code ?? ''}`);
    },
    onEvent: ({ type, time, data }) => {
      clearTimeout(silent);
      write(state, '');
      const [to, at, of] = (type === 'metric' && charts[data.name]) || [];
      if (!to) return;
      const values = Array(of).fill(null);
      values[Number(at)] = data.value;
      to.add(Date.parse(data.timestamp ?? time) / 1000, values);
    },
  });
}
