// API reference, rendered by Swagger UI from the hub's OpenAPI document.

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);

const dark = matchMedia('(prefers-color-scheme: dark)');
const colour = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', colour);
colour();

SwaggerUIBundle({
  url: new URL('../openapi.json', import.meta.url).href,
  dom_id: '#reference',
  deepLinking: true,
  // No request goes to another host.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
