// Part of the overview that joins what needs attention: errors, services, jobs and refusals.

import { alertSettings, currentAlerts, markErrorsSeen, onAlertsChange, setAlert } from './alerts.js';
import { h, notify, replaceChildren, setText } from './dom.js';
import { formatCount, formatTime } from './figures.js';
import { poll, request } from './hub.js';
import { fetchEndedRuns } from './runs.js';

/** Maximum number of lines of a card. */
const MAX_LINES = 5;
const JOBS_INTERVAL_MS = 15_000;

/** A line of a card. @typedef {{ href?: string, text: string, detail: string }} Line */

/**
 * Creates a card: a number, and the newest of what it counts.
 *
 * @param {string} title
 * @param {string} href
 */
function createCard(title, href) {
  const count = h('b', { class: 'count' }, '–');
  const list = h('ul', { class: 'choices' });
  const element = h('section', { class: 'card attention', 'aria-label': title }, h('h2', {}, h('a', { href }, title)), count, list);
  return {
    element,
    /** @param {number} total @param {Line[]} lines @param {string} none @param {'bad' | 'warn'} [kind] */
    show(total, lines, none, kind = 'bad') {
      element.dataset.state = total > 0 ? kind : 'good';
      setText(count, formatCount(total));
      const json = JSON.stringify([lines, none]);
      if (list.dataset.shown === json) return;
      list.dataset.shown = json;
      replaceChildren(list,
        lines.length === 0 ? h('li', { class: 'muted' }, none) : lines.slice(0, MAX_LINES).map((line) => h('li', {},
          line.href ? h('a', { href: line.href }, line.text) : h('span', {}, line.text), ' ', h('span', { class: 'muted' }, line.detail))),
        lines.length > MAX_LINES ? h('li', { class: 'muted' }, `and ${formatCount(lines.length - MAX_LINES)} more`) : null);
    },
  };
}

/** Returns the switches of notifications and of the sound. */
function createSwitches() {
  const settings = alertSettings();
  const toggle = (/** @type {'notifications' | 'sound'} */ name, /** @type {string} */ text) => h('label', { class: 'switch' }, h('input', {
    type: 'checkbox', name, checked: settings[name],
    onchange: async (/** @type {any} */ { target }) => {
      if (await setAlert(name, target.checked)) return;
      target.checked = false;
      notify('The browser does not allow it for this page.', 'bad');
    },
  }), text);
  return h('p', { class: 'bar switches' }, h('span', { class: 'muted' }, 'On an error or a service down:'), toggle('notifications', 'notify me'), toggle('sound', 'play a sound'));
}

/**
 * Creates the part for a user.
 *
 * @param {import('./hub.js').User} user
 * @param {AbortSignal} signal
 */
export function createAttention(user, signal) {
  const { errors, services } = currentAlerts();
  const streamOf = (/** @type {string} */ stream, /** @type {string} */ query = '') => `#/streams/${encodeURIComponent(stream)}${query}`;
  const errorCard = errors && createCard('Errors of the hub', streamOf('hub.logs', '?from=1h&filter=level%3E%3Derror'));
  const serviceCard = services && createCard('Services down', streamOf('heartbeats', '?from=24h'));
  const jobCard = user.admin || user.run.length > 0 ? createCard('Jobs failing', '#/jobs') : null;
  const refusalCard = user.admin ? createCard('Refused in the last minute', '#/overview') : null;
  const cards = [errorCard, serviceCard, jobCard, refusalCard].flatMap((card) => (card ? [card.element] : []));
  const showAlerts = () => {
    const now = currentAlerts();
    errorCard?.show(now.errors?.length ?? 0, (now.errors ?? []).toReversed().map(({ time, data }) => ({
      text: String(data.message), detail: formatTime(time), href: streamOf('hub.logs', `?from=${encodeURIComponent(new Date(Date.parse(time) - 60_000).toISOString())}`),
    })), 'No errors in the last hour.');
    const late = (now.services ?? []).filter(({ status }) => status !== 'up').sort((a, b) => a.status.localeCompare(b.status) || b.time.localeCompare(a.time));
    serviceCard?.show(late.length, late.map(({ source, stream, status, time }) => ({ text: source, href: streamOf(stream), detail: `${status} since ${formatTime(time)}` })),
      now.services?.length ? `${formatCount(now.services.length)} ${now.services.length === 1 ? 'service' : 'services'} up.` : 'No service sends heartbeats.',
      late.some(({ status }) => status === 'down') ? 'bad' : 'warn');
  };
  const markSeen = () => { if (!document.hidden) markErrorsSeen(); };
  onAlertsChange(signal, () => {
    showAlerts();
    markSeen();
  });
  document.addEventListener('visibilitychange', markSeen, { signal });
  showAlerts();
  markSeen();
  if (jobCard) {
    poll(signal, JOBS_INTERVAL_MS, async () => {
      const { jobs } = await request('jobs', { signal });
      const last = await Promise.all(jobs.map(async (/** @type {any} */ { name }) => ({ name, run: (await fetchEndedRuns(name, 1, signal))[0] })));
      const failing = last.filter(({ run }) => run?.isSuccess === false);
      jobCard.show(failing.length, failing.map(({ name, run }) => ({ text: name, href: streamOf(run.name, '?from=start'), detail: `${run.outcome} at ${formatTime(run.last_time)}` })),
        jobs.length === 0 ? 'No job is configured.' : 'The last run of no job has failed.');
    });
  }
  return {
    element: cards.length === 0 ? null : h('div', { class: 'stack' }, h('div', { class: 'cards' }, cards), createSwitches()),
    /** Shows the refusals of the last minute. @param {[string, string, number, number][]} rows */
    showRefusals(rows) {
      const recent = rows.filter(([, , count]) => count > 0);
      refusalCard?.show(recent.reduce((sum, [, , count]) => sum + count, 0), recent.map(([kind, reason, count]) => ({ text: `${kind}: ${reason.replaceAll('_', ' ')}`, detail: formatCount(count) })), 'No refusals.', 'warn');
    },
  };
}
