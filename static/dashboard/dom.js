// Elements of a page. External data is only ever inserted as text.

import { clock } from './figures.js';

/**
 * Creates an element. `on…` adds a listener; other names are attributes, which true sets and false omits.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children Elements and texts; null and false are skipped.
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

/** Replaces the children of an element. @param {Element} element @param {...any} children */
export function replace(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** Sets a text only if it differs, so that it is not announced twice. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Shows a notice, which screen readers announce.
 * @param {string} text @param {'good' | 'bad' | ''} [kind] */
export function say(text, kind = '') {
  const notice = h('p', { class: `notice ${kind}` }, text);
  byId('notices').append(notice);
  setTimeout(() => notice.remove(), kind === 'bad' ? 10_000 : 4_000);
}

/** Removes the error notices of the previous page. */
export function quiet() {
  byId('notices').querySelectorAll('.bad').forEach((notice) => notice.remove());
}

/** Shows that the page is out of date, since when and why; an empty reason hides that.
 * @param {string} reason @param {number} [since] */
export function stale(reason, since) {
  const banner = byId('stale');
  banner.hidden = reason === '';
  write(banner, reason === '' ? '' : `${since === undefined ? '' : `As of ${clock(since)}. `}The hub does not answer as it should: ${reason}`);
}

/** Returns a label around a control. @param {string} text @param {...any} control */
export const field = (text, ...control) => h('label', { class: 'field' }, h('span', {}, text), ...control);

/** Returns a text, such as a command, with a button that copies it. @param {string} text */
export function copyable(text) {
  const copy = async () => {
    try {
      // `clipboard` is missing outside of a secure context.
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
 * Returns a table whose body is filled by `keepRows`.
 *
 * @param {string} caption
 * @param {(string | [string])[]} heads Heads of columns; those of numbers are in an array.
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
 * Updates rows in place, so that no focus and no click is lost.
 *
 * @template T
 * @param {HTMLTableSectionElement} body
 * @param {T[]} items
 * @param {(item: T) => string} key Identity of an item.
 * @param {(item: T) => (string | Node)[]} cells Elements are inserted once, texts are updated.
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
