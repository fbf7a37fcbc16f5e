// A virtual list of up to 100,000 events: only visible rows have elements. An element belongs to one
// event while it is visible, so that a click opens the event that was under the pointer.

import { h } from './dom.js';

/** Maximum number of items, and of characters in them. */
export const MAX_ITEMS = 100_000;
const MAX_CHARS = 64_000_000;
/** Height of a row in pixels: of one line, and of two on a narrow screen. As in style.css. */
const ROW_HEIGHT_PX = 24;
const NARROW_ROW_HEIGHT_PX = 46;
export const NARROW_SCREEN = '(max-width: 46rem)';
/** Minimum distance in pixels between a press and its release that is not a click. */
const CLICK_TOLERANCE_PX = 6;
/** Number of rows drawn beyond the visible ones, on both sides. */
const OVERSCAN_ROWS = 8;

/**
 * Creates a list of the items of `add`, the newest last. It follows the end while it is scrolled there.
 *
 * @template {{ chars: number }} T `chars` is the approximate size of an item.
 * @param {object} options
 * @param {(item: T) => Element[]} options.cells Returns the cells of a row.
 * @param {(item: T) => string} options.rowClass Returns the class of a row.
 * @param {(item: T) => void} options.onOpen Called with the chosen item.
 * @param {() => void} options.onEndChange Called when the view reaches or leaves the end.
 * @param {string} options.label
 * @param {AbortSignal} options.signal
 */
