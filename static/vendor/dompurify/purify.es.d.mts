// What the pages use of it.
declare const DOMPurify: {
  sanitize(html: string, options: {
    RETURN_DOM_FRAGMENT: true;
    FORBID_TAGS?: string[];
    FORBID_ATTR?: string[];
    ALLOWED_URI_REGEXP?: RegExp;
    USE_PROFILES?: { html: boolean };
  }): DocumentFragment;
  addHook(at: 'afterSanitizeAttributes', hook: (node: Element) => void): void;
};
export default DOMPurify;
