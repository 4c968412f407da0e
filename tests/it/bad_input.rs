//! What clients get wrong: a clear 4xx that lists every mistake, and nothing sent upstream.

use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::harness::{Answer, CALL, TestApp, attributes_of, client, request, shown};

/// A pointer, and the reason it gets.
type Mistakes = &'static [(&'static str, &'static str)];

const JSON: (&str, &str) = ("content-type", "application/json");
const GOOD: &str = r#"{"attributes":{"tier":"gold"}}"#;
const NO_UUID: Mistakes = &[("conversationId", "is not a UUID of the form 8-4-4-4-12")];

/// Asserts a problem that names exactly these mistakes, and that upstream heard nothing.
#[track_caller]
fn refused(app: &TestApp, what: &str, answer: &Answer, expected: (u16, &str), mistakes: Mistakes) {
    assert_eq!(answer.status, expected.0, "{what}: {}", answer.text);
    answer.assert_problem(expected.0, expected.1, "notApplied");
    let listed =
        mistakes.iter().map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}));
    let listed: Vec<Value> = listed.collect();
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    assert_eq!(errors, listed, "{what}");
    assert_eq!(answer.json()["correlationId"], Value::Null, "{what}");
    assert_eq!(app.upstream_calls(), 0, "{what}");
}

fn write(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let fold =
        |request: http::request::Builder, header: &(&str, &str)| request.header(header.0, header.1);
    headers.iter().fold(request("PUT", path), fold).body(body.into()).expect("a request")
}

