//! What a client may not read is to it as if it were absent, wherever it looks.

use genesys_simulator::{FaultAction, PatchSemantics, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{
    AGENT, Answer, Builder, CALL, CUSTOMER, IVR, TestApp, attributes_of, client, customer_call, ms,
    shown,
};

/// Everything but this key of the call.
const HIDING: &str = "hide = [\"source\"]";

/// The call as it would be without the key that is hidden.
fn plain_call() -> SimulatedCall {
    SimulatedCall::new(CALL)
        .customer(CUSTOMER, [("language", "en"), ("tier", "silver")])
        .ivr(IVR, [("menu", "2")])
        .agent(AGENT, [("desk", "7")])
}

fn over(call: SimulatedCall, rights: &str) -> Builder {
    let clients = [client("crm", "crm-key", rights), client("all", "all-key", "")];
    TestApp::new().without_calls().with_call(call).with_clients(&clients)
}

/// The same service over a call that has the hidden key, and over one that has not.
async fn pair() -> [TestApp; 2] {
    let clients = |call| over(call, HIDING).with_env("GATEWAY__DEBUG__ENABLED", "true").start();
    [clients(customer_call()).await, clients(plain_call()).await]
}

async fn ask(app: &TestApp, ask: (&str, &str), headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = [&[shown("crm-key"), ("content-type", "application/json")], headers].concat();
    app.ask(ask, &headers, body.to_owned()).await
}

/// An answer without what differs from request to request.
fn summary(answer: &Answer) -> (u16, String, String) {
    let mut text = answer.text.clone();
    if let Ok(mut json) = serde_json::from_str::<Value>(&text) {
        for name in ["requestId", "correlationId"] {
            json.as_object_mut().map(|object| object.remove(name));
        }
        for request in json["requests"].as_array_mut().into_iter().flatten() {
            for name in ["at", "requestId"] {
                request.as_object_mut().map(|object| object.remove(name));
            }
            for attempt in request["attempts"].as_array_mut().into_iter().flatten() {
                attempt.as_object_mut().map(|object| object.remove("correlationId"));
            }
        }
        text = json.to_string();
    }
    let parts = text.split_inclusive([' ', '"', '\n']);
    // The two calls began at different times.
    let time = |part: &&str| part.len() == 25 && part.starts_with("20") && part.contains('Z');
    let text = parts.filter(|part| !time(part)).collect();
    let tag = answer.headers.get("etag").map(|tag| tag.to_str().expect("text").to_owned());
    (answer.status, text, tag.unwrap_or_default())
}

const TIER: &str = r#"{"attributes":{"tier":"gold"}}"#;
const NEW: &str = r#"{"attributes":{"note":"n","tier":"gold"}}"#;
const NONE: (&str, &str) = ("if-none-match", "*");

/// Method, path below the conversation, headers, and body.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

/// Everything that shows attributes, in an order in which there is always something to show.
const ALL: &[Asked] = &[
    ("GET", "/attributes", &[], ""),
    ("GET", "/attributes?keys=tier,none", &[], ""),
    ("GET", "/attributes?participant=all", &[], ""),
    ("GET", "/attributes?participant=all&format=text", &[], ""),
    ("GET", "/attributes?format=text", &[], ""),
    ("GET", "/attributes?view=flat&keys=tier", &[], ""),
    ("GET", "/attributes?participant=c0000000-0000-4000-8000-000000000001", &[], ""),
    ("GET", "/attributes/tier", &[], ""),
    ("GET", "/attributes/source", &[], ""),
    ("GET", "/attributes?keys=source", &[], ""),
    ("GET", "", &[], ""),
    ("GET", "?format=text", &[], ""),
    ("GET", "?view=flat&keys=tier", &[], ""),
    ("PUT", "/attributes?dryRun=true", &[], TIER),
    ("PUT", "/attributes?dryRun=true", &[("if-match", "\"x\"")], TIER),
    ("PUT", "/attributes", &[("if-match", "\"x\"")], TIER),
    ("PUT", "/attributes", &[NONE], TIER),
    ("PUT", "/attributes", &[], TIER),
    ("PUT", "/attributes", &[], TIER),
    ("PUT", "/attributes?view=flat&keys=tier", &[], NEW),
    ("PUT", "/attributes?verify=none", &[], r#"{"attributes":{"note":"m"}}"#),
    ("PATCH", "/attributes", &[], r#"{"attributes":{"note":null,"source":null}}"#),
    ("PUT", "/attributes/source", &[NONE], r#"{"value":"x"}"#),
    ("DELETE", "/attributes/note", &[], ""),
    ("GET", "/trace", &[], ""),
];

#[tokio::test(start_paused = true)]
async fn every_answer_is_the_same_with_or_without_a_hidden_key() {
    let [with, without] = pair().await;
    for (method, path, headers, body) in ALL {
        let path = format!("/v1/conversations/{CALL}{path}");
        let one = ask(&with, (method, &path), headers, body).await;
        let other = ask(&without, (method, &path), headers, body).await;
        assert_eq!(summary(&one), summary(&other), "{method} {path} {headers:?}");
        assert_eq!(one.took, other.took, "{method} {path}");
        assert!(!one.text.contains("\"web\"") && !one.text.contains("web\n"), "{}", one.text);
    }
    assert_eq!(with.truth(CUSTOMER)["source"], "web", "nobody else's key is lost");
}

#[tokio::test(start_paused = true)]
async fn tags_and_conditions_are_about_what_the_caller_sees() {
    let app = over(customer_call(), HIDING).reading_first().with_lag(ms(0)).start().await;
    let path = attributes_of(CALL);
    let get = async || ask(&app, ("GET", &path), &[], "").await;
    let first = get().await;
    let tag = first.header("etag").to_owned();
    let whole = app.ask(("GET", &path), &[shown("all-key")], "").await;
    assert_ne!(whole.header("etag"), tag);
    // Another client changes what this one does not see: its tag still holds.
    let change = r#"{"attributes":{"source":"phone"}}"#;
    let headers = [shown("all-key"), ("content-type", "application/json")];
    app.ask(("PUT", &path), &headers, change).await.assert_outcomes(&[("source", "verified")]);
    assert_eq!(get().await.header("etag"), tag);
    let known = ask(&app, ("GET", &path), &[("if-none-match", &tag)], "").await;
    known.assert_status(304);
    let write =
        async |tag: &str, body: &str| ask(&app, ("PUT", &path), &[("if-match", tag)], body).await;
    let written = write(&tag, r#"{"attributes":{"tier":"gold"}}"#).await;
    written.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(written.at("/attributes"), json!({"language": "en", "tier": "gold"}));
    assert_eq!(written.at("/size/bytes"), r#"{"language":"en","tier":"gold"}"#.len());
    assert_eq!(get().await.header("etag"), written.header("etag"));
    // And the 412 holds the tag of what the client may see.
    let refused = write(&tag, r#"{"attributes":{"tier":"x"}}"#).await;
    refused.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(refused.header("etag"), written.header("etag"));
    let stale = whole.header("etag");
    write(stale, r#"{"attributes":{"tier":"x"}}"#).await.assert_status(412);
}

#[tokio::test(start_paused = true)]
async fn refused_keys_are_all_listed_with_their_rule() {
    let rights =
        "allow = [\"crm_*\", \"tier\", \"id\"]\ndeny = [\"crm_secret_*\"]\nhide = [\"id\"]";
    let app = over(customer_call(), rights).start().await;
    let path = attributes_of(CALL);
    let body = r#"{"attributes":{"crm_a":"1","crm_secret_b":"2","id":"3","tier":"4","a/b":"5"}}"#;
    for method in ["PUT", "PATCH"] {
        let answer = ask(&app, (method, &path), &[], body).await;
        answer.assert_problem(403, "attribute-not-allowed", "notApplied");
        let errors = json!([
            {"pointer": "#/attributes/a~1b", "detail": "no pattern in `allow` of this client matches the key"},
            {"pointer": "#/attributes/crm_secret_b", "detail": "`deny` of this client contains `crm_secret_*`"},
            {"pointer": "#/attributes/id", "detail": "`hide` of this client contains `id`"},
        ]);
        assert_eq!(answer.at("/errors"), errors);
    }
    let read = ask(&app, ("GET", &format!("{path}?keys=tier,source&key=id")), &[], "").await;
    read.assert_problem(403, "attribute-not-allowed", "notApplied");
    assert_eq!(read.at("/errors/0/pointer"), "keys");
    assert_eq!(read.at("/errors").as_array().map(Vec::len), Some(2));
    let one = ask(&app, ("DELETE", &format!("{path}/id")), &[], "").await;
    assert_eq!(one.assert_status(403).at("/errors/0/pointer"), "key");
    assert_eq!(app.upstream_calls(), 0);
    let flat = ask(&app, ("PUT", &format!("{path}?view=flat&keys=id")), &[], body).await;
    flat.assert_problem(403, "attribute-not-allowed", "notApplied");
    // Those of the query and of the body together; what else is wrong with either comes after that.
    let pointers = |answer: &Answer| {
        answer.assert_problem(403, "attribute-not-allowed", "notApplied");
        let errors = answer.at("/errors").as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].to_string()).collect::<Vec<_>>().join(" ")
    };
    let path = format!("{path}?keys=source,tier");
    let both = ask(&app, ("PUT", &path), &[], body).await;
    let summary = r##""keys" "#/attributes/a~1b" "#/attributes/crm_secret_b" "#/attributes/id""##;
    assert_eq!(pointers(&both), summary);
    let broken = ask(&app, ("PUT", &path), &[("accept", "text/html")], "{").await;
    assert_eq!(pointers(&broken), r#""keys""#);
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn participant_rights_apply_to_selectors_and_ids() {
    const SECOND: &str = "a0000000-0000-4000-8000-000000000002";
    let call = || customer_call().agent(SECOND, [("desk", "8")]);
    for (permitted, selector, status) in [
        ("customer", "", 200),
        ("customer", "?participant=customer:last", 200),
        ("customer", "?participant=first", 403),
        ("customer", "?participant=agent:first", 403),
        ("customer", "?participant=all", 403),
        ("customer", &format!("?participant={CUSTOMER}"), 200),
        ("customer", &format!("?participant={AGENT}"), 403),
        ("agent", &format!("?participant={AGENT}"), 200),
        ("agent", &format!("?participant={SECOND}"), 200),
        ("agent:last", &format!("?participant={SECOND}"), 200),
        ("agent:last", &format!("?participant={AGENT}"), 403),
        ("agent:last", "?participant=agent:last", 200),
        ("agent:last", "?participant=agent", 403),
        ("first", &format!("?participant={CUSTOMER}"), 200),
        (AGENT, &format!("?participant={AGENT}"), 200),
        (AGENT, &format!("?participant={SECOND}"), 403),
        (AGENT, "", 403),
        ("all", &format!("?participant={SECOND}"), 200),
    ] {
        let app = over(call(), &format!("participants = [\"{permitted}\"]")).start().await;
        let path = format!("{}{selector}", attributes_of(CALL));
        let read = ask(&app, ("GET", &path), &[], "").await;
        let body = r#"{"attributes":{"note":"n"}}"#;
        let write = ask(&app, ("PUT", &path), &[], body).await;
        // No write is for all.
        let wanted = if selector.ends_with("all") { [403, 400] } else { [status, status] };
        assert_eq!([read.status, write.status], wanted, "{permitted} {selector}: {}", write.text);
        if status == 403 {
            read.assert_problem(403, "participant-not-allowed", "notApplied");
            assert_eq!(app.patches(), Vec::<Value>::new(), "{permitted} {selector}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whom_a_caller_may_not_name_it_sees_no_attributes_of() {
    let call = SimulatedCall::new(CALL)
        .ivr(IVR, [("menu", "2")])
        .agent(AGENT, [("desk", "7"), ("b", "1")]);
    let app = over(call, "participants = [\"customer\", \"ivr\"]").start().await;
    let view = format!("/v1/conversations/{CALL}");
    let counts = ask(&app, ("GET", &view), &[], "").await;
    assert_eq!(counts.at("/participants/0/attributeCount"), 1);
    assert_eq!(counts.at("/participants/1/attributeCount"), 0);
    let captured = include_str!("../../crates/genesys-simulator/fixtures/callback-live.json");
    let captured = serde_json::from_str(captured).expect("JSON");
    let id = app.simulator.add_conversation(&captured).expect("a conversation");
    let named = async |key| {
        let view = format!("/v1/conversations/{id}");
        let whole = app.ask(("GET", &view), &[shown(key)], "").await;
        [whole.at("/participants/0/name"), whole.at("/participants/2/name")]
    };
    let (robin, agent) = (json!("Robin Example"), json!("Agent Example"));
    assert_eq!(named("all-key").await, [robin.clone(), agent]);
    assert_eq!(named("crm-key").await, [robin, Value::Null]);
    // `customer` falls back to the first participant in a read: here one that the client may name.
    ask(&app, ("GET", &attributes_of(CALL)), &[], "").await.assert_status(200);
    let call = SimulatedCall::new(CALL).agent(AGENT, [("desk", "7")]);
    let app = over(call, "participants = [\"customer\"]").start().await;
    let read = ask(&app, ("GET", &attributes_of(CALL)), &[], "").await;
    read.assert_problem(403, "participant-not-allowed", "notApplied");
    let flat = ask(&app, ("GET", &format!("{view}?view=flat&keys=desk")), &[], "").await;
    flat.assert_problem(403, "participant-not-allowed", "notApplied");
    let flat = ask(&app, ("GET", &format!("{view}?view=flat")), &[], "").await;
    flat.assert_status(200);
    assert_eq!((flat.at("/participantId"), flat.at("/attributesJson")), (json!(""), json!("{}")));
}

#[tokio::test(start_paused = true)]
async fn the_size_limit_counts_hidden_keys_without_showing_them() {
    let call = SimulatedCall::new(CALL)
        .customer(CUSTOMER, [("source", "s".repeat(9_000).as_str()), ("a", "1")]);
    let app = over(call, HIDING).start().await;
    let body = json!({"attributes": {"note": "n".repeat(2_000)}}).to_string();
    let answer = ask(&app, ("PUT", &attributes_of(CALL)), &[], &body).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    assert!(!answer.text.contains("source") && !answer.text.contains("9000"), "{}", answer.text);
    let largest = json!([{"key": "note", "bytes": 2_009}, {"key": "a", "bytes": 7}]);
    assert_eq!(answer.at("/largest"), largest);
    assert_eq!(answer.at("/bytes"), 2 + 2_009 + 1 + 7);
    assert_eq!(app.patches(), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn dropped_keys_are_not_named_to_clients_without_rights() {
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, [("source", "web"), ("origin", "x")]);
    let app = over(call, "allow = [\"note\"]")
        .with_settings(|settings| settings.semantics = PatchSemantics::Replace)
        .start()
        .await;
    let body = r#"{"attributes":{"note":"n"}}"#;
    let answer = ask(&app, ("PUT", &attributes_of(CALL)), &[], body).await;
    answer.assert_outcomes(&[("note", "verified")]);
    assert_eq!(answer.at("/attributes"), json!({"note": "n"}));
    assert!(!answer.text.contains("warnings"), "{}", answer.text);
    assert_eq!(app.patches().len(), 1, "nothing is written back");
}

#[tokio::test(start_paused = true)]
async fn lost_or_rejected_keys_are_shown_only_if_visible() {
    let gone = [("source".to_owned(), None)];
    let foreign = FaultAction::ForeignWriteAfter { participant: None, map: gone.into() };
    let app =
        over(customer_call(), HIDING).with_fault(ScriptedFault::on_patch(foreign)).start().await;
    let body = r#"{"attributes":{"tier":"gold"}}"#;
    let answer = ask(&app, ("PUT", &attributes_of(CALL)), &[], body).await;
    answer.assert_outcomes(&[("tier", "verified")]);
    assert!(
        !answer.text.contains("source") && !answer.text.contains("warnings"),
        "{}",
        answer.text
    );
    let app = over(customer_call(), HIDING)
        .with_env("GATEWAY__GENESYS__PATCH_BODY", "full")
        .with_fault(ScriptedFault::on_patch(FaultAction::EchoRejection))
        .start()
        .await;
    let answer = ask(&app, ("PUT", &attributes_of(CALL)), &[], body).await;
    answer.assert_problem(502, "upstream-rejected", "notApplied");
    assert!(!answer.text.contains("source"), "{}", answer.text);
    let other = [("tier".to_owned(), Some("other".to_owned()))];
    let foreign = FaultAction::ForeignWriteAfter { participant: None, map: other.into() };
    let app =
        over(customer_call(), HIDING).with_fault(ScriptedFault::on_patch(foreign)).start().await;
    let answer = ask(&app, ("PUT", &attributes_of(CALL)), &[], body).await;
    answer.assert_problem(409, "write-superseded", "applied");
    assert_eq!(answer.at("/attributes"), json!({"language": "en", "tier": "other"}));
}

#[tokio::test(start_paused = true)]
async fn upstream_messages_about_hidden_keys_are_withheld() {
    let words =
        json!({"status": 403, "code": "not.authorized", "message": "salary may not be set"});
    let refuses = FaultAction::Status { code: 403, body: Some(words), retry_after: None };
    let fault = ScriptedFault::on_patch(refuses).always();
    let app = over(customer_call(), "allow = [\"tier\"]").with_fault(fault).allowing_leftovers();
    let app = app.start().await;
    let path = attributes_of(CALL);
    let write = |key: &'static str, body: &'static str| {
        let headers = [shown(key), ("content-type", "application/json")];
        let (app, path) = (&app, &path);
        async move { app.ask(("PUT", path), &headers, body).await }
    };
    let tier = r#"{"attributes":{"tier":"gold"}}"#;
    let (limited, other) =
        tokio::join!(write("crm-key", tier), write("all-key", r#"{"attributes":{"salary":"1"}}"#),);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold", "salary": "1"}})]);
    limited.assert_problem(502, "upstream-forbidden", "notApplied");
    other.assert_problem(502, "upstream-forbidden", "notApplied");
    assert!(!limited.text.contains("salary"), "{}", limited.text);
    assert!(other.text.contains("salary may not be set"), "{}", other.text);
    // The refusal lists all of the client's own keys.
    let alone = write("crm-key", tier).await;
    assert!(alone.text.contains("salary may not be set"), "{}", alone.text);
}

#[tokio::test(start_paused = true)]
async fn a_limited_client_does_not_see_how_many_keys_were_omitted() {
    let app = over(customer_call(), HIDING).with_env("GATEWAY__DEBUG__ENABLED", "true");
    let app = app.start().await;
    // The omitted one could be hidden from that client.
    let keys: Vec<_> = (0..101).map(|number| format!("key=k{number}")).collect();
    let many = format!("{}?{}", attributes_of(CALL), keys.join("&"));
    app.ask(("GET", &many), &[shown("all-key")], "").await.assert_status(200);
    let trace = format!("/v1/conversations/{CALL}/trace");
    let omitted = async |key| {
        let answer = app.ask(("GET", &trace), &[shown(key)], "").await;
        let request = answer.assert_status(200).at("/requests/0").clone();
        (request["keys"].as_array().map(Vec::len), request["keysLeftOut"].as_u64())
    };
    assert_eq!(omitted("all-key").await, (Some(100), Some(1)));
    assert_eq!(omitted("crm-key").await, (Some(100), None));
}
