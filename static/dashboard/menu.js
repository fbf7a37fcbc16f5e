// Menus and dialogs.

import { h, replaceChildren } from './dom.js';

/**
 * Returns a button that opens a panel below it. It closes when something else is chosen.
 *
 * @param {string} label
 * @param {any[]} content
 * @param {AbortSignal} signal
 */
export function menu(label, content, signal) {
  const panel = h('div', { class: 'menu-panel' }, content);
  const summary = h('summary', {}, label);
  const element = h('details', { class: 'menu' }, summary, panel);
  document.addEventListener('pointerdown', ({ target }) => {
    if (element.open && !element.contains(/** @type {Node} */ (target))) element.open = false;
  }, { signal });
  element.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Escape' || !element.open) return;
    event.stopPropagation();
    element.open = false;
    summary.focus();
  });
  element.addEventListener('focusout', (/** @type {FocusEvent} */ { relatedTarget }) => {
    if (relatedTarget && !element.contains(/** @type {Node} */ (relatedTarget))) element.open = false;
  });
  return { element, panel, close: () => { element.open = false; }, setLabel: (/** @type {string} */ text) => { summary.textContent = text; } };
}

/**
 * Shows a dialog, and returns true if it was confirmed. It is removed when it closes.
 *
 * @param {string} title
 * @param {any[]} content
 * @param {string} [action] Label of the button that confirms; without one, the dialog can only be closed.
 * @returns {Promise<boolean>}
 */
export function showDialog(title, content, action) {
  const cancel = h('button', { type: 'button', onclick: () => dialog.close('') }, action ? 'Cancel' : 'Close');
  const dialog = h('dialog', { class: 'card', 'aria-label': title });
  replaceChildren(dialog, h('h2', {}, title), content,
    h('p', { class: 'bar' }, action ? h('button', { type: 'button', class: 'danger', onclick: () => dialog.close('confirmed') }, action) : null, cancel));
  // A click on the backdrop has the dialog itself as its target.
  dialog.addEventListener('click', (/** @type {any} */ { target }) => { if (target === dialog) dialog.close(''); });
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus({ preventScroll: true });
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'confirmed');
    }, { once: true });
  });
}
