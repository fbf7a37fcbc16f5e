// Saved views: names for addresses of the page, which have the streams, the filter and the columns.

import { h, replaceChildren } from './dom.js';
import { menu } from './menu.js';

const STORAGE_KEY = 'fanfare-views';
const MAX_VIEWS = 100;

/** @typedef {{ name: string, address: string }} View */

/** Returns the saved views of this browser. @returns {View[]} */
export function loadViews() {
  try {
    const views = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '[]');
    return views.filter((/** @type {any} */ view) => typeof view?.name === 'string' && String(view.address).startsWith('#/'));
  } catch {
    return [];
  }
}

/** @param {View[]} views */
function storeViews(views) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(views.slice(-MAX_VIEWS)));
  } catch {
    // The browser stores nothing for this page.
  }
}

/**
 * Returns the list of saved views, with a button to delete each.
 *
 * @param {() => void} onDelete
 */
export const viewList = (onDelete) => loadViews().map(({ name, address }) => h('li', { class: 'bar' },
  h('a', { href: address }, name),
  h('button', {
    type: 'button', class: 'small', 'aria-label': `Delete the view ${name}`,
    onclick: () => {
      storeViews(loadViews().filter((view) => view.name !== name));
      onDelete();
    },
  }, 'Delete')));

/** Creates the menu of saved views. @param {AbortSignal} signal */
export function createViews(signal) {
  const list = h('ul', { class: 'choices' });
  const input = h('input', { name: 'view', required: true, 'aria-label': 'Name of the view', placeholder: 'Name of the view', maxlength: 60, autocomplete: 'off' });
  const draw = () => {
    const views = viewList(draw);
    replaceChildren(list, views.length > 0 ? views : h('li', { class: 'muted' }, 'No saved views.'));
  };
  const save = (/** @type {Event} */ event) => {
    event.preventDefault();
    storeViews([...loadViews().filter(({ name }) => name !== input.value), { name: input.value, address: location.hash }]);
    input.value = '';
    draw();
  };
  const views = menu('Views', [
    h('p', { class: 'muted' }, 'Streams, filter and columns, saved in this browser. The address of the page has them as well.'),
    h('form', { class: 'bar', onsubmit: save }, input, h('button', {}, 'Save')), list,
  ], signal);
  views.element.addEventListener('toggle', draw);
  return views.element;
}