const NO_JSON: [(&[u8], Mistakes); 9] = [
    (b"", &[("#", "the body is empty")]),
    (b"{", &[("#", "EOF while parsing an object at line 1 column 1")]),
    (b"attributes", &[("#", "expected value at line 1 column 1")]),
    (br#"{"attributes":{"a":"1"}} {}"#, &[("#", "trailing characters at line 1 column 26")]),
    (br#"{"attributes":{"a":"1",}}"#, &[("#", "trailing comma at line 1 column 24")]),
    (br#"{"attributes":{'a':'1'}}"#, &[("#", "key must be a string at line 1 column 16")]),
    (
        br#"{"attributes":{"a":"\u12"}}"#,
        &[("#/attributes/a", "invalid escape at line 1 column 26")],
    ),
    (
        b"{\"attributes\":{\"a\":\"\x01\"}}",
        &[(
            "#/attributes/a",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 21",
        )],
    ),
    (
        b"{\"attributes\":{\"a\":\"\xff\"}}",
        &[(
            "#",
            "the body is not UTF-8, from byte 20 on; it may be in Windows-1252 or ISO-8859-1: send it as UTF-8",
        )],
    ),
];

const NO_ATTRIBUTES: [(&str, Mistakes); 17] = [
    ("[1]", &[("#", "the body is an array; it has to be an object")]),
    ("null", &[("#", "the body is null; it has to be an object")]),
    ("{}", &[("#/attributes", "is missing")]),
    (r#"{"attributes":null}"#, &[("#/attributes", "is null; it has to be an object of strings")]),
    (
        r#"{"attributes":"a=1"}"#,
        &[("#/attributes", "is a string; it has to be an object of strings")],
    ),
    (
        r#"{"attributes":{}}"#,
        &[("#/attributes", "is empty; name at least one key, as in {\"key\": \"value\"}")],
    ),
    (
        r#"{"attributesJson":"{}"}"#,
        &[("#/attributesJson", "is empty; name at least one key, as in {\"key\": \"value\"}")],
    ),
    (r#"{"attributes":{"":"x"}}"#, &[("#/attributes/", "the key is empty")]),
    (
        r#"{"attributes":{"a\u0000b":"x","tab\t":"x","del\u007f":"x","c1\u0085":"x"}}"#,
        &[
            ("#/attributes/a%00b", "the key has a control character"),
            ("#/attributes/tab%09", "the key has a control character"),
            ("#/attributes/del%7F", "the key has a control character"),
            ("#/attributes/c1%C2%85", "the key has a control character"),
        ],
    ),
    (
        r#"{"attributes":{"n":1.5,"b":true,"z":null,"l":["x"],"o":{"x":"y"},"a/b~c d":-7}}"#,
        &[
            ("#/attributes/n", "the value is a number; it has to be a string"),
            ("#/attributes/b", "the value is a boolean; it has to be a string"),
            (
                "#/attributes/z",
                "the value is null; it has to be a string; send \"\" to clear a key",
            ),
            ("#/attributes/l", "the value is an array; it has to be a string"),
            ("#/attributes/o", "the value is an object; it has to be a string"),
            ("#/attributes/a~1b~0c%20d", "the value is a number; it has to be a string"),
        ],
    ),
    (
        r#"{"attributes":{"a":"1","b":"2","a":"1","b":3}}"#,
        &[
            ("#/attributes/a", "the key appears more than once"),
            ("#/attributes/b", "the key appears more than once"),
            ("#/attributes/b", "the value is a number; it has to be a string"),
        ],
    ),
    (
        r#"{"attributes":{"a":"1"},"attributes":{"b":"2"}}"#,
        &[("#/attributes", "appears more than once")],
    ),
    (
        r#"{"attributes":{"a":"1"},"tier":"gold","view":1}"#,
        &[
            ("#/tier", "is not a member of this request; put attributes into `attributes`"),
            (
                "#/view",
                "is not a member of this request; it belongs in the query: `?view=flat&keys=…`",
            ),
        ],
    ),
    (
        r#"{"attributes":{"a":"1"},"attributesJson":"{\"a\":\"1\"}"}"#,
        &[("#/attributesJson", "is sent together with `attributes`; send one of the two")],
    ),
    (
        r#"{"attributesJson":{"a":"1"}}"#,
        &[("#/attributesJson", "is an object; it has to be a string that holds a JSON object")],
    ),
    (
        r#"{"attributesJson":"{"}"#,
        &[(
            "#/attributesJson",
            "is not valid JSON: EOF while parsing an object at line 1 column 1",
        )],
    ),
    (
        r#"{"attributesJson":"{\"a\":1,\"a\":\"2\"}"}"#,
        &[
            ("#/attributes/a", "the value is a number; it has to be a string"),
            ("#/attributes/a", "the key appears more than once"),
        ],
    ),
];

#[tokio::test(start_paused = true)]
async fn every_mistake_in_a_body_is_listed_and_nothing_is_sent() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    for (body, mistakes) in NO_JSON {
        let what = String::from_utf8_lossy(body);
        let answer = app.put(&path, &[], body).await;
        refused(&app, &what, &answer, (400, "invalid-json"), mistakes);
    }
    for (body, mistakes) in NO_ATTRIBUTES {
        let answer = app.put(&path, &[], body).await;
        refused(&app, body, &answer, (422, "invalid-attributes"), mistakes);
    }
    let deep = format!(r#"{{"attributes":{{"a":{}}}}}"#, "[".repeat(10_000));
    let answer = app.put(&path, &[], deep).await;
    refused(
        &app,
        "deep",
        &answer,
        (400, "invalid-json"),
        &[("#/attributes/a", "recursion limit exceeded at line 1 column 145")],
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_with_or_without_length() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    let mebibyte = format!(r#"{{"attributes":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    let length = mebibyte.len().to_string();
    let just_over = format!("{GOOD}{}", " ".repeat(65_536 - GOOD.len() + 1));
    let chunked = Body::new(Full::from(mebibyte.clone()).map_frame(|frame| frame));
    let requests = [
        ("1 MiB, declared", write(&path, &[JSON, ("content-length", &length)], mebibyte)),
        ("1 MiB, chunked", write(&path, &[JSON], chunked)),
        ("one byte over", write(&path, &[JSON], just_over)),
        ("declared alone", write(&path, &[JSON, ("content-length", "18446744073709551615")], GOOD)),
    ];
    for (what, request) in requests {
        let answer = app.send(request).await;
        refused(&app, what, &answer, (413, "body-too-large"), &[]);
        assert_eq!(answer.at("/detail"), "the body is longer than 65536 bytes");
        assert_eq!(answer.header("connection"), "close", "the rest is not read");
    }
    let fits = format!("{GOOD}{}", " ".repeat(65_536 - GOOD.len()));
    app.put(&path, &[], fits).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_no_uuid_is_refused_in_every_encoding() {
    let app = TestApp::new().start().await;
    for step in [
        "nope",
        "5eed0000-0000-4000-8000-00000000000",
        "5eed000000004000800000000000000001",
        "%7B5eed0000-0000-4000-8000-000000000001%7D",
        "urn:uuid:5eed0000-0000-4000-8000-000000000001",
        "5eed0000-0000-4000-8000-000000000001%20",
        "5eed0000-0000-4000-8000-000000000001%2Fattributes",
        "5eed0000-0000-4000-8000-000000000001%00",
        "..%2F..%2Foauth%2Ftoken",
        "..",
        "%2e%2e",
        ".",
        "%",
        "%ff",
        "%C3%A9",
        "",
    ] {
        for method in ["GET", "PUT"] {
            let request = request(method, &attributes_of(step)).header(JSON.0, JSON.1);
            let answer = app.send(request.body(GOOD.into()).expect("a request")).await;
            refused(&app, step, &answer, (400, "invalid-conversation-id"), NO_UUID);
        }
    }
}

const QUERIES: [(&str, &str, &str, Mistakes); 15] = [
    (
        "GET",
        "participant=..%2F..%2Foauth",
        "invalid-participant",
        &[(
            "participant",
            "`../../oauth` is not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`",
        )],
    ),
    (
        "GET",
        "participant=agent%3Asecond",
        "invalid-participant",
        &[(
            "participant",
            "`agent:second` is not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`",
        )],
    ),
    ("GET", "participant=", "invalid-participant", &[("participant", "has no value")]),
    (
        "GET",
        "participant=agent&participant=acd",
        "invalid-participant",
        &[("participant", "is given more than once")],
    ),
    (
        "PUT",
        "participant=all",
        "invalid-participant",
        &[("participant", "`all` does not name one participant; this request needs one")],
    ),
    ("GET", "keys=a&keys=b", "invalid-query", &[("keys", "is given more than once")]),
    ("GET", "keys=a,,b", "invalid-query", &[("keys", "names an empty key")]),
    ("GET", "key=", "invalid-query", &[("key", "has no value")]),
    (
        "GET",
        "key=%zz&key=%ff",
        "invalid-query",
        &[("key", "is not percent-encoded UTF-8"), ("key", "is not percent-encoded UTF-8")],
    ),
    (
        "GET",
        "verify=none",
        "invalid-query",
        &[(
            "verify",
            "is not a parameter of this request, which takes `participant`, `view`, `format`, `keys`, `key`",
        )],
    ),
    (
        "PUT",
        "kyes=a&dryRun=True",
        "invalid-query",
        &[
            ("kyes", "is not a parameter of this request; did you mean `keys`?"),
            ("dryRun", "has to be `true` or `false`, in lower case"),
        ],
    ),
    ("PUT", "keys=a,", "invalid-query", &[("keys", "names an empty key")]),
    (
        "PUT",
        "dryrun=true",
        "invalid-query",
        &[("dryrun", "is not a parameter of this request; did you mean `dryRun`?")],
    ),
    (
        "PUT",
        "verify=all&dryRun=yes&allowEnded=1",
        "invalid-query",
        &[
            ("verify", "has to be `none`"),
            ("dryRun", "has to be `true` or `false`"),
            ("allowEnded", "has to be `true` or `false`"),
        ],
    ),
    (
        "PUT",
        "participant=a%20b&dryRun=true&dryRun=true&x=1",
        "invalid-query",
        &[
            (
                "x",
                "is not a parameter of this request, which takes `participant`, `verify`, `dryRun`, `allowEnded`, `view`, `keys`, `key`",
            ),
            (
                "participant",
                "`a b` is not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`",
            ),
            ("dryRun", "is given more than once"),
        ],
    ),
];

#[tokio::test(start_paused = true)]
async fn unknown_doubled_and_unusable_parameters_are_all_listed() {
    let app = TestApp::new().start().await;
    for (method, query, code, mistakes) in QUERIES {
        let path = format!("{}?{query}", attributes_of(CALL));
        let request = request(method, &path).header(JSON.0, JSON.1);
        let answer = app.send(request.body(GOOD.into()).expect("a request")).await;
        refused(&app, query, &answer, (400, code), mistakes);
        assert_eq!(answer.at("/instance"), attributes_of(CALL));
    }
}

const CONDITIONAL: &str =
    "is neither `*` nor a list of entity tags in quotes, as the ETag header has them";

/// Headers of a write, the status and code that they are answered with, and what is listed.
type BadHeaders = (&'static [(&'static str, &'static str)], (u16, &'static str), Mistakes);

const UNSUPPORTED: (u16, &str) = (415, "unsupported-media-type");

const HEADERS: [BadHeaders; 13] = [
    (&[], UNSUPPORTED, &[]),
    (&[("content-type", "text/plain")], UNSUPPORTED, &[]),
    (&[("content-type", "application/x-www-form-urlencoded")], UNSUPPORTED, &[]),
    (&[("content-type", "application/merge-patch+json")], UNSUPPORTED, &[]),
    (&[("content-type", "application/json; charset=latin1")], UNSUPPORTED, &[]),
    (&[JSON, JSON], UNSUPPORTED, &[]),
    (&[JSON, ("content-encoding", "gzip")], UNSUPPORTED, &[]),
    (&[JSON, ("accept", "text/html")], (406, "not-acceptable"), &[]),
    (&[JSON, ("accept", "application/json;q=0, */*")], (406, "not-acceptable"), &[]),
    (&[JSON, ("accept", "application/xml, text/*")], (406, "not-acceptable"), &[]),
    (&[JSON, ("if-match", "x")], (400, "invalid-header"), &[("If-Match", CONDITIONAL)]),
    (&[JSON, ("if-none-match", "")], (400, "invalid-header"), &[("If-None-Match", CONDITIONAL)]),
    (
        &[JSON, ("if-none-match", "*, \"a\""), ("if-match", "W/x")],
        (400, "invalid-header"),
        &[("If-Match", CONDITIONAL), ("If-None-Match", CONDITIONAL)],
    ),
];

#[tokio::test(start_paused = true)]
async fn headers_that_cannot_be_honoured_are_refused() {
    let app = TestApp::new().start().await;
    for (headers, expected, mistakes) in HEADERS {
        let answer = app.send(write(&attributes_of(CALL), headers, GOOD)).await;
        refused(&app, &format!("{headers:?}"), &answer, expected, mistakes);
    }
    let read = request("GET", &attributes_of(CALL)).header("accept", "text/html");
    let answer = app.send(read.body(Body::empty()).expect("a request")).await;
    refused(&app, "a read", &answer, (406, "not-acceptable"), &[]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_method_lists_the_allowed_ones() {
    let app = TestApp::new().start().await;
    let attributes = attributes_of(CALL);
    let call = format!("/v1/conversations/{CALL}");
    for path in [
        "/v1",
        "/v1/conversations/",
        &format!("{call}/Attributes"),
        &format!("{call}/x/../attributes"),
        &format!("/V1/conversations/{CALL}/attributes"),
        "/problems/nothing",
        "/__sim/ledger",
        "/oauth/token",
        "/api/v2/conversations",
    ] {
        let answer = app.get(path).await;
        refused(&app, path, &answer, (404, "not-found"), &[]);
    }
    for (path, methods, allow) in [
        (attributes.as_str(), ["POST", "DELETE", "OPTIONS", "BREW"], "GET,HEAD,PUT,PATCH"),
        (
            &format!("{attributes}/tier"),
            ["POST", "PATCH", "OPTIONS", "BREW"],
            "GET,HEAD,PUT,DELETE",
        ),
        ("/readyz", ["PUT", "POST", "DELETE", "TRACE"], "GET,HEAD"),
    ] {
        for method in methods {
            let answer =
                app.send(request(method, path).body(GOOD.into()).expect("a request")).await;
            refused(&app, method, &answer, (405, "method-not-allowed"), &[]);
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_thousands_of_violations_a_hundred_are_listed() {
    let app = TestApp::new().start().await;
    let path = attributes_of(CALL);
    let query = "a&".repeat(32_000);
    let numbers: Vec<_> = (0..5_000).map(|number| format!("\"k{number}\":1")).collect();
    let numbers = format!(r#"{{"attributes":{{{}}}}}"#, numbers.join(","));
    let members: Vec<_> = (0..5_000).map(|number| format!("\"k{number}\":1")).collect();
    let members = format!("{{{}}}", members.join(","));
    let long = format!(r#"{{"attributes":{{"{}":1}}}}"#, "é".repeat(30_000));
    let single = format!("{path}/tier");
    let search = "/v1/conversations/search";
    for (method, path, body, left_out) in [
        ("GET", format!("{path}?{query}"), "", 31_900),
        ("PUT", path.clone(), &numbers, 4_900),
        ("PUT", path.clone(), &members, 4_900),
        ("PUT", single, &members, 4_900),
        ("POST", search.to_owned(), &members, 4_900),
        ("PUT", path, &long, 0),
    ] {
        let answer = app.ask((method, &path), &[JSON], body.to_owned()).await;
        assert!(matches!(answer.status, 400 | 422), "{}", answer.text);
        assert!(answer.text.len() < 32_000, "{method} {path}: {}", answer.text.len());
        let listed = answer.at("/errors").as_array().expect("a list").len();
        let more = answer.json()["errorsLeftOut"].as_u64().unwrap_or_default();
        let detail = answer.at("/detail").as_str().expect("a sentence").to_owned();
        if left_out == 0 {
            assert_eq!((listed, more), (1, 0), "{detail}");
        } else {
            assert_eq!((listed, more), (100, left_out), "{detail}");
            assert!(detail.ends_with(&format!("(and {} more)", left_out + 99)), "{detail}");
        }
    }
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_allowed_are_told_up_to_a_hundred_as_well() {
    let limited = client("limited", "limited-key", "allow = [\"tier\"]");
    let app = TestApp::new().with_clients(&[limited]).start().await;
    let keys: serde_json::Map<_, _> =
        (0..2_000).map(|number| (format!("k{number}"), "v".into())).collect();
    let body = serde_json::json!({ "attributes": keys }).to_string();
    let headers = [JSON, shown("limited-key")];
    let answer = app.ask(("PUT", &attributes_of(CALL)), &headers, body).await;
    answer.assert_problem(403, "attribute-not-allowed", "notApplied");
    assert_eq!(answer.at("/errors").as_array().map(Vec::len), Some(100));
    assert_eq!(answer.at("/errorsLeftOut"), 1_900);
}
