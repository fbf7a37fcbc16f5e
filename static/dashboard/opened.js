// An opened event, with the commands that read and publish it.

import { copyable, h, replaceChildren } from './dom.js';
import { HUB } from './hub.js';
import { publishCommand, readCommand, tree } from './tree.js';

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/** Shows an event in a panel. @param {HTMLElement} panel @param {FanfareEvent} event @param {() => void} close */
export function showEvent(panel, event, close) {
  panel.hidden = false;
  panel.onkeydown = ({ key }) => { if (key === 'Escape') close(); };
  replaceChildren(panel,
    h('header', {}, h('h2', {}, event.type), h('button', { type: 'button', 'aria-label': 'Close', onclick: close }, '×')),
    h('dl', {},
      h('dt', {}, 'id'), h('dd', {}, h('code', {}, event.id)),
      h('dt', {}, event.streams.length > 1 ? 'streams' : 'stream'), h('dd', {}, event.streams.join(', ')),
      h('dt', {}, 'time'), h('dd', {}, event.time)),
    tree(event.data),
    h('h3', {}, 'Read from here on'),
    copyable(readCommand(event, HUB)),
    // Only the hub publishes to its own streams.
    isHubStream(event.stream) ? null : [h('h3', {}, 'Publish it again'), copyable(publishCommand(event, HUB))]);
}

/** Returns true if only the hub publishes to a stream. @param {string} stream */
const isHubStream = (stream) => /^(system|heartbeats)$|^(jobs|chat|hub)\./.test(stream);
