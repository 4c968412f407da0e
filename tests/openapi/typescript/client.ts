// Uses the types that openapi-typescript makes of openapi.yaml against `demo`, with openapi-fetch: what a
// program would do that was written by looking at the generated types. `tsc` checks it strictly.
//
//     node client.js BASE_URL
import createClient from "openapi-fetch";
import type { components, paths } from "./gateway.js";

type Schemas = components["schemas"];
const LIVE = "11111111-1111-4111-8111-111111111111";
const ENDED = "44444444-4444-4444-8444-444444444444";
const ATTRIBUTES = "/v1/conversations/{conversationId}/attributes";
const client = createClient<paths>({ baseUrl: process.argv[2], headers: { "X-API-Key": "demo-key" } });

function check(condition: unknown, what: string): asserts condition {
    if (!condition) throw new Error(what);
}

/** An answer in JSON; the same operation can also answer with text. */
function json<T>(answer: T | undefined): Exclude<T, string> {
    check(answer !== undefined && typeof answer !== "string", "an answer in JSON");
    return answer as Exclude<T, string>;
}

/** A function over all forms of an answer: each is told from the others by a member of its own. */
function result(answer: Schemas["AnyWriteResponse"] | Schemas["AcceptedResponse"]): string {
    if ("outcomes" in answer) return Object.values(answer.outcomes).join();
    if ("ok" in answer) return `${answer.ok ? "done" : "open"}: ${answer.code}`;
    return answer.state;
}

const path = { conversationId: LIVE };
const read = json((await client.GET(ATTRIBUTES, { params: { path } })).data);
check("attributes" in read && read.attributes["customer_tier"] === "gold", "a read of one participant");
const limit: number = read.size.limitBytes;
check(limit === 10240 && read.participant.chosenBy.length > 0, "its size and participant");
const all = json((await client.GET(ATTRIBUTES, { params: { path, query: { participant: "all" } } })).data);
check("participants" in all && all.participants[0]?.attributes, "all participants");

const flat = json((await client.GET(ATTRIBUTES, { params: { path, query: { view: "flat" } } })).data);
check("ok" in flat, "the flat form");
const [done, wait]: [boolean, number] = [flat.ok, flat.retryAfterSeconds];
check(done && wait === 0 && JSON.parse(flat.attributesJson)["customer_tier"] === "gold", "its members");

const body: Schemas["WriteRequestBody"] = { attributes: { from_typescript: String(Date.now()) } };
const wrote = await client.PUT(ATTRIBUTES, { params: { path }, body });
check(wrote.data && result(wrote.data) === "verified", "a write");
const flatWrite = await client.PUT(ATTRIBUTES, { params: { path, query: { view: "flat" } }, body });
check(flatWrite.data && result(flatWrite.data) === "done: unchanged", "a write with a flat answer");
const dry = await client.PUT(ATTRIBUTES, { params: { path, query: { dryRun: true } }, body });
check(dry.data && "dryRun" in dry.data && dry.data.dryRun, "a dry run");
const patch: Schemas["PatchRequestBody"] = { attributes: { from_typescript: null } };
const cleared = await client.PATCH(ATTRIBUTES, { params: { path }, body: patch });
check(cleared.data && result(cleared.data) === "cleared", "a cleared attribute");

const one = "/v1/conversations/{conversationId}/attributes/{key}";
const key = json((await client.GET(one, { params: { path: { ...path, key: "customer_tier" } } })).data);
check("key" in key && key.value === "gold", "one attribute");
const view = json((await client.GET("/v1/conversations/{conversationId}", { params: { path } })).data);
check("state" in view && view.participants.length > 0, "a view");
const list = json((await client.GET("/v1/conversations", { params: { query: { limit: 1 } } })).data);
check(list.conversations[0]?.conversationId, "a list");

const refused = await client.PUT(ATTRIBUTES, { params: { path: { conversationId: ENDED } }, body });
check(refused.error?.code === "conversation-ended" && !refused.error.retryable, "a problem");
const problem: Schemas["Problem"] = refused.error;
check(problem.effect === "notApplied" && problem.hint.length > 0, "what it says");
console.log("the generated TypeScript types: all as documented");
