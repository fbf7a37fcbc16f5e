// Panel of the page's connection: its states, and a button that drops it to demonstrate the resume.

import { bannerOfState, showBanner } from './banner.js';
import { formatTime } from './figures.js';
import { append, h, replaceChildren, setText } from './dom.js';
import { subscribeToHub } from './hub.js';

/** Maximum number of states shown, newest first. */
const MAX_STATES = 50;

/** States after which there is no connection to drop. */
const FINAL_STATES = ['ended', 'refused', 'expired', 'closed'];

/** @type {import('../fanfare.d.ts').Subscription | null} */
let currentSubscription = null;
/** @type {Array<{ time: number, state: import('../fanfare.d.ts').State }>} */
let history = [];

const LABELS = /** @type {Record<string, string>} */ ({
  connecting: 'connecting', live: 'live', waiting: 'reconnecting', offline: 'offline', paused: 'paused',
  ended: 'ended', refused: 'refused', expired: 'expired', closed: '',
});

/**
 * Subscribes for the page that is shown, and shows the states of the subscription.
 *
 * @param {import('../fanfare.d.ts').SubscriptionOptions & { signal: AbortSignal }} options
 */
export function subscribeForPage(options) {
  history = [];
  const subscription = subscribeToHub({
    ...options,
    onState: (state) => {
      if (currentSubscription !== subscription && state.state === 'closed') return;
      // Screen readers announce only the loss of the connection and the result of the resume.
      const previous = history[0]?.state.state;
      if (state.state === 'waiting' && previous !== 'connecting') setText(announcer, 'the connection is lost');
      if (state.state === 'live' && state.resume !== 'live') setText(announcer, describeState(state));
      history.unshift({ time: Date.now(), state });
      history.length = Math.min(history.length, MAX_STATES);
      render();
      // A gap or the next attempt changes nothing about what is wrong.
      if (!['connecting', 'gap', 'reset', 'stream-ended', 'expiring', 'closed'].includes(state.state)) {
        const end = history.find(({ state }) => state.state === 'stream-ended')?.state;
        showBanner('subscription', bannerOfState(state, end?.state === 'stream-ended' ? end.reason : ''));
      }
      options.onState?.(state);
    },
  });
  currentSubscription = subscription;
  options.signal.addEventListener('abort', () => {
    if (currentSubscription !== subscription) return;
    [currentSubscription, history] = [null, []];
    render();
  }, { once: true });
  return subscription;
}

/** Returns the text of a state. @param {import('../fanfare.d.ts').State} state */
function describeState(state) {
  switch (state.state) {
    case 'live': {
      const sharing = state.shared === 'follower' ? ', read by another tab' : state.shared === 'leader' ? ', read for all tabs' : '';
      const resume = { live: 'from here on', resumed: 'resumed: nothing was missed', gap: 'resumed past a gap', reset: 'reset' };
      return `live: ${resume[state.resume]}${sharing}`;
    }
    case 'gap': return `gap: ${state.missed ?? 'an unknown number of'} events were removed before they could be read`;
    case 'reset': return 'reset: the hub does not know the last id; reading from the oldest event';
    case 'waiting': return `${state.limit ?? state.reason}${state.detail ? ` (${state.detail})` : ''}: retrying in ${(state.delay / 1000).toFixed(1)} s`;
    case 'refused': case 'expired': return `${state.state}: ${state.detail ?? state.code ?? ''}`;
    case 'stream-ended': return `${state.stream} has ended (${state.reason})`;
    case 'expiring': return `the credential is valid until ${formatTime(state.at)}`;
    default: return state.state;
  }
}

const chip = h('button', { id: 'connection', class: 'chip', popovertarget: 'connection-panel', hidden: true });
const announcer = h('p', { class: 'unseen', role: 'status' });
const list = h('ol', { class: 'states' });
const lastIdElement = h('code', { id: 'last-id' }, '–');
const sessionElement = h('code', {}, '–');
const dropButton = h('button', { id: 'drop', type: 'button', onclick: () => currentSubscription?.reconnect() }, 'Drop the connection');
const panel = h('section', { id: 'connection-panel', popover: 'auto', 'aria-label': 'The connection' },
  h('header', {}, h('h2', {}, 'The connection'), h('button', { type: 'button', 'aria-label': 'Close', popovertarget: 'connection-panel', popovertargetaction: 'hide' }, '×')),
  h('dl', {}, h('dt', {}, 'last id'), h('dd', {}, lastIdElement), h('dt', {}, 'session'), h('dd', {}, sessionElement)),
  h('p', {}, dropButton),
  list);

function render() {
  const state = currentSubscription ? history.find(({ state }) => LABELS[state.state] !== undefined)?.state : null;
  chip.hidden = state === null || state === undefined;
  chip.dataset.state = state?.state ?? '';
  const label = state ? LABELS[state.state] : '';
  const loss = history.find(({ state }) => state.state === 'gap' || state.state === 'reset')?.state;
  setText(chip, loss && label === 'live' ? `live, ${loss.state}` : label);
  chip.setAttribute('aria-label', `Connection: ${chip.textContent}`);
  dropButton.disabled = state === undefined || FINAL_STATES.includes(state?.state ?? '');
  const live = history.find(({ state }) => state.state === 'live')?.state;
  setText(sessionElement, live?.state === 'live' ? live.session : '–');
  replaceChildren(list, history.map(({ time, state }) => h('li', { 'data-state': state.state }, h('time', {}, formatTime(time)), ' ', describeState(state))));
  updateLastId();
}

/** Updates the last id, which also moves between states. */
function updateLastId() {
  setText(lastIdElement, currentSubscription?.lastEventId ?? '–');
}

/** Closes the panel, because another page has another connection. */
export function closePanel() {
  if (panel.matches(':popover-open')) panel.hidePopover();
}

/** Adds the panel to the page, and its button to the header. @param {Element} header */
export function mountPanel(header) {
  append(header, chip);
  document.body.append(panel, announcer);
  setInterval(updateLastId, 500);
  render();
}
