// Page of a stream or a pattern: a live tail of events, drawings of them, and the opened event.

import { subscribeForPage } from './connection.js';
import { field, h, notify, setText } from './dom.js';
import { createDrawings } from './drawing.js';
import { formatCount } from './figures.js';
import { createFilter } from './filter.js';
import { errorMessage } from './hub.js';
import { showEvent } from './opened.js';
import { levelOf, rowCells, toRow } from './row.js';
import { MAX_ITEMS, createTail } from './tail.js';

/** Number of earlier events shown at first. */
const INITIAL_EVENTS = 1_000;
/** Maximum number of rows that wait to be shown; further events wait in the hub. */
const MAX_PENDING_ROWS = 20_000;
/** Maximum number of characters in these rows. */
const MAX_PENDING_CHARS = 32_000_000;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/** @typedef {import('./row.js').Row} Row */

/**
 * Shows a stream or a pattern.
 *
 * @param {import('./main.js').Context} context
 * @param {string} name
 */
export function openStream({ main, query, signal }, name) {
  const isPattern = name.includes('*');
  const eventPanel = h('aside', { class: 'opened card', hidden: true, 'aria-label': 'The chosen event' });
  const statusElement = h('span', { class: 'muted', id: 'counts' });
  const stateElement = h('p', { class: 'told', role: 'status' });
  const closePanel = () => {
    eventPanel.hidden = true;
    tail.focus();
  };
  const tail = createTail({
    label: `Events of ${name}`,
    signal,
    classes: ['time', ...(isPattern ? ['stream'] : []), 'kind', 'text'],
    rowClass: (/** @type {Row} */ row) => (row.event ? `level-${levelOf(row.event)}` : 'mark'),
    cells: (/** @type {Row} */ row) => rowCells(row, isPattern),
    onOpen: (/** @type {Row} */ row) => { if (row.event) showEvent(eventPanel, row.event, closePanel); },
    onEndChange: () => resumeReading(),
  });

  // Filter.
  const eventFilter = createFilter(query, (matches) => {
    tail.filter(matches);
    updateStatus();
    saveQuery();
  });
  /** Stores the filter in the address, for reloads and for sharing. */
  const saveQuery = () => {
    const search = new URLSearchParams({ ...(from ? { from } : {}), ...eventFilter.values() }).toString();
    history.replaceState(null, '', `#/streams/${encodeURIComponent(name)}${search ? `?${search}` : ''}`);
  };

  // Events wait for the next frame or for the end of a pause; beyond the maximum they wait in the hub.
  let isPaused = false;
  /** @type {Row[]} */
  let pendingRows = [];
  let pendingChars = 0;
  /** @type {FanfareEvent[]} */
  let undrawnEvents = [];
  let isFlushScheduled = false;
  let resumeReading = () => {};
  const isFull = () => pendingRows.length >= MAX_PENDING_ROWS || pendingChars >= MAX_PENDING_CHARS || tail.isFull();
  const flush = () => {
    isFlushScheduled = false;
    drawings.add(undrawnEvents);
    undrawnEvents = [];
    if (!isPaused) {
      tail.add(pendingRows);
      [pendingRows, pendingChars] = [[], 0];
    }
    if (!isFull()) resumeReading();
    updateStatus();
  };
  const scheduleFlush = () => {
    if (isFlushScheduled) return;
    isFlushScheduled = true;
    requestAnimationFrame(flush);
  };
  const updateStatus = () => {
    const { total, matching, removed } = tail.count();
    const parts = [`${matching === total ? formatCount(total) : `${formatCount(matching)} of ${formatCount(total)}`} ${total === 1 ? 'event' : 'events'}`];
    if (removed > 0) parts.push(`${formatCount(removed)} older ones left out`);
    if (isPaused) parts.push(`${formatCount(pendingRows.length)} waiting`);
    if (isFull()) parts.push('more events remain in the hub');
    setText(statusElement, parts.join(', '));
    tail.setEmptyText(matching > 0 ? '' : total > 0 ? 'No event matches the filter.' : from ? 'No events since then.' : 'No events yet.');
  };
  const pauseButton = h('button', {
    type: 'button', 'aria-pressed': 'false',
    onclick: () => {
      isPaused = !isPaused;
      pauseButton.setAttribute('aria-pressed', String(isPaused));
      flush();
    },
  }, 'Pause');

  // Start of reading.
  let from = query.get('from');
  let eventLimit = INITIAL_EVENTS;
  const timeInput = h('input', { name: 'at', type: 'datetime-local', step: 1 });
  let currentController = new AbortController();
  let drawings = createDrawings(currentController.signal);
  /** @param {Row} row */
  const enqueue = (row) => {
    pendingRows.push(row);
    pendingChars += row.chars;
    scheduleFlush();
  };
  // A mark follows the events received before it, once they were taken from the iterator.
  let [receivedCount, takenCount] = [0, 0];
  /** @type {{ after: number, row: Row }[]} */
  let marks = [];
  /** @param {string} text */
  const addMark = (text) => {
    marks.push({ after: receivedCount, row: { event: null, mark: text, time: Date.now(), chars: 100, searchText: '' } });
    enqueueMarks();
  };
  const enqueueMarks = () => {
    while (marks[0]?.after <= takenCount) enqueue(/** @type {{ row: Row }} */ (marks.shift()).row);
  };
  /** Reads the stream from its start position. @param {boolean} atEnd True if the view follows the end. */
  const startReading = async (atEnd) => {
    saveQuery();
    currentController.abort();
    const controller = currentController = new AbortController();
    const previousElement = drawings.element;
    drawings = createDrawings(controller.signal);
    previousElement.replaceWith(drawings.element);
    [pendingRows, pendingChars, undrawnEvents, isPaused] = [[], 0, [], false];
    pauseButton.setAttribute('aria-pressed', 'false');
    tail.clear(atEnd);
    marks = [];
    [receivedCount, takenCount] = [0, 0];
    updateStatus();
    setText(stateElement, '');
    const subscription = subscribeForPage({
      streams: name,
      ...(from ? { from } : { last: eventLimit }),
      signal: controller.signal,
      onEvent: () => { receivedCount += 1; },
      onState: (state) => {
        if (controller.signal.aborted) return;
        if (state.state === 'gap') addMark(`— ${state.missed ?? 'some'} events were removed before they could be read —`);
        if (state.state === 'reset') addMark('— the journal was replaced; all stored events follow —');
        if (state.state === 'stream-ended') addMark(`— ${state.stream} has ended (${state.reason}) —`);
        if (state.state === 'ended') setText(stateElement, 'It has ended.');
        if (state.state === 'refused' || state.state === 'expired') setText(stateElement, `${state.state}: ${state.detail ?? state.code ?? ''}`);
      },
    });
    try {
      for await (const event of subscription) {
        if (controller.signal.aborted) return;
        undrawnEvents.push(event);
        eventFilter.addType(event);
        enqueue(toRow(event));
        takenCount += 1;
        enqueueMarks();
        if (isFull()) await new Promise((resolve) => { resumeReading = () => resolve(undefined); });
      }
    } catch {
      // `onState` has shown the reason.
    }
  };
  signal.addEventListener('abort', () => {
    currentController.abort();
    resumeReading();
  }, { once: true });

  /** Reads again from another start position. @param {string | null} start @param {boolean} [atEnd] */
  const restart = (start, atEnd = true) => {
    from = start;
    startReading(atEnd).catch((error) => notify(errorMessage(error), 'bad'));
  };
  const showNewest = () => (tail.isFull() ? restart(null) : tail.end());
  const loadOlder = () => {
    eventLimit = Math.min(MAX_ITEMS, eventLimit * 10);
    restart(null);
  };
  main.append(
    h('h1', {}, h('a', { href: '#/streams' }, 'Streams'), ' / ', h('span', { class: 'name' }, name)),
    drawings.element,
    h('div', { class: 'bar' },
      eventFilter.fields, pauseButton,
      h('form', {
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (timeInput.value === '') restart(null);
          else restart(new Date(timeInput.value).toISOString(), false);
        },
      }, field('From', timeInput), h('button', {}, 'Jump')),
      h('button', { type: 'button', onclick: showNewest }, 'Newest'),
      h('button', { type: 'button', onclick: loadOlder, title: 'Begins ten times as far back' }, 'Older'),
      statusElement),
    stateElement,
    h('div', { class: 'split' }, tail.element, eventPanel));
  eventFilter.apply();
  restart(from);
}
