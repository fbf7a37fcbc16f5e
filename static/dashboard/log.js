// A log of events: the names of its columns, and the list of its rows.

import { h, replaceChildren } from './dom.js';
import { levelOf } from './filter.js';
import { createCells } from './row.js';
import { createTail } from './tail.js';

/** @typedef {import('./row.js').Row} Row */

/**
 * @param {object} options
 * @param {string} options.label
 * @param {boolean} options.hasStreams True if the events are of several streams.
 * @param {import('./row.js').Display} options.display
 * @param {(row: Row) => void} options.onOpen
 * @param {(name: string) => void} options.onRemoveColumn
 * @param {() => void} [options.onEndChange]
 * @param {AbortSignal} options.signal
 */
export function createLog({ label, hasStreams, display, onOpen, onRemoveColumn, onEndChange = () => {}, signal }) {
  /** @type {Row | null} */
  let markedRow = null;
  const tail = createTail({
    label,
    signal,
    rowClass: (/** @type {Row} */ row) => `${row.event ? `level-${levelOf(row.event)}` : 'mark'}${row === markedRow ? ' marked' : ''}`,
    cells: (/** @type {Row} */ row) => {
      const cells = createCells(row, hasStreams, display);
      // Times of other days are longer.
      if ((cells[0].textContent ?? '').length > 12) element.dataset.dates = 'true';
      return cells;
    },
    onOpen,
    onEndChange,
  });
  const head = h('div', { class: 'log-head' });
  const element = h('div', { class: 'log' }, head, tail.element);
  const refresh = () => {
    head.hidden = display.columns.length === 0;
    replaceChildren(head,
      ['time', ...(hasStreams ? ['stream'] : []), 'kind'].map((name) => h('span', { class: name }, name === 'kind' ? 'level' : name)),
      display.columns.map((name) => h('span', { class: 'column' }, h('span', { class: 'name', title: name }, name),
        h('button', { type: 'button', class: 'small', 'aria-label': `Remove the column ${name}`, onclick: () => onRemoveColumn(name) }, '×'))),
      h('span', { class: 'text' }, 'event'));
    tail.redraw();
  };
  refresh();
  return {
    ...tail,
    element,
    /** @param {boolean} atEnd */
    clear(atEnd) {
      delete element.dataset.dates;
      markedRow = null;
      tail.clear(atEnd);
    },
    /** Draws the rows again, because the columns or the matches have changed. */
    refresh,
    /** Marks a row, and shows it in the middle. @param {Row} row */
    mark(row) {
      markedRow = row;
      tail.scrollTo((each) => each === row, true);
    },
  };
}
