// The reference of the API, drawn of the hub's own description by Swagger UI.

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);

const dark = matchMedia('(prefers-color-scheme: dark)');
const colour = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', colour);
colour();

SwaggerUIBundle({
  url: new URL('../openapi.json', import.meta.url).href,
  dom_id: '#reference',
  deepLinking: true,
  // Nothing is asked of anybody else.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
