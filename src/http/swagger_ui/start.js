"use strict";
// A file of its own, since the page allows no inline script. The URL is relative: the page also works
// behind a proxy that puts the gateway below a path.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // No question to a validator on the internet.
  validatorUrl: null,
});
