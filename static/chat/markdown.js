// What a model says is somebody else's text: Markdown of it is shown, and nothing that acts or loads.

import { parse, use } from '../vendor/marked/marked.esm.js';
import DOMPurify from '../vendor/dompurify/purify.es.mjs';

/** What would load something, look like the page's own, or send something. */
const FORBIDDEN = ['img', 'picture', 'video', 'audio', 'source', 'svg', 'math', 'form', 'input', 'button', 'select',
  'textarea', 'style', 'link', 'dialog', 'iframe', 'object', 'embed'];

const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// Its HTML is text like any other.
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
