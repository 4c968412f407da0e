// Uses /docs in Chromium as a person would: opens an operation, tries it out, reads the answer. Then tries
// what the page's policy forbids, which has to be stopped.
//
//   node browser.mjs BASE_URL CHROMIUM PICTURE

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// From where it is started: modules are installed beside no source.
const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const [base, executablePath, picture] = process.argv.slice(2);
const CALL = "11111111-1111-4111-8111-111111111111";
// Nothing of its own asks the internet for anything.
const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", ...quiet] });
const page = await browser.newPage({ viewport: { width: 1280, height: 1400 } });
const messages = [];
const origins = new Set();
page.on("console", (message) => messages.push(message.text()));
page.on("pageerror", (error) => messages.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith("data:")) origins.add(new URL(request.url()).origin);
});

/** Executes an operation with what the page offers; the status and the answer as they are shown. */
async function execute(id) {
  const operation = page.locator(`#operations-attributes-${id}`);
  await operation.locator(".opblock-summary-control").first().click();
  await operation.locator("button.try-out__btn").click();
  await operation.locator('tr[data-param-name="conversationId"] input').fill(CALL);
  const answered = page.waitForResponse((response) => response.url().includes(CALL));
  await operation.locator("button.execute").click();
  await answered;
  const shown = operation.locator(".live-responses-table").first();
  const status = await shown.locator(".response .response-col_status").first().innerText();
  return [Number.parseInt(status, 10), await shown.locator(".microlight, code").first().innerText()];
}

await page.setExtraHTTPHeaders({ "X-API-Key": "demo-key" });
await page.goto(`${base}/docs`);
await page.locator("#operations-attributes-getAttributes").waitFor();
const [wrote, outcomes] = await execute("putAttributes");
assert.equal(wrote, 200, outcomes);
assert.match(outcomes, /"loyalty_tier": "(verified|unchanged)"/);
const [read, attributes] = await execute("getAttributes");
assert.equal(read, 200, attributes);
assert.match(attributes, /"loyalty_tier": "gold"/);
await page.screenshot({ path: picture, fullPage: true });
assert.deepEqual([messages, [...origins]], [[], [base]], "no message, and nothing from elsewhere");

const elsewhere = "http://127.0.0.1:9/";
const stopped = await page.evaluate(async (elsewhere) => {
  const directives = [];
  document.addEventListener("securitypolicyviolation", (event) => directives.push(event.effectiveDirective));
  const add = (name, members) => document.body.append(Object.assign(document.createElement(name), members));
  add("script", { textContent: "window.ran = true" });
  add("script", { src: elsewhere });
  add("style", { textContent: "body { color: red }" });
  add("img", { src: elsewhere });
  add("iframe", { src: elsewhere });
  await fetch(elsewhere).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 500));
  return { ran: window.ran === true, directives: directives.sort() };
}, elsewhere);
const all = ["connect-src", "frame-src", "img-src", "script-src-elem", "script-src-elem", "style-src-elem"];
assert.deepEqual(stopped, { ran: false, directives: all });
await browser.close();
console.log(`/docs: read and written from the page; no message in the console; six trespasses stopped; ${picture}`);
