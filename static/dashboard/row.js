// Content of the rows of a stream's tail.

import { formatTime } from './figures.js';

/** Maximum number of characters of an event in a row; the opened event shows the whole text. */
const MAX_SUMMARY_CHARS = 500;

export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/**
 * A row of the tail: an event, or a mark such as a gap or the end of the stream.
 *
 * @typedef {{ event: FanfareEvent, chars: number, searchText: string, mark?: undefined }
 *   | { event: null, chars: number, searchText: string, mark: string, time: number }} Row
 */

/** Returns the data of an event as text. @param {any} data */
const toText = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

/** Returns the text of an event's row. @param {FanfareEvent} event */
function summary({ type, data }) {
  if (type === 'log' && data?.message !== undefined) return String(data.message);
  if (type === 'metric' && data?.name !== undefined) return `${data.name} ${data.value}${data.unit ? ` ${data.unit}` : ''}`;
  return toText(data);
}

/** Returns the level of a log event, or an empty string. @param {FanfareEvent} event */
export const levelOf = ({ type, data }) => (type === 'log' && LEVELS.includes(data?.level) ? data.level : '');

/** Returns the row of an event. @param {FanfareEvent} event @returns {Row} */
export const toRow = (event) => ({ event, chars: toText(event.data).length + 200, searchText: '' });

/** Returns true if a row contains a text, as shown or as published. @param {Row} row @param {string} query */
export function containsText(row, query) {
  if (row.event && row.searchText === '') row.searchText = `${summary(row.event)}\n${toText(row.event.data)}\n${row.event.stream}`.toLowerCase();
  return row.searchText.includes(query);
}

/**
 * Returns the cells of a row: time, stream (of a pattern), level or type, text.
 *
 * @param {Row} row
 * @param {boolean} isPattern
 * @returns {string[]}
 */
export function rowCells(row, isPattern) {
  const { event } = row;
  if (!event) return [formatTime(row.time, true), ...(isPattern ? [''] : []), '', row.mark];
  return [formatTime(event.time, true), ...(isPattern ? [event.stream] : []), levelOf(event) || event.type, summary(event).slice(0, MAX_SUMMARY_CHARS)];
}
