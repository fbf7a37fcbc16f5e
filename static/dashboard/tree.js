// Shows JSON as a tree, and an event as commands.

import { h, put } from './dom.js';

/** Depth that is open at first, and number of members shown at a time. */
const OPEN_DEPTH = 2;
const SHOWN = 200;

/**
 * Returns JSON as a tree that can be opened.
 *
 * @param {any} value
 * @param {number} [depth]
 * @returns {Element}
 */
export function tree(value, depth = 0) {
  if (value === null || typeof value !== 'object') {
    return h('code', { class: `json-${value === null ? 'null' : typeof value}` }, JSON.stringify(value));
  }
  const members = Object.entries(value);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (members.length === 0) return h('code', {}, `${open}${close}`);
  const list = h('ul', { class: 'json' });
  const element = h('details', { open: depth < OPEN_DEPTH },
    h('summary', {}, `${open} ${members.length} ${members.length === 1 ? 'member' : 'members'} ${close}`), list);
  // Members are created when they are opened.
  const more = (/** @type {number} */ from) => {
    put(list, members.slice(from, from + SHOWN).map(([name, member]) => h('li', {}, h('span', { class: 'name' }, `${name}: `), tree(member, depth + 1))));
    const left = members.length - from - SHOWN;
    if (left <= 0) return;
    const button = h('button', { type: 'button', onclick: () => (button.parentElement.remove(), more(from + SHOWN)) }, `${left} more`);
    put(list, h('li', {}, button));
  };
  const fill = () => {
    if (element.open && list.children.length === 0) more(0);
  };
  element.addEventListener('toggle', fill);
  fill();
  return element;
}

/** Quotes a text for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * Returns the command that publishes an event again.
 *
 * @param {import('../fanfare.d.ts').FanfareEvent} event
 * @param {URL} hub
 */
export function again({ streams, stream, type, data }, hub) {
  const again = { stream: streams.length > 1 ? streams : stream, ...(type === 'message' ? {} : { type }), data };
  return `curl -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(again))} ${quoted(new URL('publish', hub).href)}`;
}

/**
 * Returns the command that reads the stream of an event from that event on.
 *
 * @param {import('../fanfare.d.ts').FanfareEvent} event
 * @param {URL} hub
 */
export function onward({ stream, time }, hub) {
  const url = new URL(`streams/${encodeURIComponent(stream)}/events`, hub);
  url.searchParams.set('from', time);
  return `curl -N ${quoted(url.href)}`;
}
