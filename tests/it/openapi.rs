//! The document that clients program against, held against what they get.

use std::collections::BTreeMap;

use attribute_gateway::error::ErrorCode;
use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{Answer, CALL, TestApp, attributes_of, request};
use crate::problems::{ROWS, provoke};

const FILE: &str = include_str!("../../openapi.yaml");
const ATTRIBUTES: &str = "/v1/conversations/{conversationId}/attributes";
const OPERATION: &str = "/v1/operations/{operationId}";
const ATTRIBUTE: &str = "/v1/conversations/{conversationId}/attributes/{key}";

async fn document(app: &TestApp) -> Value {
    let answer = app.get("/openapi.json").await;
    assert_eq!(answer.assert_status(200).header("content-type"), "application/json");
    let document = answer.json();
    with_components(&document, &document)
}

/// The value with the shared parameters, headers, examples and responses in place of their references.
/// References to schemas stay.
fn with_components(document: &Value, value: &Value) -> Value {
    match value {
        Value::Object(members) => match value["$ref"].as_str() {
            Some(reference) if !reference.starts_with("#/components/schemas/") => {
                with_components(document, document.pointer(&reference[1..]).expect(reference))
            }
            _ => {
                let member = |(name, value): (&String, &Value)| {
                    (name.clone(), with_components(document, value))
                };
                members.iter().map(member).collect()
            }
        },
        Value::Array(items) => items.iter().map(|item| with_components(document, item)).collect(),
        other => other.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_document_that_is_served_is_the_one_in_the_repository() {
    let app = TestApp::new().with_env("GATEWAY__DEBUG__ENABLED", "true").start().await;
    let yaml = app.get("/openapi.yaml").await;
    assert_eq!(yaml.assert_status(200).header("content-type"), "application/yaml");
    assert!(yaml.text == FILE, "openapi.yaml is out of date");
    let document = document(&app).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    // Both are made from one value; that the other spelling holds the same is shown by its text.
    for path in document["paths"].as_object().expect("paths").keys() {
        assert!(FILE.contains(&format!("\n  {path}:\n")), "{path} is not in the file");
    }
}

#[tokio::test(start_paused = true)]
async fn the_openapi_document_has_an_etag_and_answers_304() {
    let app = TestApp::new().start().await;
    let mut tags = Vec::new();
    for path in ["/openapi.yaml", "/openapi.json"] {
        let whole = app.get(path).await;
        assert_eq!(whole.assert_status(200).header("cache-control"), "no-cache");
        let tag = whole.header("etag").to_owned();
        let strong = tag.strip_prefix("W/").expect("a weak tag, since the bytes can be compressed");
        for (known, status) in [(tag.as_str(), 304), (strong, 304), ("\"x\"", 200)] {
            let again = app.ask(("GET", path), &[("if-none-match", known)], "").await;
            assert_eq!(again.assert_status(status).header("etag"), tag);
            assert_eq!(again.header("cache-control"), "no-cache");
            assert_eq!(again.text.is_empty(), status == 304);
        }
        tags.push(tag);
    }
    assert_ne!(tags[0], tags[1]);
}

#[tokio::test(start_paused = true)]
async fn the_form_of_one_key_can_be_asked_for_as_it_is_documented() {
    let app = TestApp::new().start().await;
    let document = document(&app).await;
    let parameters = &document["paths"][ATTRIBUTE]["get"]["parameters"];
    let names = parameters.as_array().expect("a list").iter().map(|one| &one["name"]);
    assert_eq!(names.filter(|name| *name == "format").count(), 1);
    let answer = app.get(&format!("{}/tier?format=text", attributes_of(CALL))).await;
    assert_eq!(answer.assert_status(200).text, "silver");
}

/// Codes that a request can meet before it has found its operation.
const OUTSIDE: [(ErrorCode, &str); 3] = [
    (ErrorCode::NotFound, "NotFound"),
    (ErrorCode::MethodNotAllowed, "MethodNotAllowed"),
    (ErrorCode::Internal, "Internal"),
];

#[tokio::test(start_paused = true)]
async fn every_answered_status_and_code_is_documented() {
    let app = TestApp::new().start().await;
    let document = document(&app).await;
    for (code, status, ..) in ROWS {
        let (app, answer) = provoke(code, TestApp::new()).await;
        let component = OUTSIDE.iter().find(|(outside, _)| *outside == code);
        let response = match component {
            Some((_, name)) => &document["components"]["responses"][name],
            None if code == ErrorCode::AttributeNotFound => {
                &document["paths"][ATTRIBUTE]["get"]["responses"][status.to_string()]
            }
            None if code == ErrorCode::OperateNotAllowed => {
                &document["paths"]["/v1/live/events"]["get"]["responses"][status.to_string()]
            }
            None if code == ErrorCode::OperationNotFound => {
                &document["paths"][OPERATION]["get"]["responses"][status.to_string()]
            }
            None => &document["paths"][ATTRIBUTES]["put"]["responses"][status.to_string()],
        };
        let content = &response["content"]["application/problem+json"];
        let example = &content["examples"][code.as_str()]["value"];
        assert_eq!(example["status"], status, "an example of `{}`", code.as_str());
        for problem in [&answer.json(), example] {
            conforms(&document, &content["schema"], problem, code.as_str());
        }
        let mut members = BTreeMap::new();
        for (name, value) in [("answer", &answer.json()), ("example", example)] {
            let object = value.as_object().expect("an object");
            let own = object.keys().filter(|name| !VARYING.contains(&name.as_str()));
            members.insert(name, own.cloned().collect::<Vec<_>>());
        }
        assert_eq!(members["answer"], members["example"], "members of `{}`", code.as_str());
        drop(app);
    }
}

/// Codes that only a write meets.
const WRITING: [ErrorCode; 18] = [
    ErrorCode::OperationInProgress,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::StoreUnavailable,
    ErrorCode::ReadOnlyClient,
    ErrorCode::InvalidJson,
    ErrorCode::InvalidHeader,
    ErrorCode::RequestTimeout,
    ErrorCode::ConversationEnded,
    ErrorCode::WriteSuperseded,
    ErrorCode::UpstreamConflict,
    ErrorCode::PreconditionFailed,
    ErrorCode::PreconditionRequired,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::InvalidAttributes,
    ErrorCode::AttributesTooLarge,
    ErrorCode::Overloaded,
    ErrorCode::AuditUnavailable,
];

/// Members that an answer has or has not for reasons of its own.
const VARYING: [&str; 4] = ["correlationId", "errors", "participant", "warnings"];

#[tokio::test(start_paused = true)]
async fn a_read_meets_only_what_is_documented_of_it() {
    let app = TestApp::new().start().await;
    let document = document(&app).await;
    let responses = &document["paths"][ATTRIBUTES]["get"]["responses"];
    let outside = |code: &ErrorCode| OUTSIDE.iter().any(|(outside, _)| outside == code);
    for (code, status, ..) in ROWS.iter().filter(|row| !outside(&row.0)) {
        let examples =
            &responses[status.to_string()]["content"]["application/problem+json"]["examples"];
        let documented = examples.get(code.as_str()).is_some();
        let elsewhere = [
            ErrorCode::AttributeNotFound,
            ErrorCode::OperateNotAllowed,
            ErrorCode::OperationNotFound,
        ];
        let met = !WRITING.contains(code) && !elsewhere.contains(code);
        assert_eq!(documented, met, "`{}` of a read", code.as_str());
    }
    let cases = [
        ("", 200),
        ("?keys=tier,nothing", 200),
        ("?participant=all", 200),
        ("?participant=a%20b", 400),
        ("?x=1", 400),
        ("?participant=supervisor", 404),
    ];
    for (query, status) in cases {
        let answer = app.read(CALL, query).await;
        answer.assert_status(status);
        assert_documented(&document, responses, &answer, query);
    }
    let known = request("GET", &attributes_of(CALL)).header("if-none-match", "*");
    let answer = app.send(known.body(Body::empty()).expect("a request")).await;
    assert!(responses[answer.assert_status(304).status.to_string()]["description"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_write_answers_with_the_members_that_are_documented() {
    let app = TestApp::new().start().await;
    let document = document(&app).await;
    let responses = &document["paths"][ATTRIBUTES]["put"]["responses"];
    for (query, status) in [("", 200), ("?dryRun=true", 200), ("?verify=none", 202)] {
        let answer = app.write(CALL, query, json!({"tier": query, "source": ""})).await;
        answer.assert_status(status);
        assert_documented(&document, responses, &answer, query);
    }
    let minimal = [("prefer", "return=minimal")];
    let body = json!({"attributes": {"source": ""}}).to_string();
    let answer = app.put(&attributes_of(CALL), &minimal, body).await;
    assert!(responses[answer.assert_status(204).status.to_string()]["description"].is_string());
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "?allowEnded=true", json!({"tier": "last"})).await;
    assert_ne!(answer.assert_status(200).at("/warnings"), json!([]));
    assert_documented(&document, responses, &answer, "with a warning");
}

#[tokio::test(start_paused = true)]
async fn other_write_forms_answer_as_documented() {
    let app = TestApp::new().start().await;
    let document = document(&app).await;
    let path = attributes_of(CALL);
    let merge = r#"{"attributes":{"tier":"gold","source":null}}"#;
    let other = r#"{"attributes":{"tier":"platinum"}}"#;
    for (pattern, method, path, content_type, body, status) in [
        (ATTRIBUTES, "GET", format!("{path}?view=flat&keys=tier,no"), "", "", 200),
        (ATTRIBUTES, "PATCH", path.clone(), "application/merge-patch+json", merge, 200),
        (ATTRIBUTES, "PATCH", format!("{path}?verify=none"), "application/json", other, 202),
        (ATTRIBUTES, "PATCH", format!("{path}?view=flat"), "application/json", merge, 200),
        (ATTRIBUTES, "PATCH", path.clone(), "text/plain", merge, 415),
        (ATTRIBUTE, "GET", format!("{path}/tier"), "", "", 200),
        (ATTRIBUTE, "GET", format!("{path}/tier?view=flat"), "", "", 200),
        (ATTRIBUTE, "GET", format!("{path}/no"), "", "", 404),
        (ATTRIBUTE, "GET", format!("{path}/no?view=flat"), "", "", 200),
        (ATTRIBUTE, "GET", format!("{path}/%ff"), "", "", 422),
        (ATTRIBUTE, "PUT", format!("{path}/tier"), "application/json", r#"{"value":"1"}"#, 200),
        (ATTRIBUTE, "PUT", format!("{path}/tier?verify=none"), "text/plain", "2", 202),
        (ATTRIBUTE, "PUT", format!("{path}/tier?view=flat"), "text/plain", "3", 200),
        (ATTRIBUTE, "PUT", format!("{path}/a%00"), "text/plain", "3", 422),
        (ATTRIBUTE, "DELETE", format!("{path}/tier?dryRun=true"), "", "", 200),
        (ATTRIBUTE, "DELETE", format!("{path}/tier"), "", "", 200),
        (ATTRIBUTE, "DELETE", format!("{path}/tier?view=flat"), "", "", 200),
        (ATTRIBUTE, "DELETE", format!("{path}/tier?verify=no"), "", "", 400),
    ] {
        let answer = app.ask((method, &path), &[("content-type", content_type)], body).await;
        answer.assert_status(status);
        let operation = &document["paths"][pattern][method.to_lowercase()];
        assert_documented(&document, &operation["responses"], &answer, &path);
    }
    let bare = app.ask(("GET", &format!("{path}/language")), &[("accept", "text/plain")], "").await;
    let documented = &document["paths"][ATTRIBUTE]["get"]["responses"]["200"]["content"];
    assert_eq!(bare.assert_status(200).text, "en");
    assert_eq!(documented["text/plain"]["schema"]["type"], "string");
    let minimal = [("prefer", "return=minimal")];
    let answer = app.ask(("DELETE", &format!("{path}/language")), &minimal, "").await;
    answer.assert_status(204);
}

#[tokio::test(start_paused = true)]
async fn the_debugging_aids_answer_with_what_is_documented() {
    let app = TestApp::new().with_env("GATEWAY__DEBUG__ENABLED", "true").start().await;
    let document = document(&app).await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    app.read(CALL, "?x=y").await.assert_status(400);
    let responses = &document["paths"]["/v1/conversations/{conversationId}/trace"]["get"];
    for (query, status) in [("", 200), ("?x=y", 400)] {
        let trace = app.get(&format!("/v1/conversations/{CALL}/trace{query}")).await;
        trace.assert_status(status);
        assert_documented(&document, &responses["responses"], &trace, "a trace");
    }
    let responses = &document["paths"]["/v1/debug/echo"]["post"]["responses"];
    for (body, status) in [("", 200), ("{}", 200), ("[1", 200), (&" ".repeat(100_000), 413)] {
        let echo = request("POST", "/v1/debug/echo?a=b").header("content-type", "application/json");
        let echo = app.send(echo.body(body.to_owned().into()).expect("a request")).await;
        echo.assert_status(status);
        assert_documented(&document, responses, &echo, "an echo");
    }
}

/// The answer has a documented status, type and headers, and conforms to its schema; and there are
/// examples, which do too.
#[track_caller]
fn assert_documented(document: &Value, responses: &Value, answer: &Answer, what: &str) {
    let response = &responses[answer.status.to_string()];
    let content = &response["content"][answer.header("content-type")];
    assert!(content.is_object(), "{what}: {} is not documented", answer.status);
    conforms(document, &content["schema"], &answer.json(), what);
    let examples = content["examples"].as_object().expect("examples");
    assert!(!examples.is_empty(), "{what}: no example of {}", answer.status);
    let is_problem = answer.header("content-type") == "application/problem+json";
    if is_problem {
        let code = answer.at("/code");
        let code = code.as_str().expect("a code");
        assert!(examples.contains_key(code), "{what}: {code} is not documented");
    }
    for (name, example) in examples {
        conforms(document, &content["schema"], &example["value"], name);
    }
    let plain = ["content-type", "content-length", "connection"];
    // The description of the API gives these to every problem.
    let general = document["info"]["description"].to_string().to_lowercase();
    for header in answer.headers.keys().filter(|name| !plain.contains(&name.as_str())) {
        let documented = response["headers"].as_object().expect("headers").keys();
        let known = documented.into_iter().any(|name| name.eq_ignore_ascii_case(header.as_str()))
            || is_problem && general.contains(&format!("`{header}`"));
        assert!(known, "{what}: the header {header} is not documented");
    }
}

/// As far as the document goes: every member there is is documented, every required one is there,
/// and each is of its type, and a UUID or one of the words that the document names.
#[track_caller]
fn conforms(document: &Value, schema: &Value, value: &Value, at: &str) {
    let mistakes = mistakes(document, schema, value, at);
    assert!(mistakes.is_empty(), "{mistakes:#?} in {value:#}");
}

fn mistakes(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(kinds) = resolved(document, schema)["oneOf"].as_array() {
        let all = kinds.iter().map(|kind| mistakes(document, kind, value, at));
        return all.min_by_key(Vec::len).unwrap_or_default();
    }
    let mut shape = Shape::default();
    shape.add(document, schema);
    if !shape.types.is_empty() && !shape.types.contains(&kind_of(value)) {
        return vec![format!("{at} is {}, not one of {:?}", kind_of(value), shape.types)];
    }
    let mut found = Vec::new();
    let is_uuid = || value.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok());
    if resolved(document, schema)["format"] == "uuid" && !value.is_null() && !is_uuid() {
        found.push(format!("{at} is no UUID"));
    }
    if resolved(document, schema)["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{at} is none of the words for it"));
    }
    if shape.types.is_empty() && shape.members.is_empty() {
        // Anything may stand here.
        return found;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        match shape.members.get(name).or(shape.others.as_ref()) {
            Some(schema) => found.extend(mistakes(document, schema, member, &at)),
            None => found.push(format!("{at} is not documented")),
        }
    }
    let missing = shape.required.iter().filter(|name| value.get(name).is_none());
    found.extend(missing.map(|name| format!("{at}/{name} is missing")));
    if let Some(items) = shape.items {
        let elements = value.as_array().into_iter().flatten().enumerate();
        found
            .extend(elements.flat_map(|(n, element)| {
                mistakes(document, &items, element, &format!("{at}/{n}"))
            }));
    }
    found
}

/// What a schema says in the words that the document uses, `allOf` taken together.
#[derive(Default)]
struct Shape {
    types: Vec<String>,
    members: BTreeMap<String, Value>,
    required: Vec<String>,
    others: Option<Value>,
    items: Option<Value>,
}

impl Shape {
    fn add(&mut self, document: &Value, schema: &Value) {
        let schema = resolved(document, schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.add(document, part);
        }
        let kinds =
            schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        self.types.extend(kinds.iter().filter_map(Value::as_str).map(str::to_owned));
        let members = schema["properties"].as_object().cloned().unwrap_or_default();
        self.members.extend(members);
        let required = schema["required"].as_array().into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
        let others = schema.get("additionalProperties").or(schema.get("unevaluatedProperties"));
        self.others = self.others.take().or_else(|| others.cloned());
        self.items = self.items.take().or_else(|| schema.get("items").cloned());
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect(reference),
        None => schema,
    }
}

fn kind_of(value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    kind.to_owned()
}