export function createTail({ cells, rowClass, onOpen, onEndChange, label, signal }) {
  const narrow = matchMedia(NARROW_SCREEN);
  let rowHeight = narrow.matches ? NARROW_ROW_HEIGHT_PX : ROW_HEIGHT_PX;
  /** @type {T[]} */
  let allItems = [];
  /** @type {(item: T) => boolean} */
  let matches = () => true;
  /** Items that pass the filter; the first one is row number `firstRowNumber`. @type {T[]} */
  let filteredItems = [];
  let firstRowNumber = 0;
  let chars = 0;
  let removed = 0;
  let isDrawScheduled = false;
  let isAtEnd = true;
  let lastScrollTop = 0;
  /** @type {T | null} */
  let selectedItem = null;
  /** @type {{ item: T | null, x: number, y: number } | null} */
  let pressed = null;

  /** Elements by row number. @type {Map<number, any>} */
  const rows = new Map();
  const spacer = h('div', { class: 'space', role: 'presentation' });
  const view = h('div', { class: 'tail', tabindex: 0, role: 'listbox', 'aria-label': label }, spacer);

  /** @param {T} item */
  const createRow = (item) => h('div', { class: 'row', role: 'option' }, cells(item));
  const draw = () => {
    isDrawScheduled = false;
    // A hidden list is drawn when it is shown again.
    if (!view.isConnected || view.clientHeight === 0) return;
    spacer.style.height = `${filteredItems.length * rowHeight}px`;
    if (isAtEnd) lastScrollTop = view.scrollTop = view.scrollHeight;
    const start = Math.max(0, Math.floor(view.scrollTop / rowHeight) - OVERSCAN_ROWS);
    const end = Math.min(filteredItems.length, Math.ceil((view.scrollTop + view.clientHeight) / rowHeight) + OVERSCAN_ROWS);
    for (const [row, element] of rows) {
      if (row >= firstRowNumber + start && row < firstRowNumber + end && element.item === filteredItems[row - firstRowNumber]) continue;
      element.remove();
      rows.delete(row);
    }
    let active = '';
    for (let index = start; index < end; index += 1) {
      const row = firstRowNumber + index;
      let element = rows.get(row);
      if (!element) {
        element = createRow(filteredItems[index]);
        element.item = filteredItems[index];
        element.id = `row-${row}`;
        rows.set(row, element);
        spacer.append(element);
      }
      const isSelected = element.item === selectedItem;
      element.className = `row ${rowClass(element.item)}`;
      element.style.transform = `translateY(${index * rowHeight}px)`;
      element.setAttribute('aria-selected', String(isSelected));
      element.setAttribute('aria-posinset', String(index + 1));
      element.setAttribute('aria-setsize', String(filteredItems.length));
      if (isSelected) active = element.id;
    }
    if (active) view.setAttribute('aria-activedescendant', active);
    else view.removeAttribute('aria-activedescendant');
  };
  const scheduleDraw = () => {
    if (isDrawScheduled) return;
    isDrawScheduled = true;
    requestAnimationFrame(draw);
  };
  /** @param {boolean} value */
  const setAtEnd = (value) => {
    if (value === isAtEnd) return;
    isAtEnd = value;
    onEndChange();
  };
  /** @param {T} item */
  const select = (item) => {
    selectedItem = item;
    onOpen(item);
    scheduleDraw();
  };

  view.addEventListener('scroll', () => {
    const isBottom = view.scrollTop + view.clientHeight >= view.scrollHeight - 1;
    // A user who scrolls up wants to stay there.
    if (view.scrollTop < lastScrollTop && !isBottom) setAtEnd(false);
    else if (isBottom) setAtEnd(true);
    lastScrollTop = view.scrollTop;
    scheduleDraw();
  });
  // An element that is removed between a press and its release gets no click event.
  const itemAt = (/** @type {any} */ event) => event.target.closest('.row')?.item ?? null;
  view.addEventListener('pointerdown', (/** @type {any} */ event) => {
    pressed = event.button === 0 ? { item: itemAt(event), x: event.clientX, y: event.clientY } : null;
  });
  view.addEventListener('pointerup', (/** @type {any} */ event) => {
    const press = pressed;
    pressed = null;
    if (press?.item && Math.hypot(event.clientX - press.x, event.clientY - press.y) < CLICK_TOLERANCE_PX) select(press.item);
  });
  view.addEventListener('pointercancel', () => { pressed = null; });
  // A click without a pointer comes from assistive technology.
  view.addEventListener('click', (/** @type {any} */ event) => {
    const item = event.detail === 0 ? itemAt(event) : null;
    if (item) select(item);
  });
  view.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (filteredItems.length === 0) return;
    const page = Math.max(1, Math.floor(view.clientHeight / rowHeight) - 1);
    const selectedIndex = selectedItem ? filteredItems.lastIndexOf(selectedItem) : -1;
    const from = selectedIndex < 0 ? filteredItems.length : selectedIndex;
    const to = { ArrowUp: from - 1, ArrowDown: from + 1, PageUp: from - page, PageDown: from + page, Home: 0, End: filteredItems.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(filteredItems.length - 1, to));
    setAtEnd(event.key === 'End');
    select(filteredItems[next]);
    const top = next * rowHeight;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + rowHeight > view.scrollTop + view.clientHeight) view.scrollTop = top + rowHeight - view.clientHeight;
    lastScrollTop = view.scrollTop;
  });
  const resizeObserver = new ResizeObserver(scheduleDraw);
  resizeObserver.observe(view);
  signal.addEventListener('abort', () => resizeObserver.disconnect(), { once: true });
  const redraw = () => {
    rows.forEach((element) => element.remove());
    rows.clear();
    scheduleDraw();
  };
  narrow.addEventListener('change', () => {
    const topIndex = view.scrollTop / rowHeight;
    rowHeight = narrow.matches ? NARROW_ROW_HEIGHT_PX : ROW_HEIGHT_PX;
    spacer.style.height = `${filteredItems.length * rowHeight}px`;
    lastScrollTop = view.scrollTop = topIndex * rowHeight;
    redraw();
  }, { signal });

  /** Removes the oldest items beyond the bounds, several at a time. */
  const trim = () => {
    if (allItems.length <= MAX_ITEMS * 1.1 && chars <= MAX_CHARS * 1.1) return;
    let removedCount = 0;
    let removedFiltered = 0;
    while (allItems.length - removedCount > MAX_ITEMS || chars > MAX_CHARS) {
      const item = allItems[removedCount];
      chars -= item.chars;
      if (filteredItems[removedFiltered] === item) removedFiltered += 1;
      removedCount += 1;
    }
    allItems = allItems.slice(removedCount);
    filteredItems = filteredItems.slice(removedFiltered);
    firstRowNumber += removedFiltered;
    removed += removedCount;
    // The visible rows stay where they are.
    if (!isAtEnd) lastScrollTop = view.scrollTop = Math.max(0, view.scrollTop - removedFiltered * rowHeight);
  };

  return {
    element: view,
    /** @param {T[]} items */
    add(items) {
      for (const item of items) {
        allItems.push(item);
        chars += item.chars;
        if (matches(item)) filteredItems.push(item);
      }
      trim();
      scheduleDraw();
    },
    /** @param {(item: T) => boolean} filter */
    filter(filter) {
      matches = filter;
      filteredItems = allItems.filter(matches);
      firstRowNumber = 0;
      setAtEnd(true);
      redraw();
    },
    /** @param {boolean} atEnd True if the view follows the end. */
    clear(atEnd) {
      [allItems, filteredItems, firstRowNumber, chars, removed, selectedItem, lastScrollTop] = [[], [], 0, 0, 0, null, 0];
      view.scrollTop = 0;
      isAtEnd = atEnd;
      redraw();
    },
    /** Draws all rows again, because their cells have changed. */
    redraw,
    /** Shows the first item for which a predicate is true at the top, or in the middle of the list.
     * @param {(item: T) => boolean} predicate @param {boolean} [inMiddle] */
    scrollTo(predicate, inMiddle = false) {
      const index = filteredItems.findIndex(predicate);
      if (index < 0) return;
      setAtEnd(false);
      spacer.style.height = `${filteredItems.length * rowHeight}px`;
      view.scrollTop = index * rowHeight - (inMiddle ? (view.clientHeight - rowHeight) / 2 : 0);
      lastScrollTop = view.scrollTop;
      if (inMiddle) selectedItem = filteredItems[index];
      redraw();
    },
    /** Returns the items that pass the filter. */
    items: () => filteredItems,
    end() {
      setAtEnd(true);
      scheduleDraw();
    },
    /** Sets the text that is shown in place of rows. @param {string} text */
    setEmptyText(text) {
      if (text === '') delete view.dataset.empty;
      else if (view.dataset.empty !== text) view.dataset.empty = text;
    },
    focus: () => view.focus(),
    isAtEnd: () => isAtEnd,
    /** Returns true if more items would push out the visible ones. */
    isFull: () => !isAtEnd && (allItems.length >= MAX_ITEMS || chars >= MAX_CHARS),
    /** Returns the number of items, of those that pass the filter, and of those that were removed. */
    count: () => ({ total: allItems.length, matching: filteredItems.length, removed }),
  };
}
