// Renders the Markdown of a model. The text is untrusted: nothing in it may act or load anything.

import { parse, use } from '../vendor/marked/marked.esm.js';
import DOMPurify from '../vendor/dompurify/purify.es.mjs';

/** Elements that could load or send something, or imitate the page. */
const FORBIDDEN = ['img', 'picture', 'video', 'audio', 'source', 'svg', 'math', 'form', 'input', 'button', 'select',
  'textarea', 'style', 'link', 'dialog', 'iframe', 'object', 'embed'];

const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// HTML in Markdown is shown as text.
use({ renderer: { html: ({ text }) => escaped(text) } });

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

/** @param {string} text */
export function markdown(text) {
  return DOMPurify.sanitize(parse(text, { async: false, gfm: true }), {
    RETURN_DOM_FRAGMENT: true,
    USE_PROFILES: { html: true },
    FORBID_TAGS: FORBIDDEN,
    FORBID_ATTR: ['style', 'class', 'id', 'name'],
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  });
}
