// Reads the events of a page in the order of the hub, and holds them back while the page is paused.

import { subscribeForPage } from './connection.js';
import { toMark, toRow } from './row.js';

/** Maximum number of rows that wait to be shown; further events wait in the hub. */
const MAX_PENDING_ROWS = 20_000;
/** Maximum number of characters in these rows. */
const MAX_PENDING_CHARS = 32_000_000;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** @typedef {import('./row.js').Row} Row */

/**
 * @param {object} options
 * @param {string[]} options.streams
 * @param {(events: FanfareEvent[]) => void} options.onEvents Called with new events, also during a pause.
 * @param {(rows: Row[]) => void} options.onRows Called with rows to show.
 * @param {() => void} options.onUpdate Called once a frame with changes has been shown.
 * @param {(state: import('../fanfare.d.ts').State) => void} options.onState
 * @param {() => boolean} options.isLogFull Returns true if the log cannot take more rows.
 * @param {AbortSignal} options.signal
 */
export function createFeed({ streams, onEvents, onRows, onUpdate, onState, isLogFull, signal }) {
  let isPaused = false;
  /** @type {Row[]} */
  let pendingRows = [];
  let pendingChars = 0;
  /** @type {FanfareEvent[]} */
  let newEvents = [];
  let isFlushScheduled = false;
  let resumeReading = () => {};
  let controller = new AbortController();
  const isFull = () => pendingRows.length >= MAX_PENDING_ROWS || pendingChars >= MAX_PENDING_CHARS || isLogFull();
  const flush = () => {
    isFlushScheduled = false;
    if (signal.aborted) return;
    onEvents(newEvents);
    newEvents = [];
    if (!isPaused) {
      onRows(pendingRows);
      [pendingRows, pendingChars] = [[], 0];
    }
    if (!isFull()) resumeReading();
    onUpdate();
  };
  /** @param {Row} row */
  const enqueue = (row) => {
    pendingRows.push(row);
    pendingChars += row.chars;
    if (isFlushScheduled) return;
    isFlushScheduled = true;
    requestAnimationFrame(flush);
  };
  // A mark follows the events received before it, once they were taken from the iterator.
  let [receivedCount, takenCount] = [0, 0];
  /** @type {{ after: number, row: Row }[]} */
  let marks = [];
  const enqueueMarks = () => {
    while (marks[0]?.after <= takenCount) enqueue(/** @type {{ row: Row }} */ (marks.shift()).row);
  };
  /** @param {string} text */
  const addMark = (text) => {
    marks.push({ after: receivedCount, row: toMark(text) });
    enqueueMarks();
  };
  signal.addEventListener('abort', () => {
    controller.abort();
    resumeReading();
  }, { once: true });

  return {
    /** Reads the streams from a start position. @param {{ from: string } | { last: number }} start */
    async start(start) {
      controller.abort();
      resumeReading();
      controller = new AbortController();
      const { signal: ownSignal } = controller;
      [pendingRows, pendingChars, newEvents, isPaused, marks] = [[], 0, [], false, []];
      [receivedCount, takenCount] = [0, 0];
      const subscription = subscribeForPage({
        streams,
        ...start,
        signal: ownSignal,
        onEvent: () => { receivedCount += 1; },
        onState: (state) => {
          if (ownSignal.aborted) return;
          if (state.state === 'gap') addMark(`— ${state.missed ?? 'some'} events were removed before they could be read —`);
          if (state.state === 'reset') addMark('— the journal was replaced; all stored events follow —');
          if (state.state === 'stream-ended') addMark(`— ${state.stream} ${state.reason === 'deleted' ? 'was deleted' : `has ended (${state.reason})`} —`);
          onState(state);
        },
      });
      try {
        for await (const event of subscription) {
          if (ownSignal.aborted) return;
          newEvents.push(event);
          enqueue(toRow(event));
          takenCount += 1;
          enqueueMarks();
          if (isFull()) await new Promise((resolve) => { resumeReading = () => resolve(undefined); });
        }
      } catch {
        // `onState` has shown the reason.
      }
    },
    /** @param {boolean} value */
    setPaused(value) {
      isPaused = value;
      flush();
    },
    isPaused: () => isPaused,
    pendingCount: () => pendingRows.length,
    isFull,
    /** Continues to read, because there may be room again. */
    resume: () => resumeReading(),
  };
}
