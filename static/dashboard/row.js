// Rows of a log: their content, and their elements.

import { h } from './dom.js';
import { formatTime } from './figures.js';
import { fieldOf, levelOf, severityOf, splitMatches, textOf } from './filter.js';

/** Maximum number of characters of an event in a row; the opened event shows the whole text. */
const MAX_SUMMARY_CHARS = 500;
const MAX_CELL_CHARS = 100;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/**
 * A row of a log: an event, or a mark such as a gap or the end of the stream. `time` is in milliseconds, and
 * `severity` is the number of the level, or -1.
 *
 * @typedef {{ event: FanfareEvent, chars: number, time: number, severity: number, text: string, mark?: undefined }
 *   | { event: null, chars: number, time: number, severity: number, text: string, mark: string }} Row
 */
/**
 * What the rows of a log show beside the event.
 *
 * @typedef {{ columns: string[], terms: import('./filter.js').Term[] }} Display
 */

/** Returns the data of an event as text. @param {any} data */
const toText = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

/** Returns the text of an event's row, with all of its lines. @param {FanfareEvent} event */
export function summaryOf({ type, data }) {
  if (typeof data?.message === 'string') return data.message;
  if (type === 'metric' && data?.name !== undefined) return `${data.name} ${data.value}${data.unit ? ` ${data.unit}` : ''}`;
  if (type === 'heartbeat' && typeof data?.source === 'string') return `${data.source} ${data.status ?? ''}`.trim();
  return toText(data);
}

/** Returns the row of an event. @param {FanfareEvent} event @returns {Row} */
export const toRow = (event) => ({
  event, chars: toText(event.data).length + 200, time: Date.parse(event.time), severity: severityOf(event.data?.level), text: '',
});

/** Returns a mark. @param {string} mark @returns {Row} */
export const toMark = (mark) => ({ event: null, mark, time: Date.now(), chars: 100, severity: -1, text: '' });

/** Returns the text of a row for filters, which is computed once. @param {Row} row */
export function filterTextOf(row) {
  if (row.event && row.text === '') row.text = textOf(row.event);
  return row.text;
}

/** Returns the text of a member in a column. @param {FanfareEvent} event @param {string} name */
function cellText(event, name) {
  const member = fieldOf(event, name);
  return member === undefined ? '' : toText(member).slice(0, MAX_CELL_CHARS);
}

/** Returns a text whose matches are marked. @param {string} text @param {Display} display */
const markMatches = (text, { terms }) => splitMatches(text, terms).map((part, n) => (n % 2 ? h('mark', {}, part) : part));

/**
 * Returns the cells of a row: time, stream (of several), level or type, columns, text, number of further lines.
 *
 * @param {Row} row
 * @param {boolean} hasStreams True if the log is of several streams.
 * @param {Display} display
 * @returns {Element[]}
 */
export function createCells(row, hasStreams, display) {
  const cell = (/** @type {string} */ name, /** @type {any} */ content) => h('span', { class: name }, content);
  const { event } = row;
  const time = cell('time', formatTime(event?.time ?? row.time, true));
  if (!event) return [time, cell('text', row.mark)];
  const kind = event.type === 'log' ? levelOf(event) || event.type : event.type;
  const summary = summaryOf(event).slice(0, MAX_SUMMARY_CHARS * 20);
  const [firstLine, ...lines] = summary.replace(/\s+$/, '').split(/\r\n|\r|\n/);
  return [
    time,
    ...(hasStreams ? [h('span', { class: 'stream', title: event.stream }, event.stream)] : []),
    cell('kind', kind),
    ...display.columns.map((name) => h('span', { class: 'column', 'data-name': name }, markMatches(cellText(event, name), display))),
    cell('text', markMatches(firstLine.slice(0, MAX_SUMMARY_CHARS), display)),
    ...(lines.length > 0 ? [cell('lines', `+${lines.length} ${lines.length === 1 ? 'line' : 'lines'}`)] : []),
  ];
}
