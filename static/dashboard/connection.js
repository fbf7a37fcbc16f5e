// The panel of the page's connection: its states, and a button that drops it to show how it resumes.

import { clock } from './figures.js';
import { h, put, replace, write } from './dom.js';
import { watch } from './hub.js';

/** Maximum number of states shown, newest first. */
const SHOWN = 50;

/** States after which there is no connection to drop. */
const FINAL = ['ended', 'refused', 'expired', 'closed'];

/** @type {import('../fanfare.d.ts').Subscription | null} */
let current = null;
/** @type {Array<{ time: number, state: import('../fanfare.d.ts').State }>} */
let history = [];

const WORDS = /** @type {Record<string, string>} */ ({
  connecting: 'connecting', live: 'live', waiting: 'reconnecting', offline: 'offline', paused: 'paused',
  ended: 'ended', refused: 'refused', expired: 'expired', closed: '',
});

/**
 * Subscribes for the page that is shown, and shows the states of the subscription.
 *
 * @param {import('../fanfare.d.ts').Options & { signal: AbortSignal }} options
 */
export function follow(options) {
  history = [];
  const subscription = watch({
    ...options,
    onState: (state) => {
      if (current !== subscription && state.state === 'closed') return;
      // Screen readers announce only the loss of the connection and how it resumed.
      const was = history[0]?.state.state;
      if (state.state === 'waiting' && was !== 'connecting') write(announced, 'the connection is lost');
      if (state.state === 'live' && state.resume !== 'live') write(announced, tell(state));
      history.unshift({ time: Date.now(), state });
      history.length = Math.min(history.length, SHOWN);
      show();
      options.onState?.(state);
    },
  });
  current = subscription;
  options.signal.addEventListener('abort', () => {
    if (current !== subscription) return;
    [current, history] = [null, []];
    show();
  }, { once: true });
  return subscription;
}

/** @param {import('../fanfare.d.ts').State} state */
function tell(state) {
  switch (state.state) {
    case 'live': {
      const by = state.shared === 'follower' ? ', read by another tab' : state.shared === 'leader' ? ', read for all tabs' : '';
      const resume = { live: 'from here on', resumed: 'resumed: nothing was missed', gap: 'resumed past a gap', reset: 'reset' };
      return `live: ${resume[state.resume]}${by}`;
    }
    case 'gap': return `gap: ${state.missed ?? 'an unknown number of'} events were removed before they could be read`;
    case 'reset': return 'reset: the hub does not know the last id; reading from the oldest event';
    case 'waiting': return `${state.limit ?? state.reason}${state.detail ? ` (${state.detail})` : ''}: retrying in ${(state.delay / 1000).toFixed(1)} s`;
    case 'refused': case 'expired': return `${state.state}: ${state.detail ?? state.code ?? ''}`;
    case 'stream-ended': return `${state.stream} has ended (${state.reason})`;
    case 'expiring': return `the credential is good until ${clock(state.at)}`;
    default: return state.state;
  }
}

const chip = h('button', { id: 'connection', class: 'chip', popovertarget: 'connection-panel', hidden: true });
const announced = h('p', { class: 'unseen', role: 'status' });
const list = h('ol', { class: 'states' });
const last = h('code', { id: 'last-id' }, '–');
const session = h('code', {}, '–');
const drop = h('button', { id: 'drop', type: 'button', onclick: () => current?.reconnect() }, 'Drop the connection');
const panel = h('section', { id: 'connection-panel', popover: 'auto', 'aria-label': 'The connection' },
  h('header', {}, h('h2', {}, 'The connection'), h('button', { type: 'button', 'aria-label': 'Close', popovertarget: 'connection-panel', popovertargetaction: 'hide' }, '×')),
  h('dl', {}, h('dt', {}, 'last id'), h('dd', {}, last), h('dt', {}, 'session'), h('dd', {}, session)),
  h('p', {}, drop),
  list);

function show() {
  const state = current ? history.find(({ state }) => WORDS[state.state] !== undefined)?.state : null;
  chip.hidden = state === null || state === undefined;
  chip.dataset.state = state?.state ?? '';
  const word = state ? WORDS[state.state] : '';
  const missed = history.find(({ state }) => state.state === 'gap' || state.state === 'reset')?.state;
  write(chip, missed && word === 'live' ? `live, ${missed.state}` : word);
  chip.setAttribute('aria-label', `Connection: ${chip.textContent}`);
  drop.disabled = state === undefined || FINAL.includes(state?.state ?? '');
  const live = history.find(({ state }) => state.state === 'live')?.state;
  write(session, live?.state === 'live' ? live.session : '–');
  replace(list, history.map(({ time, state }) => h('li', { 'data-state': state.state }, h('time', {}, clock(time)), ' ', tell(state))));
  moved();
}

/** Updates the last id, which also moves between states. */
function moved() {
  write(last, current?.lastEventId ?? '–');
}

/** Closes the panel, because another page has another connection. */
export function leave() {
  if (panel.matches(':popover-open')) panel.hidePopover();
}

/** @param {Element} header */
export function mount(header) {
  put(header, chip);
  document.body.append(panel, announced);
  setInterval(moved, 500);
  show();
}
