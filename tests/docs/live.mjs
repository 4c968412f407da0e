// Opens /live in Chromium as an operator does: without a credential it is refused; with one, the page shows
// traffic, says so when the gateway is gone, and connects again. Leaves pictures when a folder is given.
//
//   node live.mjs BASE_URL CHROMIUM PID PICTURES

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const [base, executablePath, pid, pictures] = process.argv.slice(2);
const CALL = "11111111-1111-4111-8111-111111111111";
const credentials = { username: "ops", password: "ops-key" };
const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", ...quiet] });

async function open(settings) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 860 }, ...settings });
  const page = await context.newPage();
  page.messages = [];
  page.on("console", (message) => page.messages.push(message.text()));
  page.on("pageerror", (error) => page.messages.push(String(error)));
  return page;
}

const headers = { "X-API-Key": "demo-key", "Content-Type": "application/json" };
async function write(value) {
  const body = JSON.stringify({ attributes: { loyalty_tier: value } });
  await fetch(`${base}/v1/conversations/${CALL}/attributes`, { method: "PUT", headers, body });
}

// The browser is asked for a name and a key, and has none.
const stranger = await open({});
await assert.rejects(stranger.goto(`${base}/live`), /ERR_INVALID_AUTH_CREDENTIALS/);

// What the browser knows for the page it sends with the events too.
const page = await open({ httpCredentials: credentials });
await page.goto(`${base}/live`);
await page.locator("#connection", { hasText: "connected; the gateway is ready" }).waitFor();
for (const value of ["gold", "canary-silver", "platinum"]) await write(value);
await fetch(`${base}/v1/conversations`, { headers });
await fetch(`${base}/v1/conversations/nope`, { headers });
const row = page.locator("#operations tr", { hasText: CALL }).first();
await row.waitFor();
assert.match(await row.innerText(), /PUT\s+demo\s+11111111-.*200/);
await page.locator("#clients", { hasText: /demo: \d+/ }).waitFor();
assert.match(await page.locator("#budget-text").innerText(), /\d+ calls free for writes; limit 300 in 60 s/);
assert.match(await page.locator("#token").innerText(), /^valid, fetched/);
await page.locator("#lag", { hasText: "visible after" }).waitFor();
const shown = await page.content();
assert.ok(!shown.includes("canary") && !shown.includes("loyalty_tier"), "neither values nor keys");
assert.deepEqual(page.messages, [], "nothing is stopped by the policy");
if (pictures) await page.screenshot({ path: `${pictures}/live.png` });

const phone = await open({ httpCredentials: credentials, colorScheme: "dark", viewport: { width: 390, height: 844 } });
await phone.goto(`${base}/live`);
await phone.locator("#operations tr", { hasText: CALL }).first().waitFor();
const wide = await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
assert.ok(wide <= 0, `the page is ${wide} pixels wider than a phone`);
const paper = await phone.evaluate(() => getComputedStyle(document.body).backgroundColor);
assert.equal(paper, "rgb(20, 24, 30)", "dark on a dark system");
if (pictures) {
  await phone.screenshot({ path: `${pictures}/live-phone.png` });
  const docs = await open({ httpCredentials: credentials, viewport: { width: 1180, height: 860 } });
  await docs.goto(`${base}/docs`);
  await docs.locator("#operations-attributes-getAttributes").waitFor();
  await docs.screenshot({ path: `${pictures}/docs.png` });
}

// A gateway that hangs, and one that is gone.
process.kill(Number(pid), "SIGSTOP");
await page.locator("#connection", { hasText: "disconnected, retrying; the last event came at" }).waitFor({ timeout: 10_000 });
process.kill(Number(pid), "SIGCONT");
await page.locator("#connection", { hasText: "connected; the gateway is ready" }).waitFor({ timeout: 15_000 });
process.kill(Number(pid), "SIGTERM");
await page.locator("#connection", { hasText: "disconnected, retrying" }).waitFor({ timeout: 15_000 });
await browser.close();
console.log("/live: asks for a key, shows traffic without keys and values, fits a phone, says when it is disconnected");
