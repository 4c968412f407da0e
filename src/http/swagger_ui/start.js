"use strict";
// In a separate file, since the page allows no inline scripts. The URL is relative, so the page also
// works behind a proxy that serves the gateway below a path.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // Do not contact the online validator.
  validatorUrl: null,
});
