// Pagination of a list: the page that is shown, and the buttons that turn pages.

import { h, say } from './dom.js';
import { why } from './hub.js';

/**
 * @param {string} label Label of the button for the next page.
 * @param {() => Promise<void>} look Requests the page that begins after `after()`.
 */
export function pages(label, look) {
  /** Item after which the page begins; null for the first page. @type {string | null} */
  let after = null;
  /** @type {string | null} */
  let further = null;
  const turnTo = (/** @type {string | null} */ to) => {
    after = to;
    return look().catch((error) => say(why(error), 'bad'));
  };
  const onward = h('button', { type: 'button', hidden: true, onclick: () => turnTo(further) }, label);
  const back = h('button', { type: 'button', hidden: true, onclick: () => turnTo(null) }, 'First page');
  return {
    buttons: [back, onward],
    after: () => after,
    /** Returns to the first page, because the list has changed. */
    first() {
      after = null;
    },
    /** Updates the buttons once a page has arrived; `next` continues the list. @param {string | null} next */
    came(next) {
      further = next;
      onward.hidden = next === null;
      back.hidden = after === null;
    },
  };
}
