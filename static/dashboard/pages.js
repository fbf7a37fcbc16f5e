// A list that the hub answers in parts: which of them is looked at, and the buttons that turn them.

import { h, say } from './dom.js';
import { why } from './hub.js';

/**
 * @param {string} label Of the next part.
 * @param {() => Promise<void>} look Asks for the part that `after` says.
 */
export function pages(label, look) {
  /** Behind which one the part begins; null for the first. @type {string | null} */
  let after = null;
  /** @type {string | null} */
  let further = null;
  const turnTo = (/** @type {string | null} */ to) => {
    after = to;
    return look().catch((error) => say(why(error), 'bad'));
  };
  const onward = h('button', { type: 'button', hidden: true, onclick: () => turnTo(further) }, label);
  const back = h('button', { type: 'button', hidden: true, onclick: () => turnTo(null) }, 'The first');
  return {
    buttons: [back, onward],
    after: () => after,
    /** The list is another one. */
    first() {
      after = null;
    },
    /** What is looked at has come, and `next` is behind it. @param {string | null} next */
    came(next) {
      further = next;
      onward.hidden = next === null;
      back.hidden = after === null;
    },
  };
}
