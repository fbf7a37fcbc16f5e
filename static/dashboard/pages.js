// Pagination of a list: the page that is shown, and the buttons that turn pages.

import { h, notify } from './dom.js';
import { errorMessage } from './hub.js';

/**
 * Creates the buttons of a list with pages, and keeps its position.
 *
 * @param {string} label Label of the button for the next page.
 * @param {() => Promise<void>} refresh Requests the page that begins after `after()`.
 */
export function createPager(label, refresh) {
  /** Item after which the page begins; null for the first page. @type {string | null} */
  let after = null;
  /** @type {string | null} */
  let nextCursor = null;
  const goTo = (/** @type {string | null} */ cursor) => {
    after = cursor;
    return refresh().catch((error) => notify(errorMessage(error), 'bad'));
  };
  const nextButton = h('button', { type: 'button', hidden: true, onclick: () => goTo(nextCursor) }, label);
  const firstButton = h('button', { type: 'button', hidden: true, onclick: () => goTo(null) }, 'First page');
  return {
    buttons: [firstButton, nextButton],
    after: () => after,
    /** Returns to the first page, because the list has changed. */
    first() {
      after = null;
    },
    /** Updates the buttons once a page has arrived; `next` continues the list. @param {string | null} next */
    update(next) {
      nextCursor = next;
      nextButton.hidden = next === null;
      firstButton.hidden = after === null;
    },
  };
}
