// Makes traffic, asks Prometheus for each query of the dashboard, and draws the panels as Grafana arranges them.
//
//   node dashboard.mjs GATEWAY_PORT SIMULATOR_PORT PROMETHEUS_PORT CHROMIUM DASHBOARD PICTURE

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.cwd()}/`)("playwright-core");
const [gateway, simulator, prometheus] = process.argv.slice(2, 5).map((port) => `http://127.0.0.1:${port}`);
const [executablePath, dashboard, picture] = process.argv.slice(5);
const CALL = "11111111-1111-4111-8111-111111111111";
const SECONDS = 75;
const COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0"];
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

function send(url, method, headers, body) {
  return fetch(url, { method, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });
}

// Reads, writes, refusals, writes that are accepted for later, and now and then a call that fails upstream.
async function traffic() {
  const started = Date.now();
  const faults = [{ action: "throttle", retry_after: 1 }, { action: "status", code: 503 }];
  for (let number = 0; Date.now() - started < SECONDS * 1000; number += 1) {
    const url = `${gateway}/v1/conversations/${CALL}/attributes`;
    const headers = { "X-API-Key": number % 3 === 0 ? "ivr-key" : "crm-key" };
    if (number % 16 === 8) {
      await send(`${simulator}/__sim/faults`, "POST", {}, { on: { kind: "read" }, ...faults[(number / 8) % 4 === 1 ? 0 : 1] });
    }
    const later = number % 5 === 1 ? { Prefer: "respond-async" } : {};
    await send(url, "PUT", { ...headers, ...later }, { attributes: { [`step_${number % 4}`]: String(number) } });
    await fetch(url, { headers });
    if (number % 4 === 2) await fetch(`${gateway}/v1/conversations/nope/attributes`, { headers });
    await pause(0.6);
  }
}

async function series(target, end) {
  const query = target.expr.replaceAll("$job", ".*").replaceAll("$__rate_interval", "15s");
  const range = new URLSearchParams({ query, start: end - SECONDS + 15, end, step: 1 });
  const answer = await (await fetch(`${prometheus}/api/v1/query_range?${range}`)).json();
  assert.equal(answer.status, "success", `${query}: ${answer.error}`);
  return answer.data.result.map(({ metric, values }) => ({
    name: target.legendFormat.replace(/{{(\w+)}}/g, (_, label) => metric[label] ?? ""),
    points: values.map(([at, value]) => [at, Number(value)]).filter(([, value]) => Number.isFinite(value)),
  }));
}

function text(value, unit) {
  if (unit === "bytes") return `${(value / 2 ** 20).toFixed(1)} MiB`;
  if (unit === "percentunit") return `${(100 * value).toFixed(0)} %`;
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  if (unit === "s" && value > 0 && value < 1) return `${(1000 * value).toFixed(0)} ms`;
  return `${value.toFixed(digits)}${unit === "s" ? " s" : ""}`;
}

function chart(panel, lines, end) {
  const [width, height, left] = [370, 130, 58];
  const unit = panel.fieldConfig?.defaults?.unit;
  const most = Math.max(...lines.flatMap((line) => line.points.map(([, value]) => value)), 0) || 1;
  const x = (at) => left + ((at - (end - SECONDS + 15)) / (SECONDS - 15)) * (width - left);
  const y = (value) => height - 6 - (value / (1.1 * most)) * (height - 16);
  const grid = [0, most / 2, most].map((value) =>
    `<line x1="${left}" x2="${width}" y1="${y(value)}" y2="${y(value)}" stroke="#2c3235"/><text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${text(value, unit)}</text>`);
  const paths = lines.map((line, number) =>
    `<polyline fill="none" stroke="${COLOURS[number % COLOURS.length]}" stroke-width="1.5" points="${line.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`);
  const legend = lines.map((line, number) => `<span style="color:${COLOURS[number % COLOURS.length]}">&#9644;</span> ${line.name || "value"}`);
  return `<h2>${panel.title}</h2><svg viewBox="0 0 ${width} ${height}">${grid.join("")}${paths.join("")}</svg><p>${legend.join(" &nbsp; ")}</p>`;
}

await traffic();
const end = Math.floor(Date.now() / 1000);
const { title, panels } = JSON.parse(readFileSync(dashboard, "utf8"));
const [cells, absent] = [[], []];
for (const panel of panels) {
  const { x, y, w, h } = panel.gridPos;
  const place = `grid-column:${x + 1}/span ${w};grid-row:${y + 1}/span ${h}`;
  if (panel.type === "row") {
    cells.push(`<h1 style="${place}">${panel.title}</h1>`);
    continue;
  }
  const lines = [];
  for (const target of panel.targets) {
    const found = await series(target, end);
    if (found.every((line) => line.points.length === 0)) absent.push(`${panel.title}: ${target.expr}`);
    lines.push(...found);
  }
  cells.push(`<section style="${place}">${chart(panel, lines, end)}</section>`);
}
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await (await browser.newContext({ viewport: { width: 1260, height: 800 } })).newPage();
await page.setContent(`<title>${title}</title><style>
  body { background: #111217; color: #ccccdc; font: 12px sans-serif; display: grid; gap: 6px;
    grid-template-columns: repeat(24, 1fr); grid-auto-rows: 20px; margin: 12px; }
  h1 { font-size: 14px; margin: 0; } h2 { font-size: 12px; margin: 0 0 4px; }
  section { background: #181b1f; border: 1px solid #2c3235; padding: 6px; overflow: hidden; }
  svg { width: 100%; } text { fill: #8e8e99; font-size: 10px; } p { margin: 0; font-size: 10px; }
</style>${cells.join("")}`);
await page.screenshot({ path: picture, fullPage: true });
await browser.close();
assert.deepEqual(absent, [], "queries without a series");
console.log(`dashboard: ${panels.filter((panel) => panel.type !== "row").length} panels drawn, each query has data`);
