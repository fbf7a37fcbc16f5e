// Page `Jobs`: starts, watches and stops the commands that the hub runs by name.

import { h, replace, say } from './dom.js';
import { clock, count } from './figures.js';
import { ask, every, why } from './hub.js';

const ASK_MS = 2_000;
/** Number of ended runs that are shown for each job. */
const PAST = 5;
/** Periods in which ended runs are searched, one after the other. */
const BACK_MS = [86_400_000, 8 * 86_400_000];

const link = (/** @type {string} */ stream, /** @type {string} */ name) => h('a', { href: `#/streams/${encodeURIComponent(stream)}?from=start` }, name);

/** @param {import('./main.js').Context} context */
export function jobs({ main, signal }) {
  const list = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Jobs'), list);
  const start = async (/** @type {string} */ name) => {
    try {
      const { stream } = await ask(`jobs/${encodeURIComponent(name)}/runs`, { method: 'POST' });
      location.hash = `#/streams/${encodeURIComponent(stream)}?from=start`;
    } catch (error) {
      if (!signal.aborted) say(why(error), 'bad');
    }
  };
  const stop = async (/** @type {string} */ name, /** @type {string} */ run) => {
    try {
      await ask(`jobs/${encodeURIComponent(name)}/runs/${encodeURIComponent(run)}`, { method: 'DELETE' });
      say('Stop requested.', 'good');
      await look();
    } catch (error) {
      if (!signal.aborted) say(why(error), 'bad');
    }
  };

  /** Running runs of each job at the last request, and its ended runs. @type {Map<string, [string, any[]]>} */
  const known = new Map();
  let drawn = '';
  const look = async () => {
    const { jobs } = await ask('jobs', { signal });
    for (const { name, running } of jobs) {
      const runs = running.map((/** @type {any} */ { run }) => run).join();
      if (known.get(name)?.[0] !== runs) known.set(name, [runs, await past(name, signal)]);
    }
    // Draws only if something changed, so that no focus and no click is lost.
    const now = JSON.stringify([jobs, [...known]]);
    if (now === drawn) return;
    drawn = now;
    const focused = document.activeElement?.id;
    replace(list, jobs.length > 0 ? jobs.map((/** @type {any} */ job) => draw(job)) : nothing());
    if (focused) document.getElementById(focused)?.focus();
  };
  /** @param {any} job */
  const draw = ({ name, running, at_most: most }) => h('section', { class: 'card' },
    h('div', { class: 'bar' }, h('h2', {}, name),
      h('button', { type: 'button', class: 'main', id: `start-${name}`, 'aria-label': `Start ${name}`, disabled: running.length >= most, onclick: () => start(name) }, 'Start'),
      h('span', { class: 'muted' }, `${count(running.length)} of ${count(most)} at once`)),
    running.map((/** @type {any} */ { run, stream, since }) => h('div', { class: 'bar run' },
      link(stream, run),
      h('span', { class: 'muted' }, `runs since ${clock(since)}`),
      h('button', { type: 'button', id: `stop-${run}`, 'aria-label': `Stop ${run}`, onclick: () => stop(name, run) }, 'Stop'))),
    (known.get(name)?.[1] ?? []).map((/** @type {any} */ stream) => h('div', { class: 'bar run' },
      link(stream.name, stream.name.split('.').at(-1)),
      h('span', { class: stream.isGood === false ? 'bad' : 'muted' }, `${stream.how} at ${clock(stream.last_time)}, ${count(stream.events)} events`))));
  every(signal, ASK_MS, look);
}

const nothing = () => [
  h('p', {}, 'No job is configured, or granted to you. A configuration file names them:'),
  h('pre', { class: 'command' }, '[job.backup]\ncommand = ["/usr/local/bin/backup", "--all"]\ntimeout = "2h"'),
];

/**
 * Returns the last ended runs of a job. The name of a run begins with its start time and sorts by it.
 *
 * @param {string} name
 * @param {AbortSignal} signal
 */
async function past(name, signal) {
  for (const back of BACK_MS) {
    const from = new Date(Date.now() - back).toISOString().replace(/[-:]|\.\d+/g, '');
    const query = new URLSearchParams({ limit: '1000', prefix: `jobs.${name}.`, after: `jobs.${name}.${from}` });
    const { streams } = await ask(`streams?${query}`, { signal });
    const ended = streams.filter((/** @type {any} */ stream) => stream.state === 'ended').slice(-PAST).reverse();
    if (ended.length === PAST || back === BACK_MS.at(-1)) {
      return Promise.all(ended.map(async (/** @type {any} */ stream) => ({ ...stream, ...(await howItEnded(stream.name, signal)) })));
    }
  }
  return [];
}

/**
 * Returns how a run ended, from its last event; only `ended` if that event was removed.
 *
 * @param {string} stream
 * @param {AbortSignal} signal
 */
async function howItEnded(stream, signal) {
  const said = await ask(`streams/${encodeURIComponent(stream)}/events?last=1&types=exit&follow=false&format=text`, { signal });
  const { reason, code } = Object(said);
  if (reason === undefined) return { how: 'ended' };
  return { how: reason === 'exited' ? `exited with ${code}` : reason.replaceAll('_', ' '), isGood: code === 0 || reason === 'stopped' };
}
