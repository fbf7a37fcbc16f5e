// Members of the data that are shown as columns of a log.

import { h, setText } from './dom.js';
import { menu } from './menu.js';

/** Maximum number of members to choose from, and of chosen ones. */
const MAX_KNOWN = 200;
const MAX_COLUMNS = 12;
/** Number of events whose members are all collected; of later ones, only some are. */
const SAMPLED_EVENTS = 2_000;
const SAMPLE_INTERVAL = 50;
/** Depth of the members that are offered. */
const MAX_DEPTH = 3;

/**
 * Calls `callback` with the path of each member of an object that is not an object.
 *
 * @param {any} value
 * @param {(path: string) => void} callback
 * @param {string} [prefix]
 * @param {number} [depth]
 */
export function forEachMember(value, callback, prefix = '', depth = 1) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return;
  for (const [name, member] of Object.entries(value)) {
    const path = `${prefix}${name}`;
    if (member !== null && typeof member === 'object' && !Array.isArray(member) && depth < MAX_DEPTH) forEachMember(member, callback, `${path}.`, depth + 1);
    else callback(path);
  }
}

/**
 * Creates the menu of columns.
 *
 * @param {string[]} chosen Columns that are shown at first.
 * @param {(columns: string[]) => void} onChange
 * @param {AbortSignal} signal
 */
export function createColumns(chosen, onChange, signal) {
  /** @type {Set<string>} */
  const known = new Set(chosen);
  let columns = chosen.slice(0, MAX_COLUMNS);
  let eventCount = 0;
  const list = h('ul', { class: 'choices' });
  const empty = h('p', { class: 'muted' }, 'The events have no members yet.');
  const input = h('input', { name: 'column', type: 'search', 'aria-label': 'Find or add a member', placeholder: 'customer.country', autocomplete: 'off', spellcheck: 'false' });
  const choices = menu('Columns', [
    h('form', {
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        const name = input.value.trim();
        input.value = '';
        if (name !== '') setColumns([...columns.filter((column) => column !== name), name]);
      },
    }, input),
    empty, list,
  ], signal);
  /** @param {string[]} names */
  const setColumns = (names) => {
    columns = names.slice(0, MAX_COLUMNS);
    names.forEach((name) => known.add(name));
    draw();
    onChange(columns);
  };
  /** @type {Map<string, HTMLElement>} */
  const items = new Map();
  /** Returns the item of a member. @param {string} name */
  const item = (name) => {
    const element = items.get(name) ?? h('li', {}, h('label', {},
      h('input', {
        type: 'checkbox', value: name,
        onchange: (/** @type {any} */ { target }) => setColumns(target.checked ? [...columns, name] : columns.filter((column) => column !== name)),
      }), h('code', {}, name)));
    items.set(name, element);
    /** @type {HTMLInputElement} */ (element.querySelector('input')).checked = columns.includes(name);
    return element;
  };
  const draw = () => {
    choices.setLabel(columns.length > 0 ? `Columns (${columns.length})` : 'Columns');
    if (!choices.element.open) return;
    const search = input.value.trim().toLowerCase();
    const names = [...known].filter((name) => name.toLowerCase().includes(search));
    names.sort((a, b) => Number(columns.includes(b)) - Number(columns.includes(a)) || a.localeCompare(b));
    empty.hidden = names.length > 0;
    setText(empty, search ? 'Press Enter to add it.' : 'The events have no members yet.');
    const focused = /** @type {HTMLElement | null} */ (list.contains(document.activeElement) ? document.activeElement : null);
    const chosenItems = names.map(item);
    [...list.children].forEach((child) => { if (!chosenItems.includes(child)) child.remove(); });
    // Items that stay at their place are not touched, so that a click on them is not lost.
    chosenItems.forEach((child, place) => { if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null); });
    focused?.focus();
  };
  choices.element.addEventListener('toggle', draw);
  input.addEventListener('input', draw);
  draw();
  return {
    element: choices.element,
    /** Collects the members of an event. @param {import('../fanfare.d.ts').FanfareEvent} event */
    addEvent({ data }) {
      eventCount += 1;
      if (known.size >= MAX_KNOWN || (eventCount > SAMPLED_EVENTS && eventCount % SAMPLE_INTERVAL !== 0)) return;
      const before = known.size;
      forEachMember(data, (path) => { if (path !== 'message' && path !== 'level' && known.size < MAX_KNOWN) known.add(path); });
      if (known.size > before) draw();
    },
    /** Removes a column. @param {string} name */
    remove: (name) => setColumns(columns.filter((column) => column !== name)),
    /** Adds a column. @param {string} name */
    add: (name) => setColumns([...columns.filter((column) => column !== name), name]),
    values: () => columns,
  };
}
