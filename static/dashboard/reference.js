// API reference, rendered by Swagger UI from the hub's OpenAPI document.

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);

const dark = matchMedia('(prefers-color-scheme: dark)');
const colour = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', colour);
colour();

/** @typedef {{ status: string, code: string, cause: string }} ErrorCase */

/**
 * Returns the errors of a response: one for each code, which is the name of an example.
 *
 * @param {string} status
 * @param {any} response
 * @returns {ErrorCase[]}
 */
const errorsOf = (status, response) => {
  const examples = Number(status) >= 400 && response.get('content')?.first()?.get('examples');
  if (!examples) return [];
  /** @type {[string, any][]} */
  const entries = examples.entrySeq().toArray();
  return entries.map(([code, example]) => ({ status, code, cause: example.get('summary') }));
};

/**
 * A plugin that shows the errors of an operation in one table, below the other responses.
 *
 * @param {any} system
 */
const errorTable = ({ React: { createElement: h } }) => {
  /** @param {any} props */
  const Errors = ({ errors, Markdown }) => {
    const names = ['Status', 'Code', 'Cause'].map((name) => h('th', { key: name, scope: 'col' }, name));
    const rows = errors.map((/** @type {ErrorCase} */ { status, code, cause }) =>
      h('tr', { key: `${status} ${code}` }, h('td', null, status), h('td', null, h('code', null, code)), h('td', null, h(Markdown, { source: cause }))));
    const table = h('table', { className: 'error-table' }, h('thead', null, h('tr', null, names)), h('tbody', null, rows));
    return h('div', { className: 'responses-inner' }, h('h4', null, 'Errors'), table);
  };
  const wrap = (/** @type {any} */ Responses) => (/** @type {any} */ props) => {
    /** @type {[string, any][]} */
    const entries = props.responses.entrySeq().toArray();
    const errors = entries.flatMap(([status, response]) => errorsOf(status, response));
    const others = props.responses.filter((/** @type {any} */ response, /** @type {string} */ status) => !errorsOf(status, response).length);
    const Markdown = props.getComponent('Markdown', true);
    return h('div', null, h(Responses, { ...props, responses: others }), errors.length > 0 && h(Errors, { errors, Markdown }));
  };
  /** A link within the button of an operation could not be used by the keyboard. @param {any} props */
  const DeepLink = ({ text }) => h('span', { className: 'nostyle' }, h('span', null, text));
  return { wrapComponents: { responses: wrap, DeepLink: () => DeepLink } };
};

const reference = /** @type {HTMLElement} */ (document.getElementById('reference'));
/** Roles, names and levels that elements of Swagger UI lack: a selector, an attribute and its value. */
const MISSING_ATTRIBUTES = [
  ['h3.opblock-tag', 'aria-level', '2'],
  ['h4', 'aria-level', '3'],
  ['h5', 'aria-level', '4'],
  ['.examples-select-element', 'aria-label', 'Example'],
  ['.information-container', 'role', 'region'],
  ['.information-container', 'aria-label', 'About the API'],
  ['.microlight', 'tabindex', '0'],
];
new MutationObserver(() => {
  for (const [selector, name, value] of MISSING_ATTRIBUTES) {
    reference.querySelectorAll(`${selector}:not([${name}])`).forEach((element) => element.setAttribute(name, value));
  }
  reference.querySelectorAll('.responses-table[role="region"]:not([aria-label])').forEach((table) => table.setAttribute('aria-label', `Responses: ${table.id}`));
}).observe(reference, { childList: true, subtree: true });

SwaggerUIBundle({
  url: new URL('../openapi.json', import.meta.url).href,
  dom_id: '#reference',
  deepLinking: true,
  // No request goes to another host.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { activated: true, theme: 'obsidian' },
  plugins: [errorTable],
});
