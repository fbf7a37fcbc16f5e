// Shows JSON as a tree, and an event as commands.

import { append, h } from './dom.js';

/** Depth that is open at first, and number of members shown at a time. */
const OPEN_DEPTH = 2;
const PAGE_SIZE = 200;

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
  const showMembers = (/** @type {number} */ from) => {
    append(list, members.slice(from, from + PAGE_SIZE).map(([name, member]) => h('li', {}, h('span', { class: 'name' }, `${name}: `), tree(member, depth + 1))));
    const remaining = members.length - from - PAGE_SIZE;
    if (remaining <= 0) return;
    const button = h('button', { type: 'button', onclick: () => (button.parentElement.remove(), showMembers(from + PAGE_SIZE)) }, `${remaining} more`);
    append(list, h('li', {}, button));
  };
  const fill = () => {
    if (element.open && list.children.length === 0) showMembers(0);
  };
  element.addEventListener('toggle', fill);
  fill();
  return element;
}

/** Quotes a text for a shell. @param {string} text */
const shellQuote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * Returns the command that publishes an event again.
 *
 * @param {import('../fanfare.d.ts').FanfareEvent} event
 * @param {URL} hub
 */
export function publishCommand({ streams, stream, type, data }, hub) {
  const body = { stream: streams.length > 1 ? streams : stream, ...(type === 'message' ? {} : { type }), data };
  return `curl -H 'Content-Type: application/json' -d ${shellQuote(JSON.stringify(body))} ${shellQuote(new URL('publish', hub).href)}`;
}

/**
 * Returns the command that reads the stream of an event from that event on.
 *
 * @param {import('../fanfare.d.ts').FanfareEvent} event
 * @param {URL} hub
 */
export function readCommand({ stream, time }, hub) {
  const url = new URL(`streams/${encodeURIComponent(stream)}/events`, hub);
  url.searchParams.set('from', time);
  return `curl -N ${shellQuote(url.href)}`;
}
