// Filters the events of a stream by type, level and text.

import { field, h } from './dom.js';
import { LEVELS, containsText, levelOf } from './row.js';

/** Maximum number of types to choose from. */
const MAX_TYPES = 100;
/** Delay after the last key press. */
const DEBOUNCE_MS = 150;

/** @typedef {import('./row.js').Row} Row */

/**
 * Creates the controls of a filter and calls `onChange` with its predicate.
 *
 * @param {URLSearchParams} query Initial values of `type`, `level` and `text`.
 * @param {(matches: (row: Row) => boolean) => void} onChange
 */
export function createFilter(query, onChange) {
  const types = h('select', { name: 'type' }, h('option', { value: '' }, 'every type'));
  const level = h('select', { name: 'level' }, h('option', { value: '' }, 'every level'),
    LEVELS.map((level) => h('option', { value: level }, `${level} and above`)));
  const search = h('input', { name: 'text', type: 'search', placeholder: 'text', autocomplete: 'off', spellcheck: 'false' });
  /** @type {Set<string>} */
  const knownTypes = new Set();
  /** @param {{ type: string }} event */
  const addType = ({ type }) => {
    if (knownTypes.has(type) || knownTypes.size >= MAX_TYPES) return;
    knownTypes.add(type);
    types.append(h('option', { value: type }, type));
  };
  const apply = () => {
    const [type, minLevel, text] = [types.value, LEVELS.indexOf(level.value), search.value.toLowerCase()];
    onChange((row) => row.event === null
      || ((type === '' || row.event.type === type)
        && (minLevel < 0 || LEVELS.indexOf(levelOf(row.event)) >= minLevel)
        && (text === '' || containsText(row, text))));
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let debounceTimer;
  types.addEventListener('input', apply);
  level.addEventListener('input', apply);
  search.addEventListener('input', () => {
    clearTimeout(debounceTimer);
    debounceTimer = setTimeout(() => search.isConnected && apply(), DEBOUNCE_MS);
  });
  const type = query.get('type');
  if (type) addType({ type });
  for (const control of [types, level, search]) control.value = query.get(control.name) ?? '';
  // The query named an unknown level.
  if (level.selectedIndex < 0) level.value = '';
  return {
    fields: [field('Type', types), field('Level', level), field('With', search)],
    addType,
    apply,
    values: () => Object.fromEntries([types, level, search].filter(({ value }) => value !== '').map(({ name, value }) => [name, value])),
  };
}
