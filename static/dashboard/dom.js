// Elements of a page. Whatever comes from outside is only ever text.

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

/** Says something of what was done, to those who hear and those who see.
 * @param {string} text @param {'good' | 'bad' | ''} [kind] */
export function say(text, kind = '') {
  const notice = h('p', { class: `notice ${kind}` }, text);
  document.getElementById('notices')?.append(notice);
  setTimeout(() => notice.remove(), kind === 'bad' ? 10_000 : 4_000);
}

/** A label around a control. @param {string} text @param {...any} control */
export const field = (text, ...control) => h('label', { class: 'field' }, h('span', {}, text), ...control);

/** Rows under heads. @param {string[]} heads @param {any[][]} rows @param {string} caption */
export function table(heads, rows, caption) {
  const cells = (/** @type {any[]} */ row) => row.map((cell) => {
    const isNumber = typeof cell === 'number' || (typeof cell === 'string' && /^[\d.,]+( ?[kMGTµm%a-zA-Z/]*)$/.test(cell));
    return h('td', isNumber ? { class: 'number' } : {}, cell instanceof Node ? cell : String(cell ?? ''));
  });
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'unseen' }, caption),
      h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))),
      h('tbody', {}, rows.map((row) => h('tr', {}, cells(row))))));
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
  /** @type {Map<string, HTMLTableRowElement>} */
  const known = new Map([...body.rows].map((row) => [String(row.dataset.key), row]));
  items.forEach((item, at) => {
    const name = key(item);
    const row = known.get(name) ?? h('tr', { 'data-key': name });
    known.delete(name);
    cells(item).forEach((cell, n) => {
      const there = row.cells[n];
      if (!there) row.append(h('td', typeof cell === 'string' && /^[\d–]/.test(cell) ? { class: 'number' } : {}, cell));
      else if (typeof cell === 'string' && there.textContent !== cell) there.textContent = cell;
    });
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
  for (const row of known.values()) row.remove();
}
