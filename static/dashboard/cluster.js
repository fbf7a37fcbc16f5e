// Page `Cluster`: the hubs of a cluster and its log, for admins.

import { showForbidden } from './banner.js';
import { h, replaceChildren, setText, table, updateRows } from './dom.js';
import { formatCount, formatDuration, formatTime } from './figures.js';
import { poll, request } from './hub.js';

const POLL_INTERVAL_MS = 1_000;

/** Names of the states of a hub. @type {Record<string, string>} */
const STATES = { ready: 'Ready', not_ready: 'Not ready', differs: 'Has another log' };

/** @param {import('./main.js').Context} context */
export function cluster({ main, user, signal }) {
  main.append(h('h1', {}, 'Cluster'));
  if (!user.admin) {
    showForbidden('Only admins can see the state of the cluster.');
    return;
  }
  if (!user.node) {
    main.append(h('p', { class: 'muted' }, 'This hub belongs to no cluster.'));
    return;
  }
  const health = h('p', { class: 'health', role: 'status' });
  const log = h('dl', { class: 'totals' });
  const hubs = table('Hubs', ['hub', 'state', ['applied'], ['behind'], ['sessions'], 'version', 'since', 'problem']);
  main.append(health, log, hubs.element);
  poll(signal, POLL_INTERVAL_MS, async () => {
    const view = await request('cluster', { signal });
    const failing = view.hubs.filter((/** @type {any} */ hub) => hub.state !== 'ready');
    const problem = logProblem(view.log);
    health.dataset.state = failing.length === 0 && problem === null ? 'good' : 'bad';
    setText(health, [
      failing.length === 0 ? `All ${view.hubs.length} hubs are ready.` : `Not ready: ${failing.map((/** @type {any} */ hub) => hub.name).join(', ')}.`,
      problem ?? '',
    ].join(' ').trim());
    replaceChildren(log, [
      ['cluster', view.name],
      ['this hub', view.hub],
      ['messages in the log', formatCount(view.log.end)],
      ['leader of the log', view.log.leader ?? 'none'],
      ['servers not up to date', view.log.stale_servers.join(', ') || 'none'],
    ].map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
    updateRows(hubs.body, view.hubs, (/** @type {any} */ { name }) => name, (/** @type {any} */ hub) => [
      h('span', {}, hub.name),
      hub.silent_s === null ? STATES[hub.state] ?? hub.state : `Silent for ${formatDuration(hub.silent_s)}`,
      formatCount(hub.applied),
      formatCount(hub.lag),
      formatCount(hub.sessions),
      hub.version,
      formatTime(hub.since),
      hub.problem ?? '',
    ]);
  });
}

/** Returns the problem of the log, or null. @param {any} log */
function logProblem({ unreachable_s: unreachable, problem }) {
  if (unreachable !== null) return `The log has not answered for ${formatDuration(unreachable)}.`;
  return problem === null ? null : `The log: ${problem}.`;
}
