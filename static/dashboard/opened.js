// An opened event: its message, its data, and the commands that read and publish it.

import { copyable, h, replaceChildren } from './dom.js';
import { fieldOf, quote } from './filter.js';
import { formatTime } from './figures.js';
import { HUB } from './hub.js';
import { forEachMember } from './columns.js';
import { summaryOf } from './row.js';
import { publishCommand, readCommand, tree } from './tree.js';

/** Numbers of events before and after an event that can be shown. */
const CONTEXT_SIZES = [10, 50, 500];
/** Maximum number of members with buttons, and of characters of their values. */
const MAX_MEMBERS = 50;
const MAX_VALUE_CHARS = 100;

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/**
 * Shows an event in a panel.
 *
 * @param {HTMLElement} panel
 * @param {FanfareEvent} event
 * @param {object} actions
 * @param {() => void} actions.close
 * @param {(count: number) => void} actions.showContext
 * @param {(name: string) => void} actions.addColumn
 * @param {(term: string) => void} actions.addFilter
 */
export function showEvent(panel, event, { close, showContext, addColumn, addFilter }) {
  panel.hidden = false;
  panel.onkeydown = ({ key }) => { if (key === 'Escape') close(); };
  const message = summaryOf(event);
  /** @type {string[]} */
  const members = [];
  forEachMember(event.data, (path) => { if (path !== 'message' && members.length < MAX_MEMBERS) members.push(path); });
  replaceChildren(panel,
    h('header', {}, h('h2', {}, event.type), h('button', { type: 'button', 'aria-label': 'Close', onclick: close }, '×')),
    message.includes('\n') ? h('pre', { class: 'message', tabindex: 0 }, message) : null,
    h('dl', {},
      h('dt', {}, 'time'), h('dd', {}, h('time', { datetime: event.time, title: event.time }, formatTime(event.time, true))),
      h('dt', {}, event.streams.length > 1 ? 'streams' : 'stream'), h('dd', {}, event.streams.join(', ')),
      h('dt', {}, 'id'), h('dd', {}, h('code', {}, event.id))),
    h('p', { class: 'bar' }, h('span', { class: 'muted' }, 'Events around it:'),
      CONTEXT_SIZES.map((count) => h('button', { type: 'button', class: 'small', 'aria-label': `Show ${count} events before and after it`, onclick: () => showContext(count) }, `± ${count}`))),
    tree(event.data),
    members.length > 0 ? h('details', { class: 'members' }, h('summary', {}, 'Filter or show as a column'), h('ul', { class: 'choices' }, members.map((path) => {
      const value = fieldOf(event, path);
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return h('li', {}, h('code', {}, path), ' ',
        h('button', { type: 'button', class: 'small', 'aria-label': `Show ${path} as a column`, onclick: () => addColumn(path) }, 'Column'),
        text.length <= MAX_VALUE_CHARS && !Array.isArray(value)
          ? ['=', '!='].map((operator) => h('button', { type: 'button', class: 'small', 'aria-label': `Filter: ${path} ${operator} ${text}`, onclick: () => addFilter(`${path}${operator}${quote(text)}`) }, operator)) : null);
    }))) : null,
    h('h3', {}, 'Read from here on'),
    copyable(readCommand(event, HUB)),
    // Only the hub publishes to its own streams.
    isHubStream(event.stream) ? null : [h('h3', {}, 'Publish it again'), copyable(publishCommand(event, HUB))]);
  panel.scrollTop = 0;
}

/** Returns true if only the hub publishes to a stream. @param {string} stream */
const isHubStream = (stream) => /^(system|heartbeats)$|^(jobs|chat|hub)\./.test(stream);
