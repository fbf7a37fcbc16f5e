// Page `Jobs`: starts, watches and stops the commands that the hub runs by name.

import { createBar } from './bar.js';
import { h, notify, replaceChildren, setText } from './dom.js';
import { formatCount, formatDuration, formatTime } from './figures.js';
import { errorMessage, poll, request } from './hub.js';
import { fetchEndedRuns, fetchProgress } from './runs.js';

const POLL_INTERVAL_MS = 2_000;
/** Number of ended runs that are shown for each job. */
const ENDED_RUNS = 5;

const streamPath = (/** @type {string} */ stream) => `#/streams/${encodeURIComponent(stream)}?from=start`;

/** @param {import('./main.js').Context} context */
export function jobs({ main, signal }) {
  const list = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Jobs'), list);
  const startRun = async (/** @type {string} */ name) => {
    try {
      const { stream } = await request(`jobs/${encodeURIComponent(name)}/runs`, { method: 'POST' });
      location.hash = streamPath(stream);
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };
  const stopRun = async (/** @type {string} */ name, /** @type {string} */ run) => {
    try {
      await request(`jobs/${encodeURIComponent(name)}/runs/${encodeURIComponent(run)}`, { method: 'DELETE' });
      notify('Stop requested.', 'good');
      await refresh();
    } catch (error) {
      if (!signal.aborted) notify(errorMessage(error), 'bad');
    }
  };

  /** Streams of the runs of each job that have not ended, and its ended runs. @type {Map<string, [string[], import('./runs.js').EndedRun[]]>} */
  const runsByJob = new Map();
  /** Functions that update the drawn running runs. @type {(() => Promise<void>)[]} */
  let updates = [];
  let lastJson = '';
  const refresh = async () => {
    const { jobs } = await request('jobs', { signal });
    for (const { name, running } of jobs) {
      /** @type {string[]} */
      const runs = running.map((/** @type {any} */ { stream }) => stream);
      const known = runsByJob.get(name);
      // The stream of a run ends a moment after the run is no longer listed.
      const hasEnded = (/** @type {string} */ stream) => !runs.includes(stream) && !known?.[1].some((run) => run.name === stream);
      if (known && known[0].join() === runs.join() && !known[0].some(hasEnded)) continue;
      const ended = await fetchEndedRuns(name, ENDED_RUNS, signal);
      const isShown = (/** @type {string} */ stream) => ended.some((run) => run.name === stream) || (ended.length === ENDED_RUNS && ended[ENDED_RUNS - 1].name > stream);
      const pending = known?.[0].filter((stream) => hasEnded(stream) && !isShown(stream)) ?? [];
      runsByJob.set(name, [[...runs, ...pending], ended]);
    }
    // Draws only if something changed, so that no focus and no click is lost.
    const json = JSON.stringify([jobs, [...runsByJob]]);
    if (json !== lastJson) {
      lastJson = json;
      updates = [];
      const focused = document.activeElement?.id;
      replaceChildren(list, jobs.length > 0 ? jobs.map((/** @type {any} */ job) => createCard(job)) : createHint());
      if (focused) document.getElementById(focused)?.focus();
    }
    await Promise.all(updates.map((update) => update()));
  };
  /** @param {any} job */
  const createCard = ({ name, running, at_most: maxRuns }) => {
    const isFull = running.length >= maxRuns;
    const ended = runsByJob.get(name)?.[1] ?? [];
    const newestFirst = running.toSorted((/** @type {any} */ a, /** @type {any} */ b) => b.since.localeCompare(a.since));
    return h('section', { class: 'card', 'aria-label': name },
      h('div', { class: 'bar' }, h('h2', {}, name),
        h('button', { type: 'button', class: 'main', id: `start-${name}`, 'aria-label': `Start ${name}`, disabled: isFull, onclick: () => startRun(name) }, 'Start'),
        h('span', { class: 'muted' }, `${formatCount(running.length)} of ${formatCount(maxRuns)} running`)),
      newestFirst.map((/** @type {any} */ run) => createRunningRun(name, run)),
      ended.map((run, n) => createEndedRun(name, run, n === 0 && !isFull)));
  };
  /** @param {string} name @param {any} run */
  const createRunningRun = (name, { run, stream, since }) => {
    const [duration, line, bar] = [h('span', { class: 'muted' }), h('code', { class: 'muted last-line' }), createBar(`Progress of ${run}`)];
    bar.element.hidden = true;
    updates.push(async () => {
      setText(duration, `running for ${formatDuration(Math.max(0, (Date.now() - Date.parse(since)) / 1000))}`);
      const progress = await fetchProgress(stream, signal);
      setText(line, progress.line);
      bar.element.hidden = progress.share === null;
      if (progress.share !== null) bar.set(progress.share);
    });
    return h('div', { class: 'run', 'data-state': 'running' },
      h('a', { href: streamPath(stream) }, run),
      h('span', {}, `started ${formatTime(since)}`), duration,
      h('button', { type: 'button', id: `stop-${run}`, 'aria-label': `Stop ${run}`, onclick: () => stopRun(name, run) }, 'Stop'),
      bar.element, line);
  };
  /** @param {string} name @param {import('./runs.js').EndedRun} run @param {boolean} canRepeat True if the newest run can be repeated. */
  const createEndedRun = (name, { name: stream, outcome, isSuccess, last_time: lastTime, events, durationS }, canRepeat) => h('div', { class: 'run', 'data-state': isSuccess === false ? 'failed' : 'ended' },
    h('a', { href: streamPath(stream) }, stream.split('.').at(-1)),
    h('span', { class: isSuccess === false && 'bad' }, `${outcome} at ${formatTime(lastTime)}`),
    h('span', { class: 'muted' }, `${durationS === undefined ? '' : `after ${formatDuration(durationS)}, `}${formatCount(events)} events`),
    canRepeat ? h('button', { type: 'button', id: `repeat-${name}`, 'aria-label': `Run ${name} again`, onclick: () => startRun(name) }, 'Run again') : null);
  poll(signal, POLL_INTERVAL_MS, refresh);
}

const createHint = () => [
  h('p', {}, 'No job is configured, or granted to you. A configuration file names them:'),
  h('pre', { class: 'command' }, '[job.backup]\ncommand = ["/usr/local/bin/backup", "--all"]\ntimeout = "2h"'),
];
