//! One attribute by its own path: its forms, its key, its `ETag`, and all the options of a write.

use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{Answer, CALL, CUSTOMER, TestApp, attributes_of, ms};

const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

/// `step` is the key as it stands in the path, and what follows it.
fn path(step: &str) -> String {
    format!("{}/{step}", attributes_of(CALL))
}

async fn get(app: &TestApp, step: &str, headers: &[(&str, &str)]) -> Answer {
    app.ask(("GET", &path(step)), headers, "").await
}

async fn put(app: &TestApp, step: &str, value: &str) -> Answer {
    put_if(app, step, &[], value).await
}

async fn put_if(app: &TestApp, step: &str, headers: &[(&str, &str)], value: &str) -> Answer {
    let body = json!({"value": value}).to_string();
    app.ask(("PUT", &path(step)), &[&[JSON], headers].concat(), body).await
}

async fn delete(app: &TestApp, step: &str, headers: &[(&str, &str)]) -> Answer {
    app.ask(("DELETE", &path(step)), headers, "").await
}

#[tokio::test(start_paused = true)]
async fn one_key_is_read_as_json_or_as_its_bare_value() {
    let app = TestApp::new().start().await;
    let plain = get(&app, "tier", &[]).await;
    assert_eq!(plain.assert_status(200).header("content-type"), "application/json");
    let expected = json!({
        "conversationId": CALL,
        "participant":
            {"id": CUSTOMER, "purpose": "customer", "state": "connected", "chosenBy": "purpose"},
        "key": "tier",
        "value": "silver",
    });
    assert_eq!(plain.json(), expected);
    let bare = get(&app, "tier", &[("accept", "text/plain")]).await;
    assert_eq!(bare.assert_status(200).header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(bare.text, "silver");
    assert_eq!(bare.header("cache-control"), "no-store");
    let liked = [("accept", "text/plain;q=0.3, application/json;q=0.8")];
    assert_eq!(get(&app, "tier", &liked).await.json(), expected);
    let desk = get(&app, "desk?participant=agent", &[("accept", "text/*")]).await;
    assert_eq!(desk.assert_status(200).text, "7");
    assert_eq!(app.upstream_calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn keys_are_exact_and_empty_ones_are_not_found() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    put(&app, "language", "").await.assert_status(200).assert_outcomes(&[("language", "cleared")]);
    for step in ["language", "nothing", "Tier", "tier%20", "%20tier", "tier%00", "desk"] {
        for accept in ["application/json", "text/plain"] {
            let answer = get(&app, step, &[("accept", accept), ("if-none-match", "*")]).await;
            answer.assert_problem(404, "attribute-not-found", "notApplied");
        }
    }
    assert_eq!(get(&app, "nothing", &[]).await.header("etag"), "");
    let elsewhere = format!("{}/tier", attributes_of("5eed0000-0000-4000-8000-00000000ffff"));
    let answer = app.get(&elsewhere).await;
    answer.assert_problem(404, "conversation-not-found", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn any_key_can_be_written_read_and_cleared_by_its_path() {
    let long = "k".repeat(1024);
    let app = TestApp::new().with_budget(100_000).with_lag(ms(10)).start().await;
    for (step, key) in [
        ("a%2Fb", "a/b"),
        ("%2f", "/"),
        ("attributes%2Fattributes%2F", "attributes/attributes/"),
        ("50%25", "50%"),
        ("%252F", "%2F"),
        ("a,b", "a,b"),
        ("a+b", "a+b"),
        ("%20Numero%20%20VIP%20", " Numero  VIP "),
        ("a%3Fb%23c%26d%3De", "a?b#c&d=e"),
        ("%D0%9A%D0%BB%D1%8E%D1%87%F0%9F%98%80", "Ключ😀"),
        ("Ключ", "Ключ"),
        ("%2E%2E", ".."),
        ("..", ".."),
        ("TIER", "TIER"),
        ("%22quoted%22%5C", "\"quoted\"\\"),
        (&long, &long),
    ] {
        put(&app, step, "x").await.assert_status(200).assert_outcomes(&[(key, "verified")]);
        assert_eq!(app.truth(CUSTOMER)[key], "x");
        assert_eq!(get(&app, step, &[]).await.assert_status(200).at("/key"), key);
        let cleared = delete(&app, step, &[]).await;
        cleared.assert_status(200).assert_outcomes(&[(key, "cleared")]);
        assert_eq!(app.truth(CUSTOMER)[key], "");
    }
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
}

#[tokio::test(start_paused = true)]
async fn a_value_comes_as_json_or_as_text_and_is_taken_as_it_is() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let text = " {\"value\": \"gold\"}\r\nÄ\u{1F600}\t$#\n";
    for (declared, body) in [
        (TEXT, text.to_owned()),
        (("content-type", "text/plain;charset=UTF-8"), text.to_owned()),
        (JSON, json!({"value": text}).to_string()),
        (JSON, json!({"key": "note", "value": text}).to_string()),
    ] {
        let answer = app.ask(("PUT", &path("note")), &[declared], body).await;
        answer.assert_status(200).assert_outcomes(&[("note", "verified")]);
        let whole = json!({"language": "en", "note": text, "source": "web", "tier": "silver"});
        assert_eq!(answer.at("/attributes"), whole);
        assert_eq!(app.truth(CUSTOMER)["note"], text);
        assert_eq!(get(&app, "note", &[("accept", "text/plain")]).await.text, text);
        let empty = app.ask(("PUT", &path("note")), &[TEXT], "").await;
        empty.assert_status(200).assert_outcomes(&[("note", "cleared")]);
    }
    let ten_kilobytes = "x".repeat(10_000);
    app.ask(("PUT", &path("n")), &[TEXT], ten_kilobytes).await.assert_status(200);
    let more = app.ask(("PUT", &path("m")), &[TEXT], "x".repeat(300)).await;
    more.assert_problem(422, "attributes-too-large", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn deleting_is_clearing_and_what_is_not_there_needs_no_sending() {
    let app = TestApp::new().reading_first().with_lag(ms(10)).start().await;
    let gone = delete(&app, "nothing", &[]).await;
    gone.assert_status(200).assert_outcomes(&[("nothing", "unchanged")]);
    assert_eq!(app.order(), "R");
    let cleared = delete(&app, "tier", &[]).await;
    cleared.assert_status(200).assert_outcomes(&[("tier", "cleared")]);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": ""}})]);
    // A body, which some clients send along, means nothing.
    let again = app.ask(("DELETE", &path("tier")), &[TEXT], "rubbish").await;
    again.assert_status(200).assert_outcomes(&[("tier", "unchanged")]);
}

#[tokio::test(start_paused = true)]
async fn the_tag_of_a_key_covers_that_key_alone() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let read = get(&app, "tier", &[]).await;
    let tag = read.header("etag").to_owned();
    for other in [app.read(CALL, "").await, app.read(CALL, "?key=tier").await] {
        assert_ne!(tag, other.header("etag"));
    }
    app.write(CALL, "", json!({"language": "de", "new": "1"})).await.assert_status(200);
    let known = get(&app, "tier", &[("if-none-match", &tag)]).await;
    known.assert_status(304);
    assert_eq!((known.header("etag"), known.text.as_str()), (tag.as_str(), ""));
    let bare = [("if-none-match", tag.as_str()), ("accept", "text/plain")];
    get(&app, "tier", &bare).await.assert_status(304);
    assert_eq!(get(&app, "tier", &[("accept", "text/plain")]).await.header("etag"), tag);
    // Another key with the same value has another.
    put(&app, "twin", "silver").await.assert_status(200);
    assert_ne!(get(&app, "twin", &[]).await.header("etag"), tag);
    let written = put(&app, "tier", "gold").await;
    assert_ne!(written.header("etag"), tag);
    assert_eq!(get(&app, "tier", &[]).await.header("etag"), written.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn a_write_of_a_key_checks_the_etag_of_that_key_alone() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let tag = get(&app, "tier", &[]).await.header("etag").to_owned();
    app.write(CALL, "", json!({"language": "de"})).await.assert_status(200);
    let made = put_if(&app, "tier", &[("if-match", &tag)], "gold").await;
    made.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    let late = put_if(&app, "tier", &[("if-match", &tag)], "platinum").await;
    late.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(late.header("etag"), made.header("etag"));
    let stale = delete(&app, "tier", &[("if-match", &tag)]).await;
    stale.assert_problem(412, "precondition-failed", "notApplied");
    let cleared = delete(&app, "tier", &[("if-match", made.header("etag"))]).await;
    cleared.assert_status(200).assert_outcomes(&[("tier", "cleared")]);
    // Nothing is there any more for `*` to match; the tag of its absence still does.
    let nothing = put_if(&app, "tier", &[("if-match", "*")], "x").await;
    nothing.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(nothing.header("etag"), cleared.header("etag"));
    put_if(&app, "tier", &[("if-match", cleared.header("etag"))], "x").await.assert_status(200);
    assert_eq!(app.truth(CUSTOMER)["tier"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_set_only_if_it_is_absent() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let absent = [("if-none-match", "*")];
    put_if(&app, "lock", &absent, "mine").await.assert_status(200);
    let taken = put_if(&app, "lock", &absent, "theirs").await;
    taken.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(taken.header("etag"), get(&app, "lock", &[]).await.header("etag"));
    delete(&app, "lock", &[]).await.assert_status(200);
    let text = [TEXT, ("if-none-match", "*")];
    app.ask(("PUT", &path("lock")), &text, "again").await.assert_status(200);
    assert_eq!(app.truth(CUSTOMER)["lock"], "again");
}

#[tokio::test(start_paused = true)]
async fn of_many_who_want_one_lock_exactly_one_gets_it() {
    let app = TestApp::new().with_lag(ms(120)).start().await;
    let attempts: Vec<_> = (0..12)
        .map(|number| {
            let request = crate::harness::request("PUT", &path("lock"))
                .header("content-type", "text/plain")
                .header("if-none-match", "*")
                .header("prefer", "wait=30");
            let request = request.body(Body::from(number.to_string())).expect("a request");
            tokio::spawn(crate::harness::send(app.router(), request))
        })
        .collect();
    let mut winners = Vec::new();
    for (number, attempt) in attempts.into_iter().enumerate() {
        let answer = attempt.await.expect("no panic");
        match answer.status {
            200 => winners.push(number.to_string()),
            _ => drop(answer.assert_problem(412, "precondition-failed", "notApplied")),
        }
    }
    assert_eq!(winners, [app.truth(CUSTOMER)["lock"].clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_single_key_has_all_the_options_of_a_write() {
    let app = TestApp::new().reading_first().with_lag(ms(10)).start().await;
    let dry = put(&app, "tier?dryRun=true", "gold").await;
    dry.assert_status(200).assert_outcomes(&[("tier", "wouldSend")]);
    assert_eq!((dry.at("/dryRun"), app.order()), (json!(true), "R".to_owned()));
    let dry = delete(&app, "tier?dryRun=true", &[]).await;
    dry.assert_status(200).assert_outcomes(&[("tier", "wouldSend")]);
    let unproved = put(&app, "tier?verify=none", "gold").await;
    unproved.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    assert_eq!(unproved.header("etag"), "");
    let minimal = [("prefer", "return=minimal, wait=7")];
    let agent = put_if(&app, "desk?participant=agent", &minimal, "8").await;
    agent.assert_status(204);
    assert_eq!(agent.header("preference-applied"), "wait=7, return=minimal");
    assert_eq!(delete(&app, "desk?participant=agent", &minimal).await.status, 204);
    assert_eq!(app.truth(crate::harness::AGENT)["desk"], "");
    app.simulator.end_conversation(CALL);
    let ended = put(&app, "tier", "late").await;
    ended.assert_problem(409, "conversation-ended", "notApplied");
    let ended = delete(&app, "source", &[]).await;
    ended.assert_problem(409, "conversation-ended", "notApplied");
    let allowed = delete(&app, "source?allowEnded=true", &[]).await;
    allowed.assert_status(200).assert_outcomes(&[("source", "cleared")]);
    assert_eq!(allowed.at("/warnings").as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn where_conditions_are_required_a_single_key_needs_one_too() {
    let app = TestApp::new().with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true");
    let app = app.with_lag(ms(10)).start().await;
    let refused = put(&app, "tier", "gold").await;
    refused.assert_problem(428, "precondition-required", "notApplied");
    let refused = delete(&app, "tier", &[]).await;
    refused.assert_problem(428, "precondition-required", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
    put_if(&app, "new", &[("if-none-match", "*")], "1").await.assert_status(200);
    delete(&app, "tier", &[("if-match", "*")]).await.assert_status(200);
}

/// A wrong request, and the error that it gets.
type Wrong = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [u8]);

const NO_TEXT: &str = "key is not percent-encoded UTF-8";

const MISTAKES: [(Wrong, u16, &str, &str); 23] = [
    (
        ("PUT", "a%00b", &[TEXT], b"x"),
        422,
        "invalid-attributes",
        "key the key has a control character",
    ),
    (
        ("PUT", "tab%09", &[JSON], b"{"),
        422,
        "invalid-attributes",
        "key the key has a control character",
    ),
    (
        ("DELETE", "%C2%85", &[], b""),
        422,
        "invalid-attributes",
        "key the key has a control character",
    ),
    (("GET", "%ff", &[], b""), 422, "invalid-attributes", NO_TEXT),
    (("GET", "50%", &[], b""), 422, "invalid-attributes", NO_TEXT),
    (("PUT", "%zz", &[TEXT], b"x"), 422, "invalid-attributes", NO_TEXT),
    (("DELETE", "a%2", &[], b""), 422, "invalid-attributes", NO_TEXT),
    (
        ("PUT", "a", &[TEXT], b"a\xff"),
        422,
        "invalid-attributes",
        "# the body is not UTF-8, from byte 1 on; it may be in Windows-1252 or ISO-8859-1: send it as UTF-8",
    ),
    (
        ("PUT", "a", &[JSON], b"{\"value\":\"\xff\"}"),
        400,
        "invalid-json",
        "# the body is not UTF-8, from byte 10 on; it may be in Windows-1252 or ISO-8859-1: send it as UTF-8",
    ),
    (("PUT", "a", &[JSON], b""), 400, "invalid-json", "# the body is empty"),
    (("PUT", "a", &[JSON], b"{}"), 422, "invalid-attributes", "#/value is missing"),
    (
        ("PUT", "a", &[JSON], br#"{"value":null}"#),
        422,
        "invalid-attributes",
        r#"#/value is null; it has to be a string; send "", or DELETE, to clear it"#,
    ),
    (
        ("PUT", "a", &[JSON], br#"{"key":"b","value":"x"}"#),
        422,
        "invalid-attributes",
        "#/key is not the key that the path names",
    ),
    (("PUT", "a", &[], b"x"), 415, "unsupported-media-type", ""),
    (
        ("PUT", "a", &[("content-type", "text/plain; charset=latin1")], b"x"),
        415,
        "unsupported-media-type",
        "",
    ),
    (
        ("PUT", "a", &[("content-type", "application/merge-patch+json")], b"{}"),
        415,
        "unsupported-media-type",
        "",
    ),
    (("GET", "a", &[("accept", "text/html")], b""), 406, "not-acceptable", ""),
    (("DELETE", "a", &[("accept", "text/plain")], b""), 406, "not-acceptable", ""),
    (
        ("GET", "a?participant=all", &[], b""),
        400,
        "invalid-participant",
        "participant `all` does not name one participant; this request needs one",
    ),
    (
        ("GET", "a?keys=b", &[], b""),
        400,
        "invalid-query",
        "keys is not a parameter of this request, which takes `participant`, `view`, `format`",
    ),
    (
        ("PUT", "a?dryrun=true", &[TEXT], b"x"),
        400,
        "invalid-query",
        "dryrun is not a parameter of this request; did you mean `dryRun`?",
    ),
    (("DELETE", "a?verify=no", &[], b""), 400, "invalid-query", "verify has to be `none`"),
    (("DELETE", "a/b", &[], b""), 404, "not-found", ""),
];

#[tokio::test(start_paused = true)]
async fn an_invalid_request_for_one_key_is_refused_unsent() {
    let app = TestApp::new().start().await;
    for ((method, step, headers, body), status, code, expected) in MISTAKES {
        let answer = app.ask((method, &path(step)), headers, body).await;
        assert_eq!(answer.status, status, "{method} {step}: {}", answer.text);
        answer.assert_problem(status, code, "notApplied");
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        let said = |error: &Value| {
            let part = |name: &str| error[name].as_str().expect("text").to_owned();
            format!("{} {}", part("pointer"), part("detail"))
        };
        let said: Vec<_> = errors.iter().map(said).collect();
        assert_eq!(said.join("; "), expected, "{method} {step}");
    }
    let empty = app.ask(("PUT", &path("")), &[TEXT], "x").await;
    empty.assert_problem(422, "invalid-attributes", "notApplied");
    let long = app.ask(("PUT", &path("a")), &[TEXT], "x".repeat(65_537)).await;
    long.assert_problem(413, "body-too-large", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
}
