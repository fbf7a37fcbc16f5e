// The filter of a log: a box for its text, and lists of levels and types that change the text.

import { h, setText } from './dom.js';
import { LEVELS, parseFilter, quote, replaceField, valueOfField } from './filter.js';

/** Maximum number of types to choose from. */
const MAX_TYPES = 100;
/** Delay after the last key press. */
const DEBOUNCE_MS = 150;

/** @typedef {import('./filter.js').Term} Term */

/** Returns the filter of an address; earlier versions had `level`, `type` and `text`. @param {URLSearchParams} query */
export function filterOfQuery(query) {
  const [level, type, text] = ['level', 'type', 'text'].map((name) => query.get(name));
  const terms = [level && LEVELS.includes(level) ? `level>=${level}` : '', type ? `type=${quote(type)}` : '', text ? quote(text) : ''];
  return query.get('filter') ?? terms.filter(Boolean).join(' ');
}

/**
 * Creates the filter, and calls `onChange` with the terms of each valid text.
 *
 * @param {string} text Initial text.
 * @param {(terms: Term[], text: string) => void} onChange
 */
export function createFilterBox(text, onChange) {
  const input = h('input', {
    name: 'filter', type: 'search', 'data-search': true, value: text, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off',
    placeholder: 'Filter: level>=warn order=9088 /timeout/ "two words" -noise', 'aria-label': 'Filter', 'aria-describedby': 'filter-error',
  });
  const errorElement = h('p', { id: 'filter-error', class: 'bad', role: 'status' });
  const types = h('select', { name: 'type', 'aria-label': 'Type' }, h('option', { value: '' }, 'Every type'));
  const levels = h('select', { name: 'level', 'aria-label': 'Level' }, h('option', { value: '' }, 'Every level'),
    LEVELS.map((level) => h('option', { value: level }, `${level} and above`)));
  /** @type {Set<string>} */
  const knownTypes = new Set();
  /** @param {{ type: string }} event */
  const addType = ({ type }) => {
    if (knownTypes.has(type) || knownTypes.size >= MAX_TYPES) return;
    knownTypes.add(type);
    types.append(h('option', { value: type }, type));
  };
  /** Terms of the last valid text. @type {Term[]} */
  let terms = [];
  let appliedText = text;
  const apply = () => {
    const parsed = parseFilter(input.value);
    setText(errorElement, parsed.error);
    input.setAttribute('aria-invalid', String(parsed.error !== ''));
    // The events that are shown stay while a term is not complete.
    if (parsed.error !== '') return;
    [terms, appliedText] = [parsed.terms, input.value.trim()];
    levels.value = valueOfField(terms, 'level', '>=');
    const type = valueOfField(terms, 'type', '=');
    if (type !== '') addType({ type });
    types.value = type;
    // The filter is more than these lists can show.
    for (const list of [levels, types]) if (list.selectedIndex < 0) list.value = '';
    onChange(terms, appliedText);
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  input.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => input.isConnected && apply(), DEBOUNCE_MS);
  });
  /** Sets the text of the filter. @param {string} value */
  const set = (value) => {
    clearTimeout(timer);
    input.value = value;
    apply();
  };
  levels.addEventListener('input', () => set(replaceField(input.value, 'level', levels.value && `level>=${levels.value}`)));
  types.addEventListener('input', () => set(replaceField(input.value, 'type', types.value && `type=${quote(types.value)}`)));
  return {
    input, errorElement, lists: [levels, types], addType, apply, set,
    terms: () => terms,
    text: () => appliedText,
    /** Returns the error of a text that is not complete, or an empty string. */
    error: () => errorElement.textContent,
  };
}
