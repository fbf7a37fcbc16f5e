// View of a turn: the question, the answer as it is typed out, and its status.

import { h, notify, replaceChildren, setText } from '../dashboard/dom.js';
import { renderMarkdown } from './markdown.js';

/** Minimum interval between two renderings of the Markdown. */
const DRAW_INTERVAL_MS = 60;
/** Share of the remaining text that a rendering adds: the more has arrived, the faster it is typed. */
const TYPED_SHARE = 0.35;

export class TurnView {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;

  /**
   * @param {string} message
   * @param {{ stop: () => void, retry: () => void }} actions
   */
  constructor(message, { stop, retry }) {
    this.text = '';
    this.typedLength = 0;
    this.hasEnded = false;
    this.lastDrawnAt = 0;
    this.answerElement = h('div', { class: 'said', 'aria-busy': 'true' });
    this.reasoningElement = h('details', { class: 'thought', hidden: true }, h('summary', {}, 'Reasoning'), h('pre'));
    this.statusElement = h('span', { class: 'state', role: 'status' });
    this.stopButton = h('button', { type: 'button', onclick: stop }, 'Stop');
    this.retryButton = h('button', { type: 'button', onclick: retry, hidden: true }, 'Retry');
    this.copyButton = h('button', { type: 'button', onclick: () => copyText(this.text), hidden: true }, 'Copy');
    this.element = h('li', {}, h('p', { class: 'asked' }, message), this.reasoningElement, this.answerElement,
      h('div', { class: 'foot' }, this.statusElement, this.stopButton, this.copyButton, this.retryButton));
  }

  /** @param {import('./answer.js').AnswerState} state @param {boolean} [isImmediate] */
  show({ text, thought, status, kind, end }, isImmediate = false) {
    // Text before a redaction is not typed out again.
    if (!text.startsWith(this.text)) this.typedLength = Math.min(this.typedLength, text.length);
    this.text = text;
    if (isImmediate) this.typedLength = text.length;
    this.hasEnded = end !== null;
    this.reasoningElement.hidden = thought === '';
    setText(/** @type {Element} */ (this.reasoningElement.lastElementChild), thought);
    setText(this.statusElement, status);
    this.statusElement.dataset.kind = kind;
    this.stopButton.hidden = this.hasEnded;
    this.retryButton.hidden = !this.hasEnded;
    this.copyButton.hidden = !this.hasEnded || text === '';
    this.draw();
  }

  draw() {
    const remaining = this.text.length - this.typedLength;
    if (remaining === 0 && this.isDrawn && this.drawnText === this.text) return this.updateBusy();
    const delayMs = this.lastDrawnAt + DRAW_INTERVAL_MS - performance.now();
    if (delayMs > 0 && document.visibilityState === 'visible') {
      this.timer ??= setTimeout(() => { this.timer = undefined; this.draw(); }, delayMs);
      return;
    }
    // A hidden tab shows all text without typing it out.
    const isVisible = document.visibilityState === 'visible';
    this.typedLength += isVisible ? Math.min(remaining, Math.max(4, Math.ceil(remaining * TYPED_SHARE))) : remaining;
    this.lastDrawnAt = performance.now();
    this.drawnText = this.text.slice(0, alignToCodePoint(this.text, this.typedLength));
    const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    replaceChildren(this.answerElement, renderMarkdown(this.drawnText));
    for (const pre of this.answerElement.querySelectorAll('pre')) {
      const code = pre.textContent ?? '';
      pre.append(h('button', { type: 'button', onclick: () => copyText(code) }, 'Copy'));
    }
    this.isDrawn = true;
    if (isAtEnd) scrollTo({ top: document.documentElement.scrollHeight });
    if (this.typedLength < this.text.length) this.draw();
    else this.updateBusy();
  }

  updateBusy() {
    this.answerElement.setAttribute('aria-busy', String(!this.hasEnded));
  }
}

/** Returns `index`, reduced by one if it would split a surrogate pair. @param {string} text @param {number} index */
function alignToCodePoint(text, index) {
  const code = text.charCodeAt(index - 1);
  return code >= 0xd800 && code <= 0xdbff ? index - 1 : index;
}

/** Copies a text to the clipboard. @param {string} text */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    notify('copied', 'good');
  } catch {
    notify('the browser does not allow it', 'bad');
  }
}
