// A virtual list of up to 100,000 events: only visible rows have elements. An element belongs to one
// event while it is visible, so that a click opens the event that was under the pointer.

import { h } from './dom.js';

/** Bounds of the events kept. */
export const MOST = 100_000;
const MOST_CHARS = 64_000_000;
/** Height of a row in pixels; every row has one line. */
const ROW = 24;
/** Minimum distance in pixels between a press and its release that is not a click. */
const MOVED = 6;
/** Rows drawn beyond the visible ones, on both sides. */
const BEYOND = 8;

/**
 * Creates a list of the items of `add`, the newest last. It follows the end while it is scrolled there.
 *
 * @template {{ chars: number }} T `chars` is the approximate size of an item.
 * @param {object} options
 * @param {(item: T) => string[]} options.cells The texts of a row.
 * @param {string[]} options.classes Classes of the cells of a row.
 * @param {(item: T) => string} options.look The class of a row.
 * @param {(item: T) => void} options.open Called with the chosen item.
 * @param {() => void} options.moved Called when the view reaches or leaves the end.
 * @param {string} options.label
 * @param {AbortSignal} options.signal
 */
export function tail({ cells, classes, look, open, moved, label, signal }) {
  /** @type {T[]} */
  let all = [];
  /** @type {(item: T) => boolean} */
  let wanted = () => true;
  /** Items that pass the filter; the first one is row number `base`. @type {T[]} */
  let shown = [];
  let base = 0;
  let chars = 0;
  let removed = 0;
  let isDue = false;
  let isAtEnd = true;
  let wasAt = 0;
  /** @type {T | null} */
  let chosen = null;
  /** @type {{ item: T | null, x: number, y: number } | null} */
  let pressed = null;

  /** Elements by row number. @type {Map<number, any>} */
  const rows = new Map();
  const space = h('div', { class: 'space', role: 'presentation' });
  const view = h('div', { class: 'tail', tabindex: 0, role: 'listbox', 'aria-label': label }, space);

  /** @param {T} item */
  const make = (item) => h('div', { class: 'row', role: 'option' }, cells(item).map((text, n) => h('span', { class: classes[n] }, text)));
  const draw = () => {
    isDue = false;
    if (!view.isConnected) return;
    space.style.height = `${shown.length * ROW}px`;
    if (isAtEnd) wasAt = view.scrollTop = view.scrollHeight;
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - BEYOND);
    const last = Math.min(shown.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + BEYOND);
    for (const [row, element] of rows) {
      if (row >= base + first && row < base + last && element.item === shown[row - base]) continue;
      element.remove();
      rows.delete(row);
    }
    let active = '';
    for (let at = first; at < last; at += 1) {
      const row = base + at;
      let element = rows.get(row);
      if (!element) {
        element = make(shown[at]);
        element.item = shown[at];
        element.id = `row-${row}`;
        rows.set(row, element);
        space.append(element);
      }
      const isChosen = element.item === chosen;
      element.className = `row ${look(element.item)}`;
      element.style.transform = `translateY(${at * ROW}px)`;
      element.setAttribute('aria-selected', String(isChosen));
      element.setAttribute('aria-posinset', String(at + 1));
      element.setAttribute('aria-setsize', String(shown.length));
      if (isChosen) active = element.id;
    }
    if (active) view.setAttribute('aria-activedescendant', active);
    else view.removeAttribute('aria-activedescendant');
  };
  const due = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(draw);
  };
  /** @param {boolean} is */
  const follow = (is) => {
    if (is === isAtEnd) return;
    isAtEnd = is;
    moved();
  };
  /** @param {T} item */
  const choose = (item) => {
    chosen = item;
    open(item);
    due();
  };

  view.addEventListener('scroll', () => {
    const isBottom = view.scrollTop + view.clientHeight >= view.scrollHeight - 1;
    // A user who scrolls up wants to stay there.
    if (view.scrollTop < wasAt && !isBottom) follow(false);
    else if (isBottom) follow(true);
    wasAt = view.scrollTop;
    due();
  });
  // An element that is removed between a press and its release gets no click event.
  const under = (/** @type {any} */ event) => event.target.closest('.row')?.item ?? null;
  view.addEventListener('pointerdown', (/** @type {any} */ event) => {
    pressed = event.button === 0 ? { item: under(event), x: event.clientX, y: event.clientY } : null;
  });
  view.addEventListener('pointerup', (/** @type {any} */ event) => {
    const at = pressed;
    pressed = null;
    if (at?.item && Math.hypot(event.clientX - at.x, event.clientY - at.y) < MOVED) choose(at.item);
  });
  view.addEventListener('pointercancel', () => { pressed = null; });
  // A click without a pointer comes from assistive technology.
  view.addEventListener('click', (/** @type {any} */ event) => {
    const item = event.detail === 0 ? under(event) : null;
    if (item) choose(item);
  });
  view.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (shown.length === 0) return;
    const page = Math.max(1, Math.floor(view.clientHeight / ROW) - 1);
    const at = chosen ? shown.lastIndexOf(chosen) : -1;
    const from = at < 0 ? shown.length : at;
    const to = { ArrowUp: from - 1, ArrowDown: from + 1, PageUp: from - page, PageDown: from + page, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(shown.length - 1, to));
    follow(event.key === 'End');
    choose(shown[next]);
    const top = next * ROW;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + ROW > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW - view.clientHeight;
    wasAt = view.scrollTop;
  });
  const resized = new ResizeObserver(due);
  resized.observe(view);
  signal.addEventListener('abort', () => resized.disconnect(), { once: true });

  /** Removes the oldest items beyond the bounds, several at a time. */
  const trim = () => {
    if (all.length <= MOST * 1.1 && chars <= MOST_CHARS * 1.1) return;
    let gone = 0;
    let gonesShown = 0;
    while (all.length - gone > MOST || chars > MOST_CHARS) {
      const item = all[gone];
      chars -= item.chars;
      if (shown[gonesShown] === item) gonesShown += 1;
      gone += 1;
    }
    all = all.slice(gone);
    shown = shown.slice(gonesShown);
    base += gonesShown;
    removed += gone;
    // The visible rows stay where they are.
    if (!isAtEnd) wasAt = view.scrollTop = Math.max(0, view.scrollTop - gonesShown * ROW);
  };

  return {
    element: view,
    /** @param {T[]} items */
    add(items) {
      for (const item of items) {
        all.push(item);
        chars += item.chars;
        if (wanted(item)) shown.push(item);
      }
      trim();
      due();
    },
    /** @param {(item: T) => boolean} filter */
    filter(filter) {
      wanted = filter;
      shown = all.filter(wanted);
      base = 0;
      rows.forEach((element) => element.remove());
      rows.clear();
      follow(true);
      due();
    },
    /** @param {boolean} atEnd True if the view follows the end. */
    clear(atEnd) {
      [all, shown, base, chars, removed, chosen, wasAt] = [[], [], 0, 0, 0, null, 0];
      rows.forEach((element) => element.remove());
      rows.clear();
      view.scrollTop = 0;
      isAtEnd = atEnd;
      due();
    },
    end() {
      follow(true);
      due();
    },
    /** Sets the text that is shown in place of rows. @param {string} text */
    sayEmpty(text) {
      if (text === '') delete view.dataset.empty;
      else if (view.dataset.empty !== text) view.dataset.empty = text;
    },
    focus: () => view.focus(),
    isAtEnd: () => isAtEnd,
    /** Returns true if more items would push out the visible ones. */
    isFull: () => !isAtEnd && (all.length >= MOST || chars >= MOST_CHARS),
    /** Returns the number of items, of those that pass the filter, and of those that were removed. */
    count: () => ({ all: all.length, shown: shown.length, removed }),
  };
}
