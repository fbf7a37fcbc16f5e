// The reference of the API, drawn of the hub's own description by Swagger UI.

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);

SwaggerUIBundle({
  url: new URL('../openapi.json', import.meta.url).href,
  dom_id: '#reference',
  deepLinking: true,
  // Nothing is asked of anybody else.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
});
