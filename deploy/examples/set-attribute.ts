// Sets one participant attribute of a live call: reads, decides, and writes on condition that the
// participant's attributes have not changed in between.
//
//   node set-attribute.ts CONVERSATION KEY VALUE
//
// (Node 22.18 or later runs TypeScript directly; for older versions, compile it with `tsc`.)
// GATEWAY_URL (http://127.0.0.1:8080), GATEWAY_KEY (sent as Authorization: Bearer), GATEWAY_WAIT (how
// long one answer may take, 5 s) and PATIENCE (how long everything may take, 30 s) come from the
// environment. Exit status: 0 written; 1 refused, or out of time; 3 accepted, but not visible yet;
// 4 impossible: another writer's value stands, or the call has ended.

type Outcome = "verified" | "unchanged" | "cleared" | "accepted";

interface Problem {
  code?: string;
  message?: string;
  hint?: string;
  requestId?: string;
  retryable?: boolean;
}

/** The gateway said no, and asking again would not help. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, problem: Problem) {
    super(`${problem.code ?? `HTTP ${status}`}: ${problem.message ?? ""} ${problem.hint ?? ""} (request ${problem.requestId ?? "-"})`);
    this.status = status;
  }
}

/** What happened last when time was up. */
class OutOfPatience extends Error {}

const sleep = (seconds: number) => new Promise((done) => setTimeout(done, seconds * 1000));

class Gateway {
  readonly #url: string;
  readonly #wait: number;
  readonly #patience: number;
  readonly #headers: Record<string, string>;

  constructor(url: string, key: string | undefined, wait = 5, patience = 30) {
    this.#url = url.replace(/\/$/, "");
    this.#wait = wait;
    this.#patience = patience;
    this.#headers = { Prefer: `wait=${wait}`, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  }

  /**
   * Computes the new value from the old one with `decide`, and writes it on condition that nothing has
   * changed since the read.
   */
  async change(conversation: string, key: string, decide: (old: string) => string): Promise<Outcome> {
    const end = Date.now() + this.#patience * 1000;
    for (;;) {
      const next = await this.#attempt(conversation, key, decide, end);
      if (typeof next === "string") return next;
      if (Date.now() + next.wait * 1000 > end) throw new OutOfPatience(next.why);
      console.error(`${next.why}; again in ${next.wait} s`);
      await sleep(next.wait);
    }
  }

  /**
   * One attempt: its outcome, or how many seconds to wait before starting again. It begins with a read. If
   * the result of the previous attempt is unknown, the read shows it, and nothing is written twice.
   */
  async #attempt(
    conversation: string,
    key: string,
    decide: (old: string) => string,
    end: number,
  ): Promise<Outcome | { wait: number; why: string }> {
    try {
      let answer = await this.#call("GET", conversation);
      if (answer.status === 200) {
        const { attributes } = (await answer.json()) as { attributes: Record<string, string> };
        const value = decide(attributes[key] ?? "");
        answer = await this.#call("PUT", conversation, {
          headers: { "If-Match": answer.headers.get("ETag") ?? "", "Content-Type": "application/json" },
          body: JSON.stringify({ attributes: { [key]: value } }),
        });
        if (answer.status === 200) {
          return ((await answer.json()) as { outcomes: Record<string, Outcome> }).outcomes[key]!;
        }
        if (answer.status === 202) return await this.#look(conversation, key, value, end);
      }
      return await this.#next(answer);
    } catch (error) {
      if (error instanceof Refused) throw error;
      return { wait: 1, why: `no answer (${(error as Error).message})` };
    }
  }

  async #next(answer: Response): Promise<{ wait: number; why: string }> {
    // A proxy may have answered instead of the gateway.
    const problem = (await answer.json().catch(() => ({}))) as Problem;
    const why = problem.code ?? `HTTP ${answer.status}`;
    switch (answer.status) {
      case 412: // another client was faster: read and decide again
        return { wait: 1, why: "changed meanwhile" };
      case 409: // retryable only if the platform answered inconsistently
        if (problem.retryable) return { wait: 1, why };
        throw new Refused(answer.status, problem);
      case 429:
      case 503:
      case 504: // Retry-After is in whole seconds
        return { wait: Number(answer.headers.get("Retry-After") ?? 1), why };
      default:
        throw new Refused(answer.status, problem);
    }
  }

  /**
   * 202: the platform has accepted the write and does not show it yet. Writing again does not help;
   * reading again does.
   */
  async #look(conversation: string, key: string, value: string, end: number): Promise<Outcome> {
    while (Date.now() + 1000 <= end) {
      await sleep(1);
      const answer = await this.#call("GET", conversation);
      if (answer.status !== 200) continue;
      const { attributes } = (await answer.json()) as { attributes: Record<string, string> };
      if ((attributes[key] ?? "") === value) return "verified";
    }
    return "accepted";
  }

  #call(method: string, conversation: string, more: RequestInit = {}): Promise<Response> {
    const path = `/v1/conversations/${encodeURIComponent(conversation)}/attributes`;
    return fetch(this.#url + path, {
      ...more,
      method,
      headers: { ...this.#headers, ...more.headers },
      signal: AbortSignal.timeout((this.#wait + 2) * 1000),
    });
  }
}

async function main(): Promise<number> {
  const [conversation, key, value] = process.argv.slice(2);
  if (conversation === undefined || key === undefined || value === undefined) {
    console.error("usage: set-attribute CONVERSATION KEY VALUE");
    return 2;
  }
  const { GATEWAY_URL = "http://127.0.0.1:8080", GATEWAY_KEY, GATEWAY_WAIT = "5", PATIENCE = "30" } = process.env;
  const gateway = new Gateway(GATEWAY_URL, GATEWAY_KEY, Number(GATEWAY_WAIT), Number(PATIENCE));
  try {
    const outcome = await gateway.change(conversation, key, () => value);
    console.log(outcome);
    return outcome === "accepted" ? 3 : 0;
  } catch (error) {
    if (error instanceof OutOfPatience) {
      console.error(`out of patience: ${error.message}`);
      return 1;
    }
    if (!(error instanceof Refused)) throw error;
    console.error(error.message);
    return error.status === 409 ? 4 : 1;
  }
}

export {};

process.exitCode = await main();
