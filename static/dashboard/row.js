// Content of the rows of a stream's tail.

import { clock } from './figures.js';

/** Maximum number of characters of an event in a row; the opened event shows all. */
const MOST_SHOWN = 500;

export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'critical'];

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */
/**
 * A row of the tail: an event, or a mark such as a gap or the end of the stream.
 *
 * @typedef {{ event: FanfareEvent, chars: number, hay: string, mark?: undefined }
 *   | { event: null, chars: number, hay: string, mark: string, time: number }} Row
 */

/** @param {any} data */
const text = (data) => (typeof data === 'string' ? data : JSON.stringify(data));

/** Returns the text of an event's row. @param {FanfareEvent} event */
function summary({ type, data }) {
  if (type === 'log' && data?.message !== undefined) return String(data.message);
  if (type === 'metric' && data?.name !== undefined) return `${data.name} ${data.value}${data.unit ? ` ${data.unit}` : ''}`;
  return text(data);
}

/** @param {FanfareEvent} event */
export const levelOf = ({ type, data }) => (type === 'log' && LEVELS.includes(data?.level) ? data.level : '');

/** @param {FanfareEvent} event @returns {Row} */
export const rowOf = (event) => ({ event, chars: text(event.data).length + 200, hay: '' });

/** Returns true if a row contains a text, as shown or as published. @param {Row} row @param {string} wanted */
export function has(row, wanted) {
  if (row.event && row.hay === '') row.hay = `${summary(row.event)}\n${text(row.event.data)}\n${row.event.stream}`.toLowerCase();
  return row.hay.includes(wanted);
}

/**
 * Returns the cells of a row: time, stream (of a pattern), level or type, text.
 *
 * @param {Row} row
 * @param {boolean} isPattern
 * @returns {string[]}
 */
export function cells(row, isPattern) {
  const { event } = row;
  if (!event) return [clock(row.time, true), ...(isPattern ? [''] : []), '', row.mark];
  return [clock(event.time, true), ...(isPattern ? [event.stream] : []), levelOf(event) || event.type, summary(event).slice(0, MOST_SHOWN)];
}
