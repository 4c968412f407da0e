//! What Genesys Cloud answers, or whatever stands in its place: tokens, conversations, participants,
//! lists, errors, `Retry-After` and the headers of the rate limit.
//!
//! An input is a list of answers: a first line such as `read 200` (or `patch`, `token`, `query`), a
//! header a line, an empty line, the body; `----` on a line of its own parts them. Each is given to the
//! next request of its kind, the last one to all further ones; where there is none, a sound one is.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Asked;
use http::{HeaderName, HeaderValue, Method, Response};

use super::service::{CALL, Fuzzed, Shared, head_and_body, header, paused, request};

/// A value of ours, which upstream may repeat, and we may not.
const SENT: &str = "canary-sent-8d31";

const PARTS: &[u8] = b"\n----\n";

const TOKEN: &str = r#"{"access_token":"t","token_type":"bearer","expires_in":86400}"#;
const CONVERSATION: &str = r#"{"id":"5eed0000-0000-4000-8000-000000000001","participants":[{"id":"5eed0000-0000-4000-8000-0000000000c1","purpose":"customer","attributes":{"tier":"silver"},"calls":[{"state":"connected"}]}]}"#;
const LIST: &str = r#"{"conversations":[],"totalHits":0}"#;

type Answers = BTreeMap<&'static str, Vec<(u16, Vec<Header>, Vec<u8>)>>;
type Header = (HeaderName, HeaderValue);

/// Lets a service over such a platform read, write and list.
pub fn run(input: &[u8]) {
    let mut answers = Answers::new();
    for part in split(input) {
        let (head, body) = head_and_body(part);
        let Some((kind, status)) = head.first().and_then(|line| kind_and_status(line)) else {
            continue;
        };
        let headers =
            head[1..].iter().filter_map(|line| header(line)).filter_map(|(name, value)| {
                Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
            });
        // The token endpoint is never sent a value, and cannot repeat one.
        if kind == "token" && holds_sent(body) {
            continue;
        }
        answers.entry(kind).or_default().push((status, headers.collect(), body.to_vec()));
    }
    for list in answers.values_mut() {
        list.reverse();
    }
    paused(ask(answers));
}

async fn ask(answers: Answers) {
    let answers = Shared::new(answers.into());
    let platform = Router::new().fallback(move |asked: Asked| {
        let answer = answer(&asked, &mut answers.lock().expect("nobody panics with it"));
        async { answer }
    });
    let fuzzed = Fuzzed::over(platform, "info");
    let path = format!("/v1/conversations/{CALL}/attributes");
    let write = format!(r#"{{"attributes":{{"note":"{SENT}","tier":""}}}}"#);
    let json: (&[u8], &[u8]) = (b"content-type", b"application/json");
    let wait: (&[u8], &[u8]) = (b"prefer", b"wait=2");
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PUT", path.clone(), write.as_str()),
        ("GET", format!("/v1/conversations/{CALL}?format=text"), ""),
        ("GET", "/v1/conversations?limit=5".to_owned(), ""),
        ("PUT", format!("{path}?view=flat&key=note"), write.as_str()),
    ] {
        let body = body.as_bytes().to_vec();
        let request = request(method.as_bytes(), path.as_bytes(), &[json, wait], body);
        let told = fuzzed.send(request.expect("a request")).await;
        let text = String::from_utf8_lossy(&told.body).into_owned();
        let may_show = told.status < 400 || text.contains(r#""code":"write-superseded""#);
        assert!(may_show || !text.contains(SENT), "{} repeats a value: {text}", told.status);
    }
    let logs = fuzzed.logs.text();
    assert!(!logs.contains(SENT), "the log holds a value: {logs}");
}

fn holds_sent(bytes: &[u8]) -> bool {
    bytes.windows(SENT.len()).any(|window| window == SENT.as_bytes())
}

fn split(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = input.windows(PARTS.len()).position(|window| window == PARTS) {
        parts.push(&input[..at]);
        input = &input[at + PARTS.len()..];
    }
    parts.push(input);
    parts
}

fn kind_and_status(line: &[u8]) -> Option<(&'static str, u16)> {
    let (kind, status) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let kind = ["read", "patch", "token", "query"].into_iter().find(|known| *known == kind)?;
    // What is below is no final answer, and never leaves the HTTP library.
    Some((kind, status.parse().ok().filter(|status| (200..1000).contains(status))?))
}

fn answer(asked: &Asked, answers: &mut Answers) -> Response<Body> {
    let (kind, sound) = match (asked.method(), asked.uri().path()) {
        (_, "/oauth/token") => ("token", TOKEN),
        (&Method::PATCH, _) => ("patch", "{}"),
        (&Method::POST, _) => ("query", LIST),
        _ => ("read", CONVERSATION),
    };
    let scripted = answers
        .get_mut(kind)
        .and_then(|list| if list.len() > 1 { list.pop() } else { list.last().cloned() });
    let (status, headers, body) =
        scripted.unwrap_or_else(|| (200, Vec::new(), sound.as_bytes().to_vec()));
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = http::StatusCode::from_u16(status).expect("in range");
    answer.headers_mut().extend(headers);
    answer
}
