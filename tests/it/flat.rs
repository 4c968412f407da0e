//! `view=flat`: one level, every member always there, and only mistakes in the request keep their
//! status.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, customer_call, ms};

const JSON: (&str, &str) = ("content-type", "application/json");
const NOWHERE: &str = "5eed0000-0000-4000-8000-00000000ffff";

async fn put(app: &TestApp, query: &str, attributes: Value) -> Answer {
    app.write(CALL, &format!("?view=flat{query}"), attributes).await
}

/// Fails unless it is an answer of one level with all members of the contract; gives the answer
/// without its sentence.
#[track_caller]
fn flat(answer: &Answer) -> Value {
    answer.assert_status(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let mut flat = answer.json();
    let members = flat.as_object_mut().expect("an object");
    for (name, value) in members.iter() {
        assert!(!value.is_object() && !value.is_array() && !value.is_null(), "{name} is {value}");
    }
    let message = members.remove("message").expect("a message");
    assert!(message.as_str().is_some_and(|message| !message.is_empty()));
    let attributes = members["attributesJson"].as_str().expect("text");
    let attributes: Value = serde_json::from_str(attributes).expect("JSON in a string");
    members.insert("attributesJson".to_owned(), attributes);
    flat
}

/// A flat answer about the customer of the call, where nothing had to be waited for.
fn flat_body(ok: bool, code: &str, accepted: bool, attributes: impl Into<Value>) -> Value {
    json!({
        "ok": ok, "code": code, "accepted": accepted, "retryAfterSeconds": 0,
        "conversationId": CALL, "participantId": CUSTOMER, "attributesJson": attributes.into(),
    })
}

/// The same with more members.
fn with(mut flat: Value, members: &[(&str, &str)]) -> Value {
    for (name, value) in members {
        flat[name] = json!(value);
    }
    flat
}

/// The answer where no participant was found, or the participant is unknown.
fn failed(code: &str, retry_after_seconds: u64) -> Value {
    json!({
        "ok": false, "code": code, "accepted": false, "retryAfterSeconds": retry_after_seconds,
        "conversationId": CALL, "participantId": "", "attributesJson": {},
    })
}

/// The same where the customer was found before it went wrong.
fn about_customer(code: &str, retry_after_seconds: u64) -> Value {
    with(failed(code, retry_after_seconds), &[("participantId", CUSTOMER)])
}

#[tokio::test(start_paused = true)]
async fn a_flat_read_has_named_keys_as_members() {
    let app = TestApp::new().start().await;
    let all = json!({"language": "en", "source": "web", "tier": "silver"});
    let read = app.read(CALL, "?view=flat").await;
    assert_eq!(flat(&read), flat_body(true, "ok", false, all));
    assert_eq!(read.header("etag"), app.read(CALL, "").await.header("etag"));
    let some = app.read(CALL, "?keys=tier,Tier&key=no%20such,key&view=flat&key=tier").await;
    let members = [("tier", "silver"), ("Tier", ""), ("no such,key", "")];
    assert_eq!(
        flat(&some),
        with(flat_body(true, "ok", false, json!({"tier": "silver"})), &members)
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_called_like_a_member_stands_in_the_text_alone() {
    let names = ["ok", "code", "message", "accepted", "retryAfterSeconds", "conversationId"];
    let names = [&names[..], &["participantId", "attributesJson", "value"]].concat();
    let map = names.iter().map(|name| (*name, "mine"));
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, map.clone().collect::<Vec<_>>());
    let app = TestApp::new().without_calls().with_call(call).start().await;
    let read = app.read(CALL, &format!("?view=flat&keys={}", names.join(","))).await;
    let map: BTreeMap<_, _> = map.collect();
    assert_eq!(flat(&read), with(flat_body(true, "ok", false, json!(map)), &[("value", "mine")]));
}

#[tokio::test(start_paused = true)]
async fn a_flat_read_of_one_missing_key_has_an_empty_value() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    let read = app.get(&format!("{path}/tier?view=flat")).await;
    let there = flat_body(true, "ok", false, json!({"tier": "silver"}));
    assert_eq!(flat(&read), with(there, &[("value", "silver")]));
    let absent = app.get(&format!("{path}/nothing?view=flat")).await;
    let expected = with(about_customer("attribute-not-found", 0), &[("value", "")]);
    assert_eq!(flat(&absent), expected);
    let (path, accept) = (format!("{path}/tier?view=flat"), [("accept", "text/plain")]);
    let asked = app.ask(("GET", &path), &accept, "").await;
    asked.assert_problem(406, "not-acceptable", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn a_flat_write_has_its_worst_outcome_and_acceptance() {
    let app = TestApp::new().reading_first().with_lag(ms(10)).start().await;
    let map = |tier: &str| json!({"language": "en", "source": "web", "tier": tier});
    let same = put(&app, "", json!({"tier": "silver"})).await;
    assert_eq!(flat(&same), flat_body(true, "unchanged", false, map("silver")));
    let dry = put(&app, "&dryRun=true", json!({"tier": "gold"})).await;
    assert_eq!(flat(&dry), flat_body(true, "wouldSend", false, map("silver")));
    let named = put(&app, "&keys=tier,other", json!({"tier": "gold", "language": "en"})).await;
    let verified = flat_body(true, "verified", true, map("gold"));
    assert_eq!(flat(&named), with(verified, &[("tier", "gold"), ("other", "")]));
    let path = format!("{}/tier?view=flat", attributes_of(CALL));
    let cleared = app.ask(("DELETE", &path), &[], "").await;
    let rest = json!({"language": "en", "source": "web"});
    assert_eq!(flat(&cleared), flat_body(true, "cleared", true, rest));
    let set = app.ask(("PUT", &path), &[("content-type", "text/plain")], "x").await;
    assert_eq!(flat(&set), flat_body(true, "verified", true, map("x")));
    let path = format!("{}?view=flat", attributes_of(CALL));
    let document = json!({"attributes": {"tier": null}}).to_string();
    let patched = app.ask(("PATCH", &path), &[JSON], document).await;
    assert_eq!(flat(&patched)["code"], "cleared");
}

#[tokio::test(start_paused = true)]
async fn accepted_without_ok_means_sent_and_not_seen() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    let before = json!({"language": "en", "source": "web", "tier": "silver"});
    let unseen = put(&app, "&key=tier", json!({"tier": "gold"})).await;
    let unverified = flat_body(false, "unverified", true, before);
    assert_eq!(flat(&unseen), with(unverified, &[("tier", "silver")]));
    assert_eq!(unseen.header("etag"), "");
    // Another writer's value in the place of ours was accepted as well.
    let other = BTreeMap::from([("tier".to_owned(), Some("theirs".to_owned()))]);
    let foreign = FaultAction::ForeignWriteAfter { participant: None, map: other };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(foreign)).start().await;
    let replaced = put(&app, "&key=tier", json!({"tier": "gold"})).await;
    let now = json!({"language": "en", "source": "web", "tier": "theirs"});
    let superseded = flat_body(false, "superseded", true, now);
    assert_eq!(flat(&replaced), with(superseded, &[("tier", "theirs")]));
}

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

async fn failing(fault: ScriptedFault) -> TestApp {
    let fails: Builder = TestApp::new().with_fault(fault.always()).allowing_leftovers();
    fails.start().await
}

#[tokio::test(start_paused = true)]
async fn what_a_flow_has_to_branch_on_is_told_with_status_200() {
    let write = || json!({"tier": "gold"});
    let app = TestApp::new().reading_first().start().await;
    let nowhere = app.write(NOWHERE, "?view=flat&key=tier", write()).await;
    let mut expected = with(failed("conversation-not-found", 0), &[("tier", "")]);
    expected["conversationId"] = json!(NOWHERE);
    assert_eq!(flat(&nowhere), expected);
    let nobody = app.read(CALL, "?view=flat&participant=supervisor").await;
    assert_eq!(flat(&nobody), failed("participant-not-found", 0));
    let path = format!("{}?view=flat", attributes_of(CALL));
    let body = json!({"attributes": write()}).to_string();
    let stale = app.put(&path, &[("if-match", "\"x\"")], body).await;
    assert_eq!(flat(&stale), about_customer("precondition-failed", 0));
    // What it has to send next stands in the header, as in the problem.
    assert_eq!(stale.header("etag"), app.read(CALL, "").await.header("etag"));
    app.simulator.end_conversation(CALL);
    assert_eq!(flat(&put(&app, "", write()).await), about_customer("conversation-ended", 0));
    let throttle = ScriptedFault::on_patch(FaultAction::Throttle { retry_after: Some(30) });
    for (fault, code, retry_after) in [
        (throttle, "upstream-rate-limited", 30),
        (ScriptedFault::on_read(status(503)), "upstream-unavailable", 1),
        (ScriptedFault::on_patch(status(403)), "upstream-forbidden", 0),
        (ScriptedFault::on_patch(status(409)), "upstream-conflict", 0),
        (ScriptedFault::on_read(FaultAction::Html), "upstream-invalid-response", 0),
        (ScriptedFault::on_patch(FaultAction::Hang), "deadline-exceeded", 0),
    ] {
        // A failed read finds no participant.
        let was_found = !["upstream-unavailable", "upstream-invalid-response"].contains(&code);
        let app = failing(fault).await;
        let expected = if was_found { about_customer } else { failed };
        assert_eq!(flat(&put(&app, "", write()).await), expected(code, retry_after), "{code}");
    }
    let app = TestApp::new().start().await;
    app.service().shutdown().begin(ms(1000));
    let draining = put(&app, "&keys=tier", write()).await;
    assert_eq!(flat(&draining), with(failed("shutting-down", 1), &[("tier", "")]));
    assert_eq!(draining.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn no_member_stands_twice_whoever_asks_for_what_there_is_not() {
    let app = TestApp::new().start().await;
    app.service().shutdown().begin(ms(1000));
    let path = format!("{}/tier?view=flat&keys=value,x", attributes_of(CALL));
    let draining = app.get(&path).await;
    assert_eq!(draining.text.matches("\"value\":").count(), 1, "{}", draining.text);
    assert_eq!(flat(&draining), with(failed("shutting-down", 1), &[("value", "")]));
}

#[tokio::test(start_paused = true)]
async fn mistakes_in_the_request_keep_their_status_and_form() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    let good = json!({"attributes": {"a": "b"}}).to_string();
    let (large, json) = (json!({"attributes": {"a": "x".repeat(10_240)}}).to_string(), [JSON]);
    for (method, query, headers, body, status, code) in [
        ("PUT", "?view=flat&x=1", &json[..], good.as_str(), 400, "invalid-query"),
        ("PUT", "?view=flat&view=flat", &json, &good, 400, "invalid-query"),
        ("PUT", "?view=table", &json, &good, 400, "invalid-query"),
        ("GET", "?view=flat&participant=all", &[], "", 400, "invalid-query"),
        ("GET", "?view=flat&participant=a%20b", &[], "", 400, "invalid-participant"),
        ("PUT", "?view=flat", &[JSON, ("if-match", "x")], &good, 400, "invalid-header"),
        ("PUT", "?view=flat", &json, "{", 400, "invalid-json"),
        ("GET", "/a/b?view=flat", &[], "", 404, "not-found"),
        ("POST", "?view=flat", &json, &good, 405, "method-not-allowed"),
        ("GET", "?view=flat", &[("accept", "text/html")], "", 406, "not-acceptable"),
        ("PUT", "?view=flat", &[], &good, 415, "unsupported-media-type"),
        ("PUT", "?view=flat", &json, "{}", 422, "invalid-attributes"),
        ("PUT", "?view=flat", &json, &large, 422, "attributes-too-large"),
    ] {
        let answer = app.ask((method, &format!("{path}{query}")), headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
        answer.assert_problem(status, code, "notApplied");
    }
    let app = TestApp::new().with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true").start().await;
    put(&app, "", json!({"a": "b"})).await.assert_problem(
        428,
        "precondition-required",
        "notApplied",
    );
}

#[tokio::test(start_paused = true)]
async fn log_and_figures_show_the_real_status() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    flat(&put(&app, "", json!({"tier": "gold"})).await);
    flat(&app.read(CALL, "?view=flat&participant=supervisor").await);
    flat(&app.read(CALL, "?view=flat").await);
    let text = app.logs.text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_requests = lines.filter(|line| line["target"] == "access");
    let seen: Vec<_> = of_requests
        .map(|line| json!([line["http.status"], line["problem.code"], line["effect"]]))
        .collect();
    let expected = [
        json!([202, null, "applied"]),
        json!([404, "participant-not-found", "notApplied"]),
        json!([200, null, "notApplied"]),
    ];
    assert_eq!(seen, expected);
    let route = "/v1/conversations/{conversationId}/attributes";
    for (method, status) in [("PUT", 202), ("GET", 404), ("GET", 200)] {
        let labels = format!(r#"method="{method}",route="{route}",status="{status}""#);
        let count = app.figure(&format!("http_requests_total{{{labels}}}")).await;
        assert!((count - 1.0).abs() < f64::EPSILON, "{labels}: {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_flat_form_always_has_a_body() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let path = format!("{}?view=flat", attributes_of(CALL));
    let known = app.ask(("GET", &path), &[("if-none-match", "*")], "").await;
    assert_eq!(flat(&known)["code"], "ok");
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let minimal = app.put(&path, &[("prefer", "return=minimal, wait=2")], body).await;
    assert_eq!(flat(&minimal)["code"], "verified");
    assert_eq!(minimal.header("preference-applied"), "wait=2");
}

#[tokio::test(start_paused = true)]
async fn the_view_of_a_conversation_has_a_flat_form_as_well() {
    let app = TestApp::new().start().await;
    let view = async |query: &str| app.get(&format!("/v1/conversations/{CALL}{query}")).await;
    let all = json!({"language": "en", "source": "web", "tier": "silver"});
    let whole = view("?view=flat").await;
    assert_eq!(flat(&whole), flat_body(true, "ok", false, all.clone()));
    let mut named = flat_body(true, "ok", false, all);
    named["tier"] = json!("silver");
    named["absent"] = json!("");
    assert_eq!(flat(&view("?view=flat&keys=tier&key=absent").await), named);
    let nowhere = app.get(&format!("/v1/conversations/{NOWHERE}?view=flat")).await;
    let answer = flat(&nowhere);
    assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!("conversation-not-found")));
    assert_eq!(answer["participantId"], "");
    for (query, mistake) in [
        ("?view=round", "view"),
        ("?keys=tier", "keys"),
        ("?view=flat&format=text", "format"),
        ("?view=flat&keys=,", "keys"),
    ] {
        let refused = view(query).await;
        refused.assert_problem(400, "invalid-query", "notApplied");
        assert_eq!(refused.at("/errors/0/pointer"), mistake, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_not_reported_absent_without_a_read() {
    let second = "c0000000-0000-4000-8000-000000000002";
    let twice = customer_call().customer(second, [("tier", "gold")]);
    let nobody = SimulatedCall::new(NOWHERE);
    let app = TestApp::new().without_calls().with_call(twice).with_call(nobody).start().await;
    for (id, code) in [(CALL, "ambiguous-participant"), (NOWHERE, "participant-not-found")] {
        let path = format!("/v1/conversations/{id}?view=flat");
        let mut expected = failed(code, 0);
        expected["conversationId"] = json!(id);
        let named = app.get(&format!("{path}&keys=tier")).await;
        assert_eq!(flat(&named), with(expected.clone(), &[("tier", "")]));
        let whole = app.get(&path).await;
        (expected["ok"], expected["code"]) = (json!(true), json!("ok"));
        assert_eq!(flat(&whole), expected, "the conversation itself was seen");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_understood_everywhere_as_it_is_in_the_path() {
    let app = TestApp::new().with_env("GATEWAY__DEBUG__ENABLED", "true").start().await;
    let encoded = CALL.replace('-', "%2D");
    let nobody = app.read(&encoded, "?view=flat&participant=supervisor").await;
    assert_eq!(flat(&nobody), failed("participant-not-found", 0));
    let line = app.logs.text().lines().last().map(str::to_owned).expect("a line");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["conversation.id"], CALL);
    for id in [CALL, &encoded] {
        let trace = app.get(&format!("/v1/conversations/{id}/trace")).await;
        assert_eq!(trace.assert_status(200).at("/requests/0/code"), "participant-not-found");
    }
}
