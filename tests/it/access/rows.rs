//! The table itself.

use serde_json::Value;

use super::Verdict::{self, Answered, NoConnection};

/// A request, and what each kind of client is answered, in the order of [`super::Caller::ALL`].
#[derive(Clone, Debug)]
pub struct Row {
    /// Its method.
    pub method: String,
    /// Its path; `{id}` stands for the conversation.
    pub path: String,
    /// Its body, JSON.
    pub body: &'static str,
    /// The verdicts.
    pub verdicts: [Verdict; 6],
}

/// Without a credential, with a wrong one, with a certificate that has expired: on every path. The TLS
/// handshake rejects the last one, so there is no request.
const STRANGERS: [Verdict; 3] = [
    Answered(401, "unauthenticated"),
    Answered(401, "unauthenticated"),
    NoConnection("CertificateExpired"),
];

const GOOD: Verdict = Answered(200, "");
const READ_ONLY: Verdict = Answered(403, "read-only-client");
const NO_OPERATOR: Verdict = Answered(403, "operate-not-allowed");
const NOT_THIS_KEY: Verdict = Answered(403, "attribute-not-allowed");
const NOT_THIS_ONE: Verdict = Answered(403, "participant-not-allowed");
const NO_METHOD: Verdict = Answered(405, "method-not-allowed");
const NO_OPERATION: Verdict = Answered(404, "operation-not-found");
const NOT_FOUND: Verdict = Answered(404, "not-found");
const NO_KEY: Verdict = Answered(404, "attribute-not-found");

/// What these three are answered, and strangers as everywhere.
const fn but(reader: Verdict, writer: Verdict, limited: Verdict) -> [Verdict; 6] {
    let [none, wrong, expired] = STRANGERS;
    [none, wrong, expired, reader, writer, limited]
}

/// The same answer for every client that gets as far as a request.
const fn open(verdict: Verdict) -> [Verdict; 6] {
    [verdict, verdict, STRANGERS[2], verdict, verdict, verdict]
}

/// The same answer for every known client.
const fn known(verdict: Verdict) -> [Verdict; 6] {
    but(verdict, verdict, verdict)
}

const TIER: &str = r#"{"attributes":{"tier":"gold"}}"#;
const TWO: &str = r#"{"attributes":{"tier":"gold","source":"crm"}}"#;
const VALUE: &str = r#"{"value":"x"}"#;

const ATTRIBUTES: &str = "/v1/conversations/{id}/attributes";

/// `GET`s, each of which is asked as `HEAD` too.
const READS: &[(&str, [Verdict; 6])] = &[
    ("/", open(GOOD)),
    ("/livez", open(GOOD)),
    ("/readyz", open(GOOD)),
    ("/docs", open(GOOD)),
    ("/docs/start.js", open(GOOD)),
    ("/openapi.yaml", open(GOOD)),
    ("/openapi.json", open(GOOD)),
    ("/problems/internal", open(GOOD)),
    ("/docs/runbooks/AttributeGatewayDown", open(GOOD)),
    ("/docs/nothing", open(NOT_FOUND)),
    ("/problems/nothing", open(NOT_FOUND)),
    ("/docs/runbooks/nothing", open(NOT_FOUND)),
    ("/readyz?verbose", known(GOOD)),
    ("/metrics", known(GOOD)),
    ("/nothing", known(NOT_FOUND)),
    ("/v1/nothing", known(NOT_FOUND)),
    ("/v1/conversations/{id}/nothing", known(NOT_FOUND)),
    ("/v1/conversations", known(GOOD)),
    ("/v1/conversations/{id}", known(GOOD)),
    ("/v1/conversations/{id}?view=flat&keys=source", but(GOOD, GOOD, NOT_THIS_KEY)),
    ("/v1/conversations/{id}/trace", known(GOOD)),
    ("/live", known(NO_OPERATOR)),
    ("/v1/live/events", known(NO_OPERATOR)),
    ("/v1/operations/{id}", known(NO_OPERATION)),
    ("/v1/conversations/{id}/attributes", known(GOOD)),
    ("/v1/conversations/{id}/attributes?participant=agent", but(GOOD, GOOD, NOT_THIS_ONE)),
    ("/v1/conversations/{id}/attributes?participant=all", but(GOOD, GOOD, NOT_THIS_ONE)),
    ("/v1/conversations/{id}/attributes?keys=tier", known(GOOD)),
    ("/v1/conversations/{id}/attributes?keys=tier,source", but(GOOD, GOOD, NOT_THIS_KEY)),
    ("/v1/conversations/{id}/attributes?key=none", but(GOOD, GOOD, NOT_THIS_KEY)),
    ("/v1/conversations/{id}/attributes/tier", known(GOOD)),
    ("/v1/conversations/{id}/attributes/source", but(GOOD, GOOD, NOT_THIS_KEY)),
    ("/v1/conversations/{id}/attributes/none", but(NO_KEY, NO_KEY, NOT_THIS_KEY)),
];

