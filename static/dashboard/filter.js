// Filters the events of a stream by type, level and text.

import { field, h } from './dom.js';
import { LEVELS, has, levelOf } from './row.js';

/** Maximum number of types to choose from. */
const MOST_TYPES = 100;
/** Delay after the last key press. */
const TYPING_MS = 150;

/** @typedef {import('./row.js').Row} Row */

/**
 * @param {URLSearchParams} query Initial values of `type`, `level` and `text`.
 * @param {(isWanted: (row: Row) => boolean) => void} changed
 */
export function filter(query, changed) {
  const types = h('select', { name: 'type' }, h('option', { value: '' }, 'every type'));
  const level = h('select', { name: 'level' }, h('option', { value: '' }, 'every level'),
    LEVELS.map((level) => h('option', { value: level }, `${level} and above`)));
  const search = h('input', { name: 'text', type: 'search', placeholder: 'text', autocomplete: 'off', spellcheck: 'false' });
  /** @type {Set<string>} */
  const known = new Set();
  /** @param {{ type: string }} event */
  const know = ({ type }) => {
    if (known.has(type) || known.size >= MOST_TYPES) return;
    known.add(type);
    types.append(h('option', { value: type }, type));
  };
  const apply = () => {
    const [type, least, text] = [types.value, LEVELS.indexOf(level.value), search.value.toLowerCase()];
    changed((row) => row.event === null
      || ((type === '' || row.event.type === type)
        && (least < 0 || LEVELS.indexOf(levelOf(row.event)) >= least)
        && (text === '' || has(row, text))));
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  types.addEventListener('input', apply);
  level.addEventListener('input', apply);
  search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => search.isConnected && apply(), TYPING_MS);
  });
  const type = query.get('type');
  if (type) know({ type });
  for (const control of [types, level, search]) control.value = query.get(control.name) ?? '';
  // The query named an unknown level.
  if (level.selectedIndex < 0) level.value = '';
  return {
    fields: [field('Type', types), field('Level', level), field('With', search)],
    know,
    apply,
    said: () => Object.fromEntries([types, level, search].filter(({ value }) => value !== '').map(({ name, value }) => [name, value])),
  };
}
