// Commands that the hub runs by name: start, watch, stop.

import { follow } from './connection.js';
import { h, replace, say } from './dom.js';
import { clock, count } from './figures.js';
import { ask, every } from './hub.js';

const ASK_MS = 2_000;
/** Runs that have ended, of each job; and of how many jobs. */
const PAST = 5;
const LOOKED_UP = 10;

const link = (/** @type {string} */ stream, /** @type {string} */ name) => h('a', { href: `#/streams/${encodeURIComponent(stream)}?from=start` }, name);

/** @param {import('./main.js').Context} context */
export function jobs({ main, signal }) {
  const list = h('div', { class: 'stack' });
  main.append(h('h1', {}, 'Jobs'), list);
  follow({ streams: 'heartbeats', signal });

  const doing = async (/** @type {() => Promise<any>} */ act) => {
    try {
      await act();
      await look();
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), 'bad');
    }
  };
  const start = (/** @type {string} */ name) => doing(async () => {
    const { stream } = await ask(`jobs/${encodeURIComponent(name)}/runs`, { method: 'POST' });
    location.hash = `#/streams/${encodeURIComponent(stream)}?from=start`;
  });
  const stop = (/** @type {string} */ name, /** @type {string} */ run) => doing(async () => {
    await ask(`jobs/${encodeURIComponent(name)}/runs/${encodeURIComponent(run)}`, { method: 'DELETE' });
    say('It is told to stop.', 'good');
  });
  const look = async () => {
    const { jobs } = await ask('jobs', { signal });
    if (jobs.length === 0) {
      replace(list, h('p', {}, 'No job is configured, or granted to you. A configuration file names them:'),
        h('pre', { class: 'command' }, '[job.backup]\ncommand = ["/usr/local/bin/backup", "--all"]\ntimeout = "2h"'));
      return;
    }
    const past = new Map(await Promise.all(jobs.slice(0, LOOKED_UP).map(async (/** @type {any} */ { name }) => {
      const prefix = encodeURIComponent(`jobs.${name}.`);
      const { streams } = await ask(`streams?limit=1000&prefix=${prefix}`, { signal }).catch(() => ({ streams: [] }));
      return [name, streams.filter((/** @type {any} */ stream) => stream.state === 'ended').slice(-PAST).reverse()];
    })));
    // Whoever is at a button stays there.
    const focused = document.activeElement?.id;
    replace(list, jobs.map((/** @type {any} */ job) => h('section', { class: 'card' },
      h('div', { class: 'bar' }, h('h2', {}, job.name),
        h('button', { type: 'button', class: 'main', id: `start-${job.name}`, onclick: () => start(job.name) }, 'Start'),
        h('span', { class: 'muted' }, `${count(job.running.length)} of ${count(job.at_most)} at once`)),
      job.running.map((/** @type {any} */ run) => h('div', { class: 'bar run' },
        link(run.stream, run.run),
        h('span', { class: 'muted' }, `runs since ${clock(run.since)}`),
        h('button', { type: 'button', id: `stop-${run.run}`, onclick: () => stop(job.name, run.run) }, 'Stop'))),
      (past.get(job.name) ?? []).map((/** @type {any} */ stream) => h('div', { class: 'bar run' },
        link(stream.name, stream.name.split('.').at(-1)),
        h('span', { class: 'muted' }, `ended ${clock(stream.last_time)}, ${count(stream.events)} events`))))));
    if (focused) document.getElementById(focused)?.focus();
  };
  every(signal, ASK_MS, look);
}
