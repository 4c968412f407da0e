//! What Genesys Cloud answers, or a server in its place: tokens, conversations, participants,
//! lists, errors, `Retry-After` and the headers of the rate limit.
//!
//! An input is a list of answers: a first line such as `read 200` (or `patch`, `token`, `query`), a
//! header a line, an empty line, the body; `----` on a line of its own parts them. Each is given to the
//! next request of its kind, the last one to all further ones; where there is none, a sound one is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Asked;
use http::{HeaderName, HeaderValue, Method, Response};

use super::input::{self, holds, message, parts};
use super::service::{CALL, FuzzAnswer, Fuzzed, OPEN, paused};

/// A value of ours, which upstream may repeat, and we may not.
const SENT: &str = "canary-sent-8d31";

const TOKEN: &str = r#"{"access_token":"t","token_type":"bearer","expires_in":86400}"#;
const CONVERSATION: &str = r#"{"id":"5eed0000-0000-4000-8000-000000000001","participants":[{"id":"5eed0000-0000-4000-8000-0000000000c1","purpose":"customer","attributes":{"tier":"silver"},"calls":[{"state":"connected"}]}]}"#;
const LIST: &str = r#"{"conversations":[],"totalHits":0}"#;

type Answers = BTreeMap<&'static str, Vec<(u16, Vec<Header>, Vec<u8>)>>;
type Header = (HeaderName, HeaderValue);

/// Lets a service over such a platform read, write and list.
pub fn run(input: &[u8]) {
    let mut answers = Answers::new();
    for part in parts(input) {
        let (first, headers, body) = message(part);
        let Some((kind, status)) = kind_and_status(first) else { continue };
        let headers = headers.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
        });
        // The token endpoint is never sent a value, and cannot repeat one.
        if kind == "token" && holds(body, SENT) {
            continue;
        }
        answers.entry(kind).or_default().push((status, headers.collect(), body.to_vec()));
    }
    for list in answers.values_mut() {
        list.reverse();
    }
    paused(ask(answers));
}

/// What is asked, in this order. `WRITE` stands for a body that holds the value.
const ASKED: [(&str, &str, &str); 9] = [
    ("GET", "/v1/conversations/{}/attributes", ""),
    ("PUT", "/v1/conversations/{}/attributes", "WRITE"),
    ("GET", "/v1/conversations/{}?format=text", ""),
    ("GET", "/v1/conversations?limit=5", ""),
    ("POST", "/v1/conversations/search", r#"{"ani":"+15550100142"}"#),
    ("PUT", "/v1/conversations/{}/attributes?view=flat&key=note", "WRITE"),
    ("GET", "/v1/conversations/{}/trace", ""),
    ("GET", "/readyz?verbose", ""),
    ("GET", "/metrics", ""),
];

async fn ask(answers: Answers) {
    let answers = Arc::new(Mutex::new(answers));
    let platform = Router::new().fallback(move |asked: Asked| {
        let answer = answer(&asked, &mut answers.lock().expect("no holder panics"));
        async { answer }
    });
    let fuzzed = Fuzzed::over(platform, &OPEN, "info");
    let write = format!(r#"{{"attributes":{{"note":"{SENT}","tier":""}}}}"#);
    let headers: [input::Header<'_>; 2] =
        [(b"content-type", b"application/json"), (b"prefer", b"wait=2")];
    for (method, path, body) in ASKED {
        let (path, body) = (path.replace("{}", CALL), body.replace("WRITE", &write));
        let request = input::request(method.as_bytes(), path.as_bytes(), &headers, body.as_bytes());
        check(path.ends_with("/trace"), &fuzzed.send(request.expect("a request")).await);
    }
    let logs = fuzzed.logs.text();
    assert!(!logs.contains(SENT), "the log holds a value: {logs}");
}

/// A value may stand in what was read, and nowhere else.
fn check(operations: bool, answer: &FuzzAnswer) {
    let text = answer.text();
    let read = answer.status < 400 && !operations || text.contains(r#""code":"write-superseded""#);
    assert!(read || !text.contains(SENT), "{} repeats a value: {text}", answer.status);
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
