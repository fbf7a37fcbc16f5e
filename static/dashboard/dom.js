// Elements of a page. Whatever comes from outside is only ever text.

import { clock } from './figures.js';

/**
 * An element: `on…` listens, `class` and other names are attributes, true and false mean there or not.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children Elements, and texts; nothing for null and false.
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  put(element, ...children);
  return element;
}

/** @param {Element} element @param {...any} children */
export function put(element, ...children) {
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** What was in it is in it no more. @param {Element} element @param {...any} children */
export function replace(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** Only where it is another, so that nobody hears it twice. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Says what was done, to those who hear and those who see.
 * @param {string} text @param {'good' | 'bad' | ''} [kind] */
export function say(text, kind = '') {
  const notice = h('p', { class: `notice ${kind}` }, text);
  byId('notices').append(notice);
  setTimeout(() => notice.remove(), kind === 'bad' ? 10_000 : 4_000);
}

/** Another page is shown, of which nothing was said. */
export function quiet() {
  byId('notices').querySelectorAll('.bad').forEach((notice) => notice.remove());
}

/** Says that what the page shows is what was, and why; nothing, where it is so no more.
 * @param {string} reason @param {number} [since] */
export function stale(reason, since) {
  const banner = byId('stale');
  banner.hidden = reason === '';
  write(banner, reason === '' ? '' : `${since === undefined ? '' : `As of ${clock(since)}. `}The hub does not answer as it should: ${reason}`);
}

/** A label around a control. @param {string} text @param {...any} control */
export const field = (text, ...control) => h('label', { class: 'field' }, h('span', {}, text), ...control);

/** A command, or whatever somebody may want elsewhere, and a button that copies it. @param {string} text */
export function copyable(text) {
  const copy = async () => {
    try {
      // Not there without a secure context.
      await navigator.clipboard.writeText(text);
      say('copied', 'good');
    } catch {
      getSelection()?.selectAllChildren(shown);
      say('the browser does not allow it; it is selected', 'bad');
    }
  };
  const shown = h('pre', { class: 'command' }, text);
  return h('div', {}, shown, h('button', { type: 'button', onclick: copy }, 'Copy'));
}

/**
 * A table with a body to fill by `keepRows`.
 *
 * @param {string} caption
 * @param {(string | [string])[]} heads Those of numbers are in a list.
 */
export function table(caption, heads) {
  const body = h('tbody');
  const head = h('tr', {}, heads.map((head) => {
    const isOfNumbers = Array.isArray(head);
    const [text] = isOfNumbers ? head : [head];
    return text === '' ? h('td') : h('th', { scope: 'col', class: isOfNumbers && 'number' }, text);
  }));
  const element = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, head), body));
  return { element, body };
}

/**
 * Rows that stay where they are while what they say changes, so that nobody's focus or click is lost.
 *
 * @template T
 * @param {HTMLTableSectionElement} body
 * @param {T[]} items
 * @param {(item: T) => string} key What tells one from another.
 * @param {(item: T) => (string | Node)[]} cells An element is made once, and a text whenever it is another.
 */
export function keepRows(body, items, key, cells) {
  const wanted = new Set(items.map(key));
  const heads = body.parentElement?.querySelector('tr')?.cells;
  /** @type {Map<string, HTMLTableRowElement>} */
  const known = new Map();
  for (const row of [...body.rows]) {
    if (wanted.has(String(row.dataset.key))) known.set(String(row.dataset.key), row);
    else row.remove();
  }
  items.forEach((item, at) => {
    const name = key(item);
    const row = known.get(name) ?? h('tr', { 'data-key': name });
    cells(item).forEach((cell, n) => {
      const there = row.cells[n];
      if (!there) row.append(h('td', { class: heads?.[n]?.className || false }, cell));
      else if (typeof cell === 'string') write(there, cell);
    });
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
}
