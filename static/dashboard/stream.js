// Page of a stream or of several: the log of its events, its filter, drawings, and the opened event.

import { showBanner } from './banner.js';
import { createColumns } from './columns.js';
import { field, h, notify, setText } from './dom.js';
import { createDrawings } from './drawing.js';
import { createFeed } from './feed.js';
import { formatCount } from './figures.js';
import { matchesEvent } from './filter.js';
import { createFilterBox, filterOfQuery } from './filterbox.js';
import { createHistogram } from './histogram.js';
import { errorMessage } from './hub.js';
import { createLog } from './log.js';
import { menu } from './menu.js';
import { showEvent } from './opened.js';
import { createResults } from './results.js';
import { filterTextOf } from './row.js';
import { showHelp } from './shortcuts.js';
import { MAX_ITEMS, NARROW_SCREEN } from './tail.js';
import { createViews } from './views.js';

/** Number of earlier events shown at first. */
const INITIAL_EVENTS = 1_000;

/** @typedef {import('./row.js').Row} Row */

/** Returns the selectors of a page's address, which are separated by spaces. @param {string} name */
const selectorsOf = (name) => name.split(' ').filter(Boolean);

/** Returns a button. @param {string} text @param {() => void} onclick @param {Record<string, any>} [attributes] */
const button = (text, onclick, attributes = {}) => h('button', { type: 'button', onclick, ...attributes }, text);

/**
 * Shows a stream, a pattern, or several of them.
 *
 * @param {import('./main.js').Context} context
 * @param {string} name
 */
export function openStream({ main, query, signal }, name) {
  const streams = selectorsOf(name);
  const hasStreams = name.includes('*') || streams.length > 1;
  /** @type {import('./row.js').Display} */
  const display = { columns: query.getAll('column'), terms: [] };
  const eventPanel = h('aside', { class: 'opened card', hidden: true, 'aria-label': 'The chosen event' });
  const statusElement = h('span', { class: 'muted', id: 'counts', role: 'status' });
  const open = (/** @type {Row} */ row) => {
    if (!row.event) return;
    showEvent(eventPanel, row.event, {
      close() {
        eventPanel.hidden = true;
        shownLog().focus();
      },
      showContext(count) {
        // The panel covers the log of a narrow screen.
        if (matchMedia(NARROW_SCREEN).matches) eventPanel.hidden = true;
        results.showContext(row, count);
      },
      addColumn: columns.add,
      addFilter: (term) => filter.set(`${filter.input.value.trim()} ${term}`.trim()),
    });
  };
  const log = createLog({
    label: `Events of ${name}`, hasStreams, display, signal, onOpen: open,
    onRemoveColumn: (column) => columns.remove(column),
    onEndChange: () => {
      feed.resume();
      updateStatus();
    },
  });

  // The address has what is shown, for reloads and for sharing.
  let from = query.get('from');
  let eventLimit = INITIAL_EVENTS;
  const saveQuery = () => {
    const search = new URLSearchParams([
      ...(from ? [['from', from]] : []), ...(filter.text() ? [['filter', filter.text()]] : []), ...display.columns.map((column) => ['column', column]),
    ]).toString();
    history.replaceState(null, '', `#/streams/${encodeURIComponent(name)}${search ? `?${search}` : ''}`);
  };
  const columns = createColumns(display.columns, (chosen) => {
    display.columns = chosen;
    log.refresh();
    results.log.refresh();
    saveQuery();
  }, signal);
  const filter = createFilterBox(filterOfQuery(query), (terms) => {
    display.terms = terms;
    log.filter((row) => row.event === null || matchesEvent(terms, row.event, () => filterTextOf(row)));
    searchButton.disabled = terms.length === 0;
    updateStatus();
    saveQuery();
  });

  // Reading.
  let drawingsController = new AbortController();
  let drawings = createDrawings(!hasStreams, drawingsController.signal);
  signal.addEventListener('abort', () => drawingsController.abort(), { once: true });
  const feed = createFeed({
    streams, signal,
    isLogFull: log.isFull,
    onEvents(events) {
      drawings.add(events);
      for (const event of events) {
        filter.addType(event);
        columns.addEvent(event);
      }
    },
    onRows: log.add,
    onUpdate: () => updateStatus(),
    onState: () => updateStatus(),
  });
  const updateStatus = () => {
    const { total, matching, removed } = log.count();
    const parts = [`${matching === total ? formatCount(total) : `${formatCount(matching)} of ${formatCount(total)}`} ${total === 1 ? 'event' : 'events'}`];
    if (removed > 0) parts.push(`${formatCount(removed)} older ones left out`);
    if (feed.isPaused()) parts.push(`${formatCount(feed.pendingCount())} waiting`);
    if (feed.isFull()) parts.push('more events remain in the hub');
    setText(statusElement, parts.join(', '));
    const noneText = from ? 'No events since then.' : 'No events yet. They appear here as they are published.';
    log.setEmptyText(matching > 0 ? '' : total > 0 ? 'No event matches the filter. Search history looks further back.' : noneText);
    newestButton.hidden = results.isShown() || (log.isAtEnd() && !log.isFull());
    histogram.update();
  };
  const pauseButton = button('Pause', () => setPaused(!feed.isPaused()), { id: 'pause', 'aria-pressed': 'false', title: 'Key: p' });
  /** @param {boolean} isPaused */
  const setPaused = (isPaused) => {
    feed.setPaused(isPaused);
    pauseButton.setAttribute('aria-pressed', String(isPaused));
  };
  /** Reads again from another start position. @param {string | null} start @param {boolean} [atEnd] True if the view follows the end. */
  const restart = (start, atEnd = true) => {
    from = start;
    saveQuery();
    results.close();
    drawingsController.abort();
    drawingsController = new AbortController();
    const previousElement = drawings.element;
    drawings = createDrawings(!hasStreams, drawingsController.signal);
    previousElement.replaceWith(drawings.element);
    pauseButton.setAttribute('aria-pressed', 'false');
    log.clear(atEnd);
    feed.start(from ? { from } : { last: eventLimit }).catch((error) => notify(errorMessage(error), 'bad'));
    updateStatus();
  };
  const newestButton = button('Newest ↓', () => (log.isFull() ? restart(null) : log.end()), { class: 'newest', hidden: true });
  const timeMenu = createTimeMenu(signal, {
    jump: (start) => restart(start, start === null),
    loadOlder() {
      eventLimit = Math.min(MAX_ITEMS, eventLimit * 10);
      restart(null);
    },
  });

  // The log shows live events, or the results of a search, or the context of an event.
  const results = createResults({
    label: `Stored events of ${name}`, streams, display, signal, onOpen: open,
    onRemoveColumn: (column) => columns.remove(column),
    onEvent: columns.addEvent,
    onUpdate: () => histogram.update(),
    onShow(isShown) {
      log.element.hidden = isShown;
      if (isShown) logs.prepend(results.log.element);
      else results.log.element.remove();
      statusElement.hidden = isShown;
      showBanner('search', null);
      if (!isShown) log.focus();
      updateStatus();
    },
  });
  const logs = h('div', { class: 'logs' }, log.element, newestButton);
  const shownLog = () => (results.isShown() ? results.log : log);
  const searchButton = button('Search history', () => results.search(filter.text(), filter.terms(), from ?? 'start'), { id: 'search-history', title: 'Search all stored events for the filter' });
  const histogram = createHistogram(() => shownLog().items(), (time) => shownLog().scrollTo((row) => row.time >= time));

  const tools = h('div', { class: 'tools', id: 'tools' },
    filter.lists, columns.element, timeMenu, searchButton, pauseButton);
  const toolsButton = button('Filters', () => {
    const isOpen = tools.classList.toggle('open');
    toolsButton.setAttribute('aria-expanded', String(isOpen));
  }, { class: 'tools-button', 'aria-expanded': 'false', 'aria-controls': 'tools' });
  document.body.classList.add('full');
  signal.addEventListener('abort', () => document.body.classList.remove('full'), { once: true });
  main.append(
    h('div', { class: 'title' }, h('h1', {}, h('a', { href: '#/streams' }, 'Streams'), ' / ', h('span', { class: 'name' }, name)), statusElement,
      h('div', { class: 'actions' }, createViews(signal), button('Download', () => download(shownLog().items(), name), { title: 'Download the events that are shown, as JSON lines' }))),
    drawings.element,
    h('div', { class: 'toolbar', role: 'search' },
      h('div', { class: 'filter' }, filter.input, button('?', showHelp, { class: 'small', 'aria-label': 'Help about the filter' })),
      toolsButton, tools),
    filter.errorElement, results.bar, histogram.element,
    h('div', { class: 'split' }, logs, eventPanel));
  filter.apply();
  restart(from);
}

