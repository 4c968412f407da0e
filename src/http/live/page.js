// Shows the events of /v1/live/events. Everything is shown as text, so nothing that arrives can be markup.
"use strict";

const EVENTS = "v1/live/events";
const STALE_AFTER_MS = 5000;
const RETRY_AFTER_MS = 3000;
const element = (id) => document.getElementById(id);
let lastEvent = 0;
let problem = "";

const text = (id, words) => { element(id).textContent = words; };
const seconds = (number) => (number < 120 ? `${number} s` : number < 7200 ? `${Math.round(number / 60)} min` : `${Math.round(number / 3600)} h`);
const ms = (number) => (number < 1000 ? `${Math.round(number)} ms` : `${(number / 1000).toFixed(1)} s`);

function add(parent, name, words, className) {
  const child = document.createElement(name);
  child.textContent = words;
  if (className) child.className = className;
  parent.append(child);
  return child;
}

function list(id, rows) {
  element(id).replaceChildren();
  for (const [words, isBad] of rows) add(element(id), "li", words, isBad ? "bad" : "");
}

function show(status) {
  const { budget, token, writes, visibilityLag: lag } = status;
  element("budget").max = budget.limit;
  element("budget").low = budget.limit / 4;
  element("budget").optimum = budget.limit;
  element("budget").value = budget.available;
  const throttled = budget.throttledSeconds === undefined ? "" : `; throttled for ${budget.throttledSeconds.toFixed(0)} s more`;
  const waiting = budget.waiting ? `; ${budget.waiting} requests wait` : "";
  text("budget-text", `${budget.available} calls free for writes; limit ${budget.limit} in ${budget.windowSeconds} s${waiting}${throttled}`);
  const others = budget.others ? [[`other programs with the same OAuth client: ${budget.others}`, false]] : [];
  list("clients", budget.clients.map(({ client, calls }) => [`${client}: ${calls}`, false]).concat(others));
  list("upstream", status.upstream.map(({ name, state, requests, accepts }) =>
    [`${name}: ${state}, ${accepts} of ${requests} calls answered in 10 s`, state !== "ok"]));
  const age = token.ageSeconds === undefined ? "" : `, fetched ${seconds(token.ageSeconds)} ago`;
  const expiry = token.expiresInSeconds === undefined ? "" : `, expires in ${seconds(token.expiresInSeconds)}`;
  text("token", token.state + age + expiry);
  element("token").className = token.state === "valid" ? "" : "bad";
  text("writes", `${writes.inFlight} in progress, ${writes.waiting} of them queued`);
  text("lag", lag.p50Ms === undefined ? "no lag measured yet" : `visible after ${ms(lag.p50Ms)} (median), ${ms(lag.p95Ms)} (p95)`);
  element("operations").replaceChildren();
  for (const one of status.operations) {
    const row = document.createElement("tr");
    const cells = [one.at.slice(11, 19), one.method, one.client ?? "–", one.conversationId ?? "–", one.status, one.code ?? "", one.effect, ms(one.durationMs), one.calls];
    for (const cell of cells) add(row, "td", cell);
    if (one.status >= 400) row.className = "bad";
    element("operations").append(row);
  }
  text("connection", status.ready ? "connected; the gateway is ready" : "connected; the gateway is not ready");
  element("connection").className = status.ready ? "" : "bad";
}

function disconnected() {
  const since = lastEvent ? `; the last event came at ${new Date(lastEvent).toLocaleTimeString()}` : "";
  text("connection", `disconnected, retrying${since}${problem && `: ${problem}`}`);
  element("connection").className = "bad";
}

// An EventSource does not say why it was refused, so the page asks.
async function explain() {
  const abort = new AbortController();
  try {
    const answer = await fetch(EVENTS, { signal: abort.signal });
    problem = answer.ok ? "" : (await answer.json()).detail;
  } catch {
    problem = "";
  }
  abort.abort();
}

function connect() {
  const source = new EventSource(EVENTS);
  source.onmessage = (event) => {
    lastEvent = Date.now();
    problem = "";
    show(JSON.parse(event.data));
  };
  source.onerror = async () => {
    disconnected();
    if (source.readyState === EventSource.CLOSED) {
      await explain();
      disconnected();
      setTimeout(connect, RETRY_AFTER_MS);
    }
  };
}

// A connection can be lost without an error.
setInterval(() => { if (lastEvent && Date.now() - lastEvent > STALE_AFTER_MS) disconnected(); }, 1000);
connect();