/// All that is no `GET`: method, query or further path behind the attributes, body.
const WRITES: &[(&str, &str, &str, [Verdict; 6])] = &[
    ("PUT", "", TIER, but(READ_ONLY, GOOD, GOOD)),
    ("PUT", "", TWO, but(READ_ONLY, GOOD, NOT_THIS_KEY)),
    ("PUT", "?dryRun=true", TIER, but(READ_ONLY, GOOD, GOOD)),
    ("PUT", "?participant=agent", TIER, but(READ_ONLY, GOOD, NOT_THIS_ONE)),
    ("PATCH", "", TIER, but(READ_ONLY, GOOD, GOOD)),
    ("PATCH", "", TWO, but(READ_ONLY, GOOD, NOT_THIS_KEY)),
    ("PUT", "/source", VALUE, but(READ_ONLY, GOOD, NOT_THIS_KEY)),
    ("PUT", "/tier", VALUE, but(READ_ONLY, GOOD, GOOD)),
    ("DELETE", "/source", "", but(READ_ONLY, GOOD, NOT_THIS_KEY)),
    ("DELETE", "/tier", "", but(READ_ONLY, GOOD, GOOD)),
];

/// What is sent with `POST`, and writes nothing.
const QUESTIONS: &[(&str, [Verdict; 6])] = &[
    ("/v1/conversations/search", known(GOOD)),
    ("/v1/debug/echo", known(GOOD)),
    ("/v1/conversations/{id}/trace", known(NO_OPERATOR)),
];

/// Methods that every path is asked with, also those that it does not have.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"];

fn row(method: &str, path: &str, body: &'static str, verdicts: [Verdict; 6]) -> Row {
    Row { method: method.to_owned(), path: path.to_owned(), body, verdicts }
}

/// The rows that are written out.
fn written() -> Vec<Row> {
    let reads = READS.iter().flat_map(|(path, verdicts)| {
        ["GET", "HEAD"].map(|method| row(method, path, "", *verdicts))
    });
    let questions = QUESTIONS.iter().map(|(path, verdicts)| row("POST", path, "{}", *verdicts));
    let writes = WRITES.iter().map(|(method, rest, body, verdicts)| {
        row(method, &format!("{ATTRIBUTES}{rest}"), body, *verdicts)
    });
    let cancel = row("DELETE", "/v1/operations/{id}", "", known(NO_OPERATION));
    reads.chain(questions).chain(writes).chain([cancel]).collect()
}

/// Whether a row is about this path of the document.
fn is_about(row: &Row, path: &str) -> bool {
    let (asked, _) = row.path.split_once('?').unwrap_or((&row.path, ""));
    let stands_for = |(step, asked): (&str, &str)| match step {
        "{conversationId}" | "{operationId}" => asked == "{id}",
        "{key}" | "{file}" | "{code}" | "{alert}" => true,
        _ => step == asked,
    };
    path.split('/').count() == asked.split('/').count()
        && path.split('/').zip(asked.split('/')).all(stands_for)
}

/// All rows, for a service that describes itself so. Fails if it describes an operation that no row is
/// about. For each path there is a row with each method that it does not have.
pub fn of(document: &Value) -> Vec<Row> {
    let mut rows = written();
    let mut others = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let about: Vec<_> = rows.iter().filter(|row| is_about(row, path)).collect();
        for method in operations.as_object().expect("operations").keys() {
            let in_table = about.iter().any(|row| row.method.eq_ignore_ascii_case(method));
            assert!(in_table, "the table of callers has no row for {method} {path}");
        }
        let first = about[0];
        let refused = if first.verdicts[0] == GOOD { open(NO_METHOD) } else { known(NO_METHOD) };
        let (asked, _) = first.path.split_once('?').unwrap_or((&first.path, ""));
        for method in METHODS {
            if about.iter().all(|row| row.method != method) {
                others.push(row(method, asked, "", refused));
            }
        }
    }
    rows.extend(others);
    rows
}