/**
 * Creates the menu of the start of reading.
 *
 * @param {AbortSignal} signal
 * @param {{ jump: (start: string | null) => void, loadOlder: () => void }} actions
 */
function createTimeMenu(signal, { jump, loadOlder }) {
  const input = h('input', { name: 'at', type: 'datetime-local', step: 1 });
  const choose = (/** @type {string | null} */ start) => {
    close();
    jump(start);
  };
  const { element, close } = menu('Time', [
    h('form', {
      class: 'bar',
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        choose(input.value === '' ? null : new Date(input.value).toISOString());
      },
    }, field('From', input), h('button', {}, 'Jump')),
    h('p', { class: 'bar' }, [['15m', '15 minutes'], ['1h', '1 hour'], ['24h', '1 day']].map(([start, text]) => button(`Last ${text}`, () => choose(start))),
      button('All stored', () => choose('start'))),
    h('p', { class: 'bar' }, button('Older', () => (close(), loadOlder()), { title: 'Begins ten times as far back' }), button('Newest', () => choose(null))),
  ], signal);
  return element;
}

/** Downloads the events of rows as JSON lines. @param {Row[]} rows @param {string} name */
function download(rows, name) {
  const lines = rows.flatMap(({ event }) => (event ? [`${JSON.stringify({ id: event.id, stream: event.streams.length > 1 ? event.streams : event.stream, type: event.type, time: event.time, data: event.data })}\n`] : []));
  const href = URL.createObjectURL(new Blob(lines, { type: 'application/x-ndjson' }));
  h('a', { href, download: `${name.replace(/[^\p{L}\p{N}.-]+/gu, '_')}.ndjson` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
  notify(`${formatCount(lines.length)} events downloaded.`, 'good');
}
