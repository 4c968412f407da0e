//! What people see: tables in a terminal, and pages.

use attribute_gateway::error::ErrorCode;
use genesys_simulator::{NO_ATTRIBUTES, SimulatedCall};
use serde_json::Value;

use crate::harness::{AGENT, Answer, CALL, CUSTOMER, IVR, TestApp, attributes_of};

const LIST: &str = "/v1/conversations";
const TEXT: &str = "text/plain; charset=utf-8";

#[track_caller]
fn text(answer: &Answer) -> &str {
    answer.assert_status(200);
    assert_eq!(answer.header("content-type"), TEXT, "{}", answer.text);
    &answer.text
}

#[tokio::test(start_paused = true)]
async fn attributes_are_an_aligned_table_whatever_is_in_them() {
    let attributes = [
        ("tier", "gold"),
        ("Größe", "日本語"),
        ("日本", "x"),
        ("note", "one\ntwo\u{1b}[31m\u{202e}"),
        ("empty", ""),
    ];
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, attributes).ivr(IVR, NO_ATTRIBUTES);
    let app = TestApp::new().without_calls().with_call(call).start().await;
    let by_format = app.read(CALL, "?format=text").await;
    let by_accept = app.get_as("text/plain", &attributes_of(CALL)).await;
    let size = app.read(CALL, "").await.at("/size/bytes");
    let expected = format!(
        "conversation  {CALL}\n\
         participant   {CUSTOMER}\n\
         {:14}customer, connected, chosen by purpose\n\
         size          {size} of 10240 bytes\n\
         \n\
         KEY    VALUE\n\
         Größe  日本語\n\
         note   one\\ntwo\\u{{1b}}[31m\\u{{202e}}\n\
         tier   gold\n\
         日本   x\n",
        ""
    );
    assert_eq!(text(&by_format), expected);
    assert_eq!(text(&by_accept), expected);
    let json = app.read(CALL, "?format=json").await;
    assert_eq!(by_accept.header("etag"), json.header("etag"));
    let all = app.read(CALL, "?participant=all&format=text&key=tier").await;
    assert!(text(&all).contains("tier  gold\n") && all.text.ends_with("(no attributes)\n"));
    assert!(!all.text.contains("note"), "{}", all.text);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_a_table_with_a_line_a_participant() {
    let app = TestApp::new().start().await;
    let path = format!("{LIST}/{CALL}");
    let seen = app.get(&path).await.json();
    let answer = app.get_as("text/plain", &path).await;
    let time = |pointer: &str| seen.pointer(pointer).and_then(Value::as_str).expect(pointer);
    let (began, left) = (time("/startTime"), time("/participants/1/endTime"));
    let expected = format!(
        "conversation  {CALL}\nstate         live\nbegan         {began}\nended         -\n\n\
         PURPOSE   STATE       ATTRIBUTES  ID                                    JOINED                    LEFT                      NAME  SELECTORS\n\
         customer  connected   3           {CUSTOMER}  {began}  -                         -     customer first\n\
         ivr       terminated  1           {IVR}  {began}  {left}  -     ivr\n\
         agent     connected   1           {AGENT}  {began}  -                         -     agent\n"
    );
    assert_eq!(text(&answer), expected);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_a_table_that_tells_how_to_go_on() {
    let other = SimulatedCall::new("5eed0000-0000-4000-8000-000000000002");
    let other =
        other.customer(CUSTOMER, NO_ATTRIBUTES).started_ago(std::time::Duration::from_secs(400));
    let app = TestApp::new().with_call(other).start().await;
    let json = app.get(&format!("{LIST}?limit=1")).await.json();
    let (began, cursor) = (&json["conversations"][0]["startTime"], &json["nextCursor"]);
    let (began, cursor) = (began.as_str().expect("a time"), cursor.as_str().expect("a cursor"));
    let answer = app.get(&format!("{LIST}?limit=1&format=text")).await;
    let expected = format!(
        "CONVERSATION                          BEGAN                     DIRECTION  PARTICIPANTS\n\
         {CALL}  {began}  inbound    customer {CUSTOMER}, ivr {IVR}, agent {AGENT}\n\
         \nThere are more: cursor={cursor}\n"
    );
    assert_eq!(text(&answer), expected);
    let none = app.get(&format!("{LIST}?direction=outbound&format=text")).await;
    assert_eq!(text(&none), "(no conversations)\n");
}

#[tokio::test(start_paused = true)]
async fn the_root_names_the_service_its_version_and_where_to_look() {
    let app = TestApp::new().start().await;
    let answer = app.get("/").await;
    let json = answer.assert_status(200).json();
    assert_eq!(
        (&json["service"], &json["version"]),
        (&"attribute-gateway".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let page = app.get_as("text/plain", "/").await;
    assert!(text(&page).starts_with(concat!(
        "attribute-gateway ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    )));
    for place in ["conversations", "docs", "openapi", "readiness", "metrics"] {
        let path = json[place].as_str().expect("a path");
        app.get(path).await.assert_status(200);
        assert!(page.text.contains(path), "{path}");
    }
    app.get("/?x=1").await.assert_problem(400, "invalid-query", "notApplied");
    app.get_as("image/png", "/").await.assert_problem(406, "not-acceptable", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn every_error_has_a_page_as_text_and_as_html_that_runs_nothing() {
    let app = TestApp::new().start().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for code in ErrorCode::ALL {
        let path = format!("/problems/{}", code.as_str());
        let plain = app.get_as("*/*", &path).await;
        assert!(text(&plain).contains(code.cause()) && plain.text.contains(code.hint()));
        let html = app.get_as(browser, &path).await;
        assert_eq!(html.assert_status(200).header("content-type"), "text/html; charset=utf-8");
        assert!(html.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(html.text.contains(&format!("<h1>{}</h1>", code.title())), "{}", html.text);
        assert!(html.text.contains("<h2>What to do</h2>"));
    }
    app.get_as(browser, "/problems/nope").await.assert_problem(404, "not-found", "notApplied");
}

/// The operations of the document whose good answers have several forms: method and path.
fn negotiated(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let forms = operation["responses"]["200"]["content"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            // The files of a page have a form each, and no choice.
            if forms > 1 && path != "/docs/{file}" {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn every_answer_whose_form_depends_on_what_is_accepted_says_so() {
    let app = TestApp::new().start().await;
    let document = app.get("/openapi.json").await.json();
    let operations = negotiated(&document);
    assert_eq!(operations.len(), 7, "{operations:?}");
    for (method, path) in &operations {
        let path = path.replace("{conversationId}", CALL).replace("{key}", "tier");
        let path = path.replace("{code}", "internal");
        let ask = async |query: &str, header: (&str, &str)| {
            let headers = [header, ("content-type", "application/json")];
            let body = if method == "POST" { "{}" } else { "" };
            app.ask((method, &format!("{path}{query}")), &headers, body).await
        };
        let good = ask("", ("accept", "text/plain")).await;
        assert!(varies_by_accept(good.assert_status(200)), "{path}");
        for header in [("if-none-match", good.header("etag")), ("accept", "image/png")] {
            assert!(varies_by_accept(&ask("", header).await), "{path}: {header:?}");
        }
        assert!(varies_by_accept(&ask("?x=1", ("accept", "*/*")).await), "{path}");
    }
    for path in ["/livez", "/readyz", "/docs", "/docs/start.js", "/openapi.json", "/metrics"] {
        assert!(!varies_by_accept(&app.get_as("text/plain", path).await), "{path}");
    }
    let write = app.write(CALL, "", serde_json::json!({"tier": "gold"})).await;
    assert!(!varies_by_accept(&write), "writes are answered in one form");
}

fn varies_by_accept(answer: &Answer) -> bool {
    answer.headers.get_all("vary").iter().any(|name| name == "accept")
}

#[tokio::test(start_paused = true)]
async fn documents_and_lists_are_compressed_on_request() {
    let app = TestApp::new().start().await;
    for (path, is_compressed) in [
        ("/openapi.json", true),
        ("/openapi.yaml", true),
        ("/v1/conversations", true),
        (attributes_of(CALL).as_str(), false),
    ] {
        let plain = app.get(path).await;
        let packed = app.ask(("GET", path), &[("accept-encoding", "gzip")], "").await;
        let expected = if is_compressed { "gzip" } else { "" };
        assert_eq!(packed.assert_status(200).header("content-encoding"), expected, "{path}");
        assert_eq!(plain.assert_status(200).header("content-encoding"), "", "{path}");
        assert_eq!(
            plain.headers.get_all("vary").iter().any(|name| name == "accept-encoding"),
            is_compressed
        );
        assert_eq!((plain.header("etag"), &plain.text), (packed.header("etag"), &packed.text));
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_lists_its_checks_only_on_request() {
    let app = TestApp::new().start().await;
    for query in ["?verbose", "?verbose=", "?verbose=true", "?verbose=1", "?&%76erbose&"] {
        assert!(app.get(&format!("/readyz{query}")).await.text.contains("token: ok"), "{query}");
    }
    for query in ["", "?", "?verbose=false", "?verbose=0"] {
        assert_eq!(app.get(&format!("/readyz{query}")).await.text, "ready\n", "{query}");
    }
    for (query, detail) in [
        ("?verbosely", "is not a parameter of this request; did you mean `verbose`?"),
        ("?Verbose", "is not a parameter of this request; did you mean `verbose`?"),
        ("?x=1", "is not a parameter of this request, which takes `verbose`"),
        ("?verbose=yes", "has to be `true` or `false`, or without a value"),
        ("?verbose&verbose", "is given more than once"),
    ] {
        let answer = app.get(&format!("/readyz{query}")).await;
        answer.assert_problem(400, "invalid-query", "notApplied");
        assert_eq!(answer.at("/errors/0/detail"), detail, "{query}");
    }
}
