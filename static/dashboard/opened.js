// An opened event, with the commands that read and publish it.

import { copyable, h, replace } from './dom.js';
import { HUB } from './hub.js';
import { again, onward, tree } from './tree.js';

/** @typedef {import('../fanfare.d.ts').FanfareEvent} FanfareEvent */

/** @param {HTMLElement} opened @param {FanfareEvent} event @param {() => void} close */
export function show(opened, event, close) {
  opened.hidden = false;
  opened.onkeydown = ({ key }) => { if (key === 'Escape') close(); };
  replace(opened,
    h('header', {}, h('h2', {}, event.type), h('button', { type: 'button', 'aria-label': 'Close', onclick: close }, '×')),
    h('dl', {},
      h('dt', {}, 'id'), h('dd', {}, h('code', {}, event.id)),
      h('dt', {}, event.streams.length > 1 ? 'streams' : 'stream'), h('dd', {}, event.streams.join(', ')),
      h('dt', {}, 'time'), h('dd', {}, event.time)),
    tree(event.data),
    h('h3', {}, 'Read from here on'),
    copyable(onward(event, HUB)),
    // Only the hub publishes to its own streams.
    isHubs(event.stream) ? null : [h('h3', {}, 'Publish it again'), copyable(again(event, HUB))]);
}

/** @param {string} stream */
const isHubs = (stream) => /^(system|heartbeats)$|^(jobs|chat|hub)\./.test(stream);
