// Elements of a page. External data is only ever inserted as text.

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
  append(element, ...children);
  return element;
}

/** Appends children; null and false are skipped. @param {Element} element @param {...any} children */
export function append(element, ...children) {
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Replaces the children of an element. @param {Element} element @param {...any} children */
export function replaceChildren(element, ...children) {
  element.replaceChildren();
  append(element, ...children);
}

/** Sets a text only if it differs, so that it is not announced twice. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Shows a notice, which screen readers announce.
 * @param {string} text @param {'good' | 'bad' | ''} [kind] */
export function notify(text, kind = '') {
  const notice = h('p', { class: `notice ${kind}` }, text);
  byId('notices').append(notice);
  setTimeout(() => notice.remove(), kind === 'bad' ? 10_000 : 4_000);
}

/** Removes the error notices of the previous page. */
export function clearErrors() {
  byId('notices').querySelectorAll('.bad').forEach((notice) => notice.remove());
}

/** Returns a label around a control. @param {string} text @param {...any} control */
export const field = (text, ...control) => h('label', { class: 'field' }, h('span', {}, text), ...control);

/** Returns a text, such as a command, with a button that copies it. @param {string} text */
export function copyable(text) {
  const copy = async () => {
    try {
      // `clipboard` is missing outside of a secure context.
      await navigator.clipboard.writeText(text);
      notify('copied', 'good');
    } catch {
      getSelection()?.selectAllChildren(pre);
      notify('the browser does not allow it; it is selected', 'bad');
    }
  };
  const pre = h('pre', { class: 'command' }, text);
  return h('div', {}, pre, h('button', { type: 'button', onclick: copy }, 'Copy'));
}

/**
 * Returns a table whose body is filled by `updateRows`.
 *
 * @param {string} caption
 * @param {(string | [string])[]} headings Headings of columns; those of numeric columns are in an array.
 * @param {(column: number) => void} [onSort] Called with the column of a chosen heading.
 */
export function table(caption, headings, onSort) {
  const body = h('tbody');
  const headRow = h('tr', {}, headings.map((heading, column) => {
    const isNumeric = Array.isArray(heading);
    const [text] = isNumeric ? heading : [heading];
    if (text === '') return h('td');
    const content = onSort ? h('button', { type: 'button', class: 'sort', onclick: () => onSort(column) }, text) : text;
    return h('th', { scope: 'col', class: isNumeric && 'number' }, content);
  }));
  const element = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, headRow), body));
  return {
    element,
    body,
    /** Shows by which column the rows are sorted. @param {number} sorted @param {boolean} isDescending */
    showSort(sorted, isDescending) {
      [...headRow.cells].forEach((cell, column) => {
        if (column === sorted) cell.setAttribute('aria-sort', isDescending ? 'descending' : 'ascending');
        else cell.removeAttribute('aria-sort');
      });
    },
  };
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
export function updateRows(body, items, key, cells) {
  const keys = new Set(items.map(key));
  const headings = body.parentElement?.querySelector('tr')?.cells;
  /** @type {Map<string, HTMLTableRowElement>} */
  const rowsByKey = new Map();
  for (const row of [...body.rows]) {
    if (keys.has(String(row.dataset.key))) rowsByKey.set(String(row.dataset.key), row);
    else row.remove();
  }
  items.forEach((item, index) => {
    const id = key(item);
    const row = rowsByKey.get(id) ?? h('tr', { 'data-key': id });
    cells(item).forEach((cell, column) => {
      const existing = row.cells[column];
      if (!existing) row.append(h('td', { class: headings?.[column]?.className || false }, cell));
      else if (typeof cell === 'string') setText(existing, cell);
    });
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
}
