// A list of up to 100,000 events that stays smooth: only the rows that are seen are elements.

import { h } from './dom.js';

const MOST = 100_000;
/** Pixels; every row has one line. */
const ROW = 22;
/** Rows beyond those that are seen, on both sides. */
const BEYOND = 10;

/**
 * Shows what `add` brings, the newest last, and stays at the end while it is there.
 *
 * @template T
 * @param {object} options
 * @param {(item: T) => Element[]} options.row The cells of a row.
 * @param {(item: T) => string} options.look The class of a row.
 * @param {(item: T) => void} options.open One was chosen.
 * @param {string} options.label
 */
export function tail({ row, look, open, label }) {
  /** @type {T[]} */
  let all = [];
  /** @type {(item: T) => boolean} */
  let wanted = () => true;
  /** Those of them that are wanted. @type {T[]} */
  let shown = [];
  let isDue = false;
  let isAtEnd = true;
  /** The chosen one, by its index in `shown`. */
  let chosen = -1;
  let removed = 0;

  const rows = h('div', { class: 'rows' });
  const space = h('div', { class: 'space' }, rows);
  const view = h('div', { class: 'tail', tabindex: 0, role: 'listbox', 'aria-label': label }, space);

  const draw = () => {
    isDue = false;
    if (!view.isConnected) return;
    space.style.height = `${shown.length * ROW}px`;
    if (isAtEnd) view.scrollTop = view.scrollHeight;
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - BEYOND);
    const last = Math.min(shown.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + BEYOND);
    rows.style.transform = `translateY(${first * ROW}px)`;
    rows.replaceChildren(...shown.slice(first, last).map((item, n) => h('div', {
      class: `row ${look(item)}`,
      role: 'option',
      id: `row-${first + n}`,
      'aria-selected': String(first + n === chosen),
      'aria-posinset': first + n + 1,
      'aria-setsize': shown.length,
      onclick: () => choose(first + n),
    }, row(item))));
    if (chosen >= 0) view.setAttribute('aria-activedescendant', `row-${chosen}`);
  };
  const due = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(draw);
  };

  /** @param {number} at */
  const choose = (at) => {
    if (at < 0 || at >= shown.length) return;
    chosen = at;
    open(shown[at]);
    due();
  };
  /** @param {number} at */
  const reveal = (at) => {
    const top = at * ROW;
    isAtEnd = false;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + ROW > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW - view.clientHeight;
  };
  view.addEventListener('scroll', () => {
    isAtEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - ROW;
    due();
  });
  view.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    const page = Math.max(1, Math.floor(view.clientHeight / ROW) - 1);
    const from = chosen < 0 ? shown.length : chosen;
    const to = { ArrowUp: from - 1, ArrowDown: from + 1, PageUp: from - page, PageDown: from + page, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const at = Math.max(0, Math.min(shown.length - 1, to));
    choose(at);
    reveal(at);
    isAtEnd = event.key === 'End';
  });
  new ResizeObserver(due).observe(view);

  return {
    element: view,
    /** @param {T[]} items */
    add(items) {
      for (const item of items) {
        all.push(item);
        if (wanted(item)) shown.push(item);
      }
      // Not one by one, which would move all of them each time.
      if (all.length > MOST * 1.1) {
        const left = all.slice(-MOST);
        removed += all.length - left.length;
        all = left;
        const before = shown.length;
        shown = all.filter(wanted);
        chosen = Math.max(-1, chosen - (before - shown.length));
        if (!isAtEnd) view.scrollTop -= (before - shown.length) * ROW;
      }
      due();
    },
    /** @param {(item: T) => boolean} filter */
    filter(filter) {
      wanted = filter;
      shown = all.filter(wanted);
      chosen = -1;
      isAtEnd = true;
      due();
    },
    clear() {
      [all, shown, chosen, isAtEnd, removed] = [[], [], -1, true, 0];
      due();
    },
    end() {
      isAtEnd = true;
      due();
    },
    /** How many there are, how many of them are shown, and how many there is no room for. */
    count: () => ({ all: all.length, shown: shown.length, removed }),
  };
}
