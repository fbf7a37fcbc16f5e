// Renders the Markdown of a model. The text is untrusted: it must neither run code nor load anything.

import { parse, use } from '../vendor/marked/marked.esm.js';
import DOMPurify from '../vendor/dompurify/purify.es.mjs';

/** Elements that could load or send something, or imitate the page. */
const FORBIDDEN_TAGS = ['img', 'picture', 'video', 'audio', 'source', 'svg', 'math', 'form', 'input', 'button', 'select',
  'textarea', 'style', 'link', 'dialog', 'iframe', 'object', 'embed'];

const escapeHtml = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// HTML in Markdown is shown as text.
use({ renderer: { html: ({ text }) => escapeHtml(text) } });

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

/** Returns sanitized elements for a Markdown text. @param {string} text */
export function renderMarkdown(text) {
  return DOMPurify.sanitize(parse(text, { async: false, gfm: true }), {
    RETURN_DOM_FRAGMENT: true,
    USE_PROFILES: { html: true },
    FORBID_TAGS: FORBIDDEN_TAGS,
    FORBID_ATTR: ['style', 'class', 'id', 'name'],
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  });
}
