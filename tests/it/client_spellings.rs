//! What real clients, proxies and other writers send: spellings that are understood, and mistakes whose
//! answer names the cause to somebody who does not know the service.

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{
    AGENT, Answer, CALL, CUSTOMER, TestApp, attributes_of, client, request, shown,
};

const JSON: (&str, &str) = ("content-type", "application/json");
const GOOD: &str = r#"{"attributes":{"tier":"gold"}}"#;
const SEARCH: &str = "/v1/conversations/search";

fn text(answer: &Answer, pointer: &str) -> String {
    answer.at(pointer).as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_weakened_tag_counts_as_the_tag() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    let weak = format!("W/{}", app.get(&path).await.header("etag"));
    let write = app.put(&path, &[("if-match", &weak)], GOOD).await;
    write.assert_status(200);
    let stale = app.put(&path, &[("if-match", &weak)], GOOD).await;
    stale.assert_problem(412, "precondition-failed", "notApplied");
    let weak = format!("\"other\", W/{}", write.header("etag"));
    let known = app.ask(("GET", &path), &[("if-none-match", &weak)], "").await;
    known.assert_status(304);
    let single = format!("{path}/tier");
    let weak = format!("W/{}", app.get(&single).await.header("etag"));
    let body = r#"{"value":"silver"}"#;
    app.put(&single, &[("if-match", &weak)], body).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_number_finds_its_call_however_it_is_written() {
    let app = TestApp::new().start().await;
    for number in [
        "+15550100111",
        "0015550100111",
        "+1 (555) 010-0111",
        "+1 (0)555 010 0111",
        "sip:+15550100111@sbc.example;user=phone",
        "tel:+15550100111;ext=105",
        "15550100111",
    ] {
        let found = app.post(SEARCH, json!({"ani": number})).await;
        assert_eq!(found.at("/conversations/0/conversationId"), CALL, "{number}");
        let warned = found.json().get("warnings").is_some();
        assert_eq!(warned, number == "15550100111", "{number}: {}", found.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_without_a_country_code_is_searched_as_given() {
    let app = TestApp::new().start().await;
    let found = app.post(SEARCH, json!({"ani": "(555) 010-0111", "dnis": "+15550100199"})).await;
    assert_eq!(found.at("/conversations"), json!([]));
    let warnings = found.at("/warnings");
    assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");
    let warning = text(&found, "/warnings/0");
    assert!(
        warning.starts_with("`ani` has no country code") && warning.contains("as given"),
        "{warning}"
    );
    assert!(!warning.contains("555 010"), "{warning}");
    let sent = app.simulator.calls().into_iter().find(|call| call.kind == RequestKind::Analytics);
    let query = sent.expect("a query").body.expect("JSON").to_string();
    assert!(query.contains("\"5550100111\""), "{query}");
    let headers = [JSON, ("accept", "text/plain")];
    let shown = app.ask(("POST", SEARCH), &headers, json!({"ani": "5550100111"}).to_string()).await;
    assert!(shown.text.contains("warning: `ani` has no country code"), "{}", shown.text);
}

#[tokio::test(start_paused = true)]
async fn half_a_surrogate_pair_in_a_body_is_told_with_its_key() {
    let app = TestApp::new().start().await;
    let body = r#"{"attributes":{"tier":"gold","note":"canary \ud83d"}}"#;
    let answer = app.put(&attributes_of(CALL), &[], body).await;
    answer.assert_problem(422, "invalid-attributes", "notApplied");
    assert_eq!(answer.at("/errors/0/pointer"), "#/attributes/note");
    assert!(text(&answer, "/detail").contains("half of a surrogate pair"), "{}", answer.text);
    assert!(text(&answer, "/hint").contains("between characters"), "{}", answer.text);
    assert!(!answer.text.contains("canary"), "a value is never repeated");
    let path = format!("{}/note", attributes_of(CALL));
    let answer = app.put(&path, &[], r#"{"value":"\udc00"}"#).await;
    answer.assert_problem(422, "invalid-attributes", "notApplied");
    assert_eq!(answer.at("/errors/0/pointer"), "#/value");
    assert_eq!(app.upstream_calls(), 0);
}

/// A read of the call as upstream shows it, with half an emoji in one value.
fn half(tier: &str) -> FaultAction {
    let body = json!({"id": CALL, "startTime": "2026-01-07T09:30:00.000Z", "participants": [{
        "id": CUSTOMER, "purpose": "customer", "name": "HALF",
        "attributes": {"note": "cut HALF", "tier": tier, "whole": "HALF"},
        "calls": [{"state": "connected"}],
    }]});
    let body = body.to_string().replace("HALF", r"\ud83d");
    FaultAction::Status { code: 200, body: Some(Value::String(body)), retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_half_surrogate_does_not_stop_other_keys() {
    let call = SimulatedCall::new(CALL)
        .customer(CUSTOMER, [("tier", "silver"), ("note", "x"), ("whole", "y")]);
    let app = TestApp::new()
        .without_calls()
        .with_call(call)
        .with_fault(ScriptedFault::on_read(half("silver")).times(4))
        .with_fault(ScriptedFault::on_read(half("gold")))
        .start()
        .await;
    let read = app.read(CALL, "").await;
    read.assert_status(200);
    assert_eq!(read.at("/attributes/note"), "cut \u{fffd}");
    let warning = text(&read, "/warnings/0");
    assert!(warning.contains("`note`, `whole`") && warning.contains("U+FFFD"), "{warning}");
    let one = app.get(&format!("{}/note", attributes_of(CALL))).await;
    assert_eq!(one.at("/value"), "cut \u{fffd}");
    assert!(text(&one, "/warnings/0").contains("`note`"), "{}", one.text);
    let flat = app.read(CALL, "?view=flat&keys=note").await;
    assert_eq!(flat.at("/note"), "cut \u{fffd}");
    assert!(text(&flat, "/message").contains("U+FFFD"), "{}", flat.text);
    let write = app.write(CALL, "", json!({"tier": "gold"})).await;
    write.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert!(text(&write, "/warnings/0").contains("`note`, `whole`"), "{}", write.text);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
}

#[tokio::test(start_paused = true)]
async fn writing_the_shown_text_repairs_a_damaged_value() {
    let app = TestApp::new().with_fault(ScriptedFault::on_read(half("silver"))).start().await;
    let write = app.write(CALL, "", json!({"note": "cut \u{fffd}"})).await;
    write.assert_status(200).assert_outcomes(&[("note", "verified")]);
    assert_eq!(app.patches(), [json!({"attributes": {"note": "cut \u{fffd}"}})]);
}

#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    app.put(&path, &[], format!("\u{feff}{GOOD}")).await.assert_status(200);
    let single = format!("{path}/tier");
    let plain = [("content-type", "text/plain")];
    app.ask(("PUT", &single), &plain, "\u{feff}silver").await.assert_status(200);
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
    for charset in ["utf8", "UTF8", "us-ascii", "\"utf-8\"", "ASCII", "utf_8", "'UTF-8'"] {
        let kind = format!("application/json; charset={charset}");
        let answer = app.ask(("PUT", &path), &[("content-type", &kind)], GOOD).await;
        assert_eq!(answer.status, 200, "{charset}: {}", answer.text);
    }
    let wide: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked: Vec<u8> = [&[0xfe, 0xff], &wide[..]].concat();
    for body in [wide.clone(), marked] {
        let answer = app.put(&path, &[], body).await;
        answer.assert_problem(400, "invalid-json", "notApplied");
        assert!(text(&answer, "/detail").contains("UTF-16"), "{}", answer.text);
        assert!(text(&answer, "/hint").contains("UTF-8"), "{}", answer.text);
    }
    let kind = [("content-type", "application/json; charset=utf-16")];
    let answer = app.ask(("PUT", &path), &kind, wide).await;
    answer.assert_problem(415, "unsupported-media-type", "notApplied");
    assert!(text(&answer, "/detail").contains("`utf-16`"), "{}", answer.text);
    assert!(text(&answer, "/hint").contains("in UTF-8"), "{}", answer.text);
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = app.ask(("PUT", &path), &packed, GOOD).await;
    answer.assert_problem(415, "unsupported-media-type", "notApplied");
    assert!(text(&answer, "/hint").contains("uncompressed"), "{}", answer.text);
    let latin = b"{\"attributes\":{\"tier\":\"M\xfcller\"}}".as_slice();
    let answer = app.put(&path, &[], latin).await;
    assert!(text(&answer, "/detail").contains("Windows-1252"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn every_answer_names_the_participant_that_was_found() {
    let refused = FaultAction::Status { code: 400, body: None, retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(refused)).start().await;
    let path = attributes_of(CALL);
    let agent =
        json!({"id": AGENT, "purpose": "agent", "state": "connected", "chosenBy": "purpose"});
    let large = json!({"attributes": {"k": "x".repeat(11_000)}}).to_string();
    for (method, path, headers, body, code) in [
        ("GET", format!("{path}/nothing?participant=agent"), vec![], "", "attribute-not-found"),
        (
            "PUT",
            format!("{path}?participant=agent"),
            vec![JSON, ("if-match", "\"x\"")],
            GOOD,
            "precondition-failed",
        ),
        (
            "PUT",
            format!("{path}?participant=agent&dryRun=true"),
            vec![JSON, ("if-match", "\"x\"")],
            GOOD,
            "precondition-failed",
        ),
        ("PUT", format!("{path}?participant=agent"), vec![JSON], &large, "attributes-too-large"),
        ("PUT", format!("{path}?participant=agent"), vec![JSON], GOOD, "upstream-rejected"),
    ] {
        let full = app.ask((method, &path), &headers, body.to_owned()).await;
        assert_eq!(full.at("/code"), code, "{}", full.text);
        assert_eq!(full.at("/participant"), agent, "{code}");
        if code == "upstream-rejected" || code == "attributes-too-large" {
            continue;
        }
        let flat = app.ask((method, &format!("{path}&view=flat")), &headers, body.to_owned()).await;
        assert_eq!((flat.at("/code"), flat.at("/participantId")), (json!(code), json!(AGENT)));
    }
    let nobody = app.read(CALL, "?participant=acd").await;
    assert!(nobody.json().get("participant").is_none(), "{}", nobody.text);
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_a_client_may_not_use_is_not_named() {
    let limited = client("limited", "limited-key", "participants = [\"customer\"]");
    let app = TestApp::new().with_clients(&[limited]).start().await;
    let path = format!("{}?participant={AGENT}", attributes_of(CALL));
    let answer = app.ask(("GET", &path), &[shown("limited-key")], "").await;
    answer.assert_problem(403, "participant-not-allowed", "notApplied");
    assert!(answer.json().get("participant").is_none(), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_similar_key_is_suggested_unless_it_is_hidden() {
    let limited = client("limited", "limited-key", "deny = [\"tier\"]");
    let open = client("open", "open-key", "");
    let app = TestApp::new().with_clients(&[limited, open]).start().await;
    for (slip, meant) in [
        ("Tier", Some("tier")),
        ("teir", Some("tier")),
        ("languages", Some("language")),
        ("%20source", Some("source")),
        ("anything", None),
    ] {
        let path = format!("{}/{slip}", attributes_of(CALL));
        let answer = app.ask(("GET", &path), &[shown("open-key")], "").await;
        answer.assert_problem(404, "attribute-not-found", "notApplied");
        let detail = text(&answer, "/detail");
        match meant {
            Some(meant) => {
                assert!(detail.ends_with(&format!("did you mean `{meant}`?")), "{detail}");
            }
            None => assert!(!detail.contains("did you mean"), "{detail}"),
        }
    }
    let path = format!("{}/Tier", attributes_of(CALL));
    let answer = app.ask(("GET", &path), &[shown("limited-key")], "").await;
    answer.assert_problem(404, "attribute-not-found", "notApplied");
    assert!(
        !answer.text.contains("did you mean") && !answer.text.contains("`tier`"),
        "{}",
        answer.text
    );
}

#[tokio::test(start_paused = true)]
async fn long_keys_are_told_whole_or_cut_in_their_middle() {
    let app = TestApp::new().start().await;
    let key = "conversationDetails.participantData.AccountNumber";
    let answer = app.get(&format!("{}/{key}", attributes_of(CALL))).await;
    assert!(text(&answer, "/detail").contains(&format!("`{key}`")), "{}", answer.text);
    let long = |end: &str| format!("{}/{}{end}", attributes_of(CALL), "k".repeat(500));
    let details = [app.get(&long("one")).await, app.get(&long("two")).await]
        .map(|answer| text(&answer, "/detail"));
    assert!(details[0].contains('…') && details[0].contains("one`"), "{}", details[0]);
    assert_ne!(details[0], details[1]);
}

#[tokio::test(start_paused = true)]
async fn one_size_counts_emptied_keys_everywhere() {
    let held = [("a", "1"), ("gone", ""), ("left", "")];
    let bytes = r#"{"a":"1","gone":"","left":""}"#.len();
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, held);
    let app = TestApp::new().without_calls().with_call(call).start().await;
    assert_eq!(app.read(CALL, "").await.at("/size/bytes"), bytes);
    assert_eq!(app.read(CALL, "?keys=a").await.at("/size/bytes"), bytes);
    let write = app.write(CALL, "", json!({"a": "1"})).await;
    assert_eq!(write.at("/size/bytes"), bytes);
    let cleared = app.ask(("DELETE", &format!("{}/a", attributes_of(CALL))), &[], "").await;
    assert_eq!(cleared.at("/size/bytes"), bytes - 1);
    assert_eq!(app.read(CALL, "").await.at("/size/bytes"), bytes - 1);
}

#[tokio::test(start_paused = true)]
async fn a_map_full_of_emptied_keys_is_not_advised_to_clear_them() {
    let names: Vec<_> = (0..10).map(|number| format!("key_{number}_that_was_cleared")).collect();
    let call =
        SimulatedCall::new(CALL).customer(CUSTOMER, names.iter().map(|name| (name.as_str(), "")));
    let app = TestApp::new().with_env("GATEWAY__LIMITS__TOTAL_BYTES", "300");
    let app = app.without_calls().with_call(call).start().await;
    let answer = app.write(CALL, "", json!({"another_key": "a value"})).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!(answer.at("/largest"), json!([{"key": "another_key", "bytes": 23}]));
    let detail = text(&answer, "/detail");
    assert!(detail.contains("10 emptied keys take 270 bytes"), "{detail}");
    let hint = text(&answer, "/hint");
    assert!(hint.contains("emptied") || hint.contains("cleared"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn the_hint_of_a_search_is_about_searching() {
    let app = TestApp::new().start().await;
    for (body, detail, hint) in [
        (json!({"ani": "anonymous"}), "not a telephone number", "+15550100111"),
        (json!({"anni": "1"}), "did you mean `ani`?", "`ani`, `dnis`"),
        (json!({"phone": "1"}), "is not a member", "`ani`, `dnis`"),
        (json!({"state": "ended"}), "has to be `live`", "filter is optional"),
        (json!([]), "has to be an object", "\"ani\""),
    ] {
        let answer = app.post(SEARCH, body).await;
        answer.assert_problem(400, "invalid-json", "notApplied");
        assert!(text(&answer, "/detail").contains(detail), "{}", answer.text);
        assert!(text(&answer, "/hint").contains(hint), "{}", answer.text);
        assert!(!text(&answer, "/hint").contains("attributes"), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_lacks_the_key_says_so() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    for (method, query) in
        [("GET", ""), ("GET", "?view=flat"), ("PUT", ""), ("DELETE", "?view=flat")]
    {
        let answer = app.ask((method, &format!("{path}/{query}")), &[JSON], GOOD).await;
        answer.assert_problem(422, "invalid-attributes", "notApplied");
        assert_eq!(answer.at("/errors/0/pointer"), "key");
        assert!(text(&answer, "/hint").contains("attributes/loyalty_tier"), "{}", answer.text);
    }
    let answer = app.ask(("DELETE", &path), &[], "").await;
    answer.assert_problem(405, "method-not-allowed", "notApplied");
    assert!(text(&answer, "/detail").contains("the path names none"), "{}", answer.text);
    assert!(text(&answer, "/hint").contains("attributes/loyalty_tier"), "{}", answer.text);
    let answer = app.ask(("PATCH", &format!("{path}/tier")), &[JSON], GOOD).await;
    assert!(text(&answer, "/detail").contains("PUT"), "{}", answer.text);
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_over_the_limit_names_the_setting() {
    let app = TestApp::new()
        .with_fault(ScriptedFault::on_read(FaultAction::Oversized { bytes: 3 << 20 }));
    let answer = app.start().await.read(CALL, "").await;
    answer.assert_problem(502, "upstream-invalid-response", "notApplied");
    assert!(text(&answer, "/detail").contains("genesys.max_response_bytes"), "{}", answer.text);
    assert!(text(&answer, "/hint").contains("genesys.max_response_bytes"), "{}", answer.text);
    assert_eq!(answer.at("/retryable"), false, "{}", answer.text);
    assert!(!text(&answer, "/hint").contains("proxy"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn the_served_document_leaves_out_what_is_switched_off() {
    for (enabled, paths) in [("false", false), ("true", true)] {
        let app = TestApp::new().with_env("GATEWAY__DEBUG__ENABLED", enabled).start().await;
        for path in ["/openapi.yaml", "/openapi.json"] {
            let document = app.get(path).await;
            document.assert_status(200);
            assert_eq!(document.text.contains("/v1/debug/echo"), paths, "{path}");
            assert!(document.text.contains("getTrace"), "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_no_seconds_is_ignored_as_the_document_says() {
    let app = TestApp::new().start().await;
    let headers = [JSON, ("prefer", "wait=0")];
    let answer = app.send(
        request("PUT", &attributes_of(CALL))
            .header(headers[0].0, headers[0].1)
            .header(headers[1].0, headers[1].1)
            .body(GOOD.into())
            .expect("a request"),
    );
    let answer = answer.await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(answer.header("preference-applied"), "");
    let document = app.get("/openapi.yaml").await;
    assert!(document.text.contains("0 is ignored"), "it is documented");
}
