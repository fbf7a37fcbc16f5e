// A turn on the page: the question, the answer as it is typed out, and its status.

import { h, replace, say, write } from '../dashboard/dom.js';
import { markdown } from './markdown.js';

/** Minimum interval between two drawings of the Markdown. */
const DRAWN_EVERY_MS = 60;
/** Share of the text not yet shown that a drawing adds: the more has arrived, the faster it types. */
const TYPED_SHARE = 0.35;

export class TurnView {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;

  /**
   * @param {string} message
   * @param {{ stop: () => void, retry: () => void }} acts
   */
  constructor(message, { stop, retry }) {
    this.text = '';
    this.typed = 0;
    this.isOver = false;
    this.drawnAt = 0;
    this.said = h('div', { class: 'said', 'aria-busy': 'true' });
    this.thought = h('details', { class: 'thought', hidden: true }, h('summary', {}, 'Reasoning'), h('pre'));
    this.state = h('span', { class: 'state', role: 'status' });
    this.stop = h('button', { type: 'button', onclick: stop }, 'Stop');
    this.retry = h('button', { type: 'button', onclick: retry, hidden: true }, 'Retry');
    this.copy = h('button', { type: 'button', onclick: () => copied(this.text), hidden: true }, 'Copy');
    this.element = h('li', {}, h('p', { class: 'asked' }, message), this.thought, this.said,
      h('div', { class: 'foot' }, this.state, this.stop, this.copy, this.retry));
  }

  /** @param {import('./answer.js').Shown} shown @param {boolean} [isAtOnce] */
  show({ text, thought, state, kind, end }, isAtOnce = false) {
    // Text before a redaction is not typed out again.
    if (!text.startsWith(this.text)) this.typed = Math.min(this.typed, text.length);
    this.text = text;
    if (isAtOnce) this.typed = text.length;
    this.isOver = end !== null;
    this.thought.hidden = thought === '';
    write(/** @type {Element} */ (this.thought.lastElementChild), thought);
    write(this.state, state);
    this.state.dataset.kind = kind;
    this.stop.hidden = this.isOver;
    this.retry.hidden = !this.isOver;
    this.copy.hidden = !this.isOver || text === '';
    this.draw();
  }

  draw() {
    const left = this.text.length - this.typed;
    if (left === 0 && this.isDrawn && this.drawnText === this.text) return this.settle();
    const wait = this.drawnAt + DRAWN_EVERY_MS - performance.now();
    if (wait > 0 && document.visibilityState === 'visible') {
      this.timer ??= setTimeout(() => { this.timer = undefined; this.draw(); }, wait);
      return;
    }
    // A hidden tab shows all text without typing it out.
    const isSeen = document.visibilityState === 'visible';
    this.typed += isSeen ? Math.min(left, Math.max(4, Math.ceil(left * TYPED_SHARE))) : left;
    this.drawnAt = performance.now();
    this.drawnText = this.text.slice(0, whole(this.text, this.typed));
    const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    replace(this.said, markdown(this.drawnText));
    for (const pre of this.said.querySelectorAll('pre')) {
      const code = pre.textContent ?? '';
      pre.append(h('button', { type: 'button', onclick: () => copied(code) }, 'Copy'));
    }
    this.isDrawn = true;
    if (isAtEnd) scrollTo({ top: document.documentElement.scrollHeight });
    if (this.typed < this.text.length) this.draw();
    else this.settle();
  }

  settle() {
    this.said.setAttribute('aria-busy', String(!this.isOver));
  }
}

/** Returns `at`, moved so that it splits no surrogate pair. @param {string} text @param {number} at */
function whole(text, at) {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code <= 0xdbff ? at - 1 : at;
}

/** @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    say('copied', 'good');
  } catch {
    say('the browser does not allow it', 'bad');
  }
}
