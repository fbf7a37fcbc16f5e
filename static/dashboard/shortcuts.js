// Keyboard shortcuts of all pages, and their help.

import { h } from './dom.js';
import { showDialog } from './menu.js';

const SHORTCUTS = [
  ['/', 'Go to the search or the filter of the page'],
  ['p', 'Pause and continue the log'],
  ['↑ ↓', 'Move between rows'],
  ['Home End', 'Go to the first or the last event'],
  ['Esc', 'Close a menu or the chosen event'],
  ['?', 'Show this help'],
];
const EXAMPLES = [
  ['timeout', 'events with this word, in upper or lower case'],
  ['"two words"', 'these words, one after the other'],
  ['/time ?out/i', 'a regular expression; i ignores the case'],
  ['level>=warn', 'warnings, errors and critical errors'],
  ['order=9088', 'a member of the data, or of the fields of a log'],
  ['customer.country!=DE', 'a member of a member'],
  ['ms>500', 'a number; also <, <= and >='],
  ['type=log  stream=shop.*', 'the type or the stream of the event'],
  ['-noise  -order=1', 'events without this'],
];

/** @param {string[][]} rows */
const table = (rows) => h('dl', { class: 'help' }, rows.flatMap(([code, text]) => [h('dt', {}, h('code', {}, code)), h('dd', {}, text)]));

/** Shows the help. */
export function showHelp() {
  if (document.querySelector('dialog[open]')) return;
  showDialog('Help', [h('h3', {}, 'Keyboard'), table(SHORTCUTS), h('h3', {}, 'Filter: all terms must match'), table(EXAMPLES)]);
}

/** Moves the focus to the same link or button of the next row of a table. @param {Element} focused @param {number} step */
function moveInTable(focused, step) {
  const cell = focused.closest('td');
  const row = cell?.closest('tr');
  const next = /** @type {HTMLTableRowElement | undefined} */ (row?.parentElement?.children[[...row.parentElement.children].indexOf(row) + step]);
  const target = cell && next?.cells[cell.cellIndex]?.querySelector('a, button');
  if (!(target instanceof HTMLElement)) return false;
  target.focus();
  return true;
}

/** Handles a key of the page. @param {KeyboardEvent} event */
function handleKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.closest('input, select, textarea, [contenteditable]')) {
    if (event.key === 'Escape' && target.matches('[data-search]')) target.blur();
    return;
  }
  const focus = (/** @type {string} */ selector) => {
    const element = /** @type {HTMLElement | null} */ (document.querySelector(selector));
    element?.focus();
    return element !== null;
  };
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  let isHandled = false;
  if (event.key === '/') isHandled = focus('[data-search]');
  else if (event.key === '?') {
    showHelp();
    isHandled = true;
  } else if (event.key === 'p') {
    const button = document.getElementById('pause');
    button?.click();
    isHandled = button !== null;
  } else if (step !== undefined && target.closest('td')) isHandled = moveInTable(target, step);
  // Nothing is focused yet: the arrows begin in the list of the page.
  else if (step !== undefined && (target === document.body || target.matches('main, h1'))) isHandled = focus('.log:not([hidden]) .tail, main tbody a, main tbody button');
  if (isHandled) event.preventDefault();
}

/** Listens to the keys of the page. */
export const listenToKeys = () => document.addEventListener('keydown', handleKey);
