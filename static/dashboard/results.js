// Stored events in place of the live log: results of a search over the history, or the context of an event.

import { bannerOfError, showBanner } from './banner.js';
import { h, setText } from './dom.js';
import { formatCount, formatTime } from './figures.js';
import { fetchContext, searchHistory } from './history.js';
import { createLog } from './log.js';
import { toRow } from './row.js';

/** Maximum number of results of one request; the next one continues. */
const MAX_RESULTS = 5_000;

/** @typedef {import('./row.js').Row} Row */
/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/**
 * @param {object} options
 * @param {string} options.label
 * @param {string[]} options.streams
 * @param {import('./row.js').Display} options.display
 * @param {(row: Row) => void} options.onOpen
 * @param {(name: string) => void} options.onRemoveColumn
 * @param {(event: FanfareEvent) => void} options.onEvent
 * @param {() => void} options.onUpdate Called when the events have changed.
 * @param {(isShown: boolean) => void} options.onShow Called when the results are shown or hidden.
 * @param {AbortSignal} options.signal
 */
export function createResults({ label, streams, display, onOpen, onRemoveColumn, onEvent, onUpdate, onShow, signal }) {
  /** Terms at the time of the search: the filter of the live log may change. @type {import('./row.js').Display} */
  const ownDisplay = { get columns() { return display.columns; }, terms: [] };
  const log = createLog({ label, hasStreams: true, display: ownDisplay, onOpen, onRemoveColumn, signal });
  const status = h('span', { role: 'status', id: 'search-status' });
  const cancelButton = h('button', { type: 'button', onclick: () => cancel() }, 'Cancel');
  const continueButton = h('button', { type: 'button', onclick: () => continueSearch() }, 'Continue the search');
  const bar = h('div', { class: 'bar results', hidden: true }, status, cancelButton, continueButton,
    h('button', { type: 'button', onclick: () => close() }, 'Back to live'));
  let isShown = false;
  let controller = new AbortController();
  let continueSearch = () => {};
  let cancel = () => {};

  const show = () => {
    controller.abort();
    controller = new AbortController();
    signal.addEventListener('abort', () => controller.abort(), { once: true, signal: controller.signal });
    [cancelButton.hidden, continueButton.hidden] = [false, true];
    log.clear(false);
    bar.hidden = false;
    if (!isShown) onShow(isShown = true);
    return controller.signal;
  };
  const close = () => {
    controller.abort();
    if (!isShown) return;
    bar.hidden = true;
    onShow(isShown = false);
  };
  /** @param {FanfareEvent[]} events */
  const add = (events) => {
    events.forEach(onEvent);
    log.add(events.map(toRow));
    onUpdate();
  };

  /**
   * Searches the history.
   *
   * @param {string} filter
   * @param {import('./filter.js').Term[]} terms
   * @param {string} from Start of the search.
   */
  const search = (filter, terms, from) => {
    ownDisplay.terms = terms;
    const ownSignal = show();
    // Counts of earlier requests of the same search.
    let [scannedBefore, matchedBefore] = [0, 0];
    const run = async (/** @type {string | null} */ after) => {
      let latest = /** @type {import('./history.js').Progress | null} */ (null);
      const describe = (/** @type {string} */ verb) => {
        const time = latest?.time ? ` up to ${formatTime(latest.time)}` : '';
        return `${verb} ${formatCount(scannedBefore + (latest?.scanned ?? 0))} events${time}: ${formatCount(matchedBefore + (latest?.matched ?? 0))} match ${filter}`;
      };
      setText(status, describe('Searching:'));
      [cancelButton.hidden, continueButton.hidden] = [false, true];
      log.setEmptyText('');
      showBanner('search', null);
      cancel = () => {
        controller.abort();
        cancelButton.hidden = true;
        setText(status, describe('Cancelled after'));
      };
      try {
        await searchHistory({
          streams, filter, from, after, limit: MAX_RESULTS, signal: ownSignal,
          onResult: (events, progress) => {
            latest = progress;
            add(events);
            setText(status, describe('Searching:'));
          },
        });
        setText(status, describe(latest?.isComplete ? 'Searched all' : 'Searched'));
        if (log.count().total === 0) log.setEmptyText('No stored event matches the filter.');
        if (latest && !latest.isComplete && latest.next !== null) {
          const { scanned, matched, next } = latest;
          continueButton.hidden = false;
          continueSearch = () => {
            scannedBefore += scanned;
            matchedBefore += matched;
            run(next);
          };
        }
      } catch (error) {
        if (ownSignal.aborted) return;
        setText(status, 'The search has failed.');
        showBanner('search', bannerOfError(error));
      }
      cancelButton.hidden = true;
    };
    run(null);
  };

  /** Shows an event between others of its stream, which no filter hides. @param {Row} row @param {number} count */
  const showContext = async ({ event }, count) => {
    if (!event) return;
    ownDisplay.terms = display.terms;
    const ownSignal = show();
    cancel = close;
    setText(status, `Reading the context of the event in ${event.stream} …`);
    try {
      const events = await fetchContext(event, count, ownSignal);
      if (ownSignal.aborted) return;
      add(events);
      const position = events.findIndex(({ id }) => id === event.id);
      setText(status, position < 0 ? 'The event is no longer stored.'
        : `${formatCount(position)} events before and ${formatCount(events.length - position - 1)} after it in ${event.stream}, without a filter`);
      const marked = log.items()[position];
      if (marked) log.mark(marked);
    } catch (error) {
      if (ownSignal.aborted) return;
      setText(status, 'The context cannot be read.');
      showBanner('search', bannerOfError(error));
    }
    cancelButton.hidden = true;
  };
  return { bar, log, search, showContext, close, isShown: () => isShown };
}
