//! The headers of requests and responses that operations share.

use axum::http::Method;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Components, Ref, RefOr, Required, Response};

use super::text;
use crate::http::paths;

const RESPONSE_HEADERS: [(&str, &str); 13] = [
    ("X-Request-Id", "Id of the request, as in the log"),
    ("Cache-Control", "`no-store`"),
    (
        "Server-Timing",
        "Milliseconds spent in `queue`, `token`, `read`, `patch` and `verify`, and in `total`",
    ),
    ("Preference-Applied", "The preferences that the gateway applied"),
    ("Vary", "The request headers on which the format of the response depends"),
    (
        "ETag",
        "Entity tag of one participant's attributes as just read; with 412, of the current ones. Absent for `participant=all`, and if the last read did not confirm the state.",
    ),
    (
        "Retry-After",
        "Whole seconds to wait before the next attempt. With `view=flat`, the same as `retryAfterSeconds`",
    ),
    ("Location", "The operation that shows what becomes of a stored write"),
    ("Idempotency-Replayed", "`true`: this is the stored answer of an earlier request"),
    ("Allow", "The methods that the path supports"),
    ("Accept-Patch", "The media types that `PATCH` accepts, on a path that supports it"),
    ("WWW-Authenticate", "The authentication schemes: `Bearer` and `Basic`"),
    ("Content-Encoding", "`gzip`, if the client accepts it and the response is not small"),
];

/// Request headers of every operation of the API. They have no examples: Swagger UI would send these.
const REQUEST_HEADERS: [(&str, &str); 3] = [
    (
        "Prefer",
        "`wait=N`: respond within N seconds, from 1 to 60; a larger N counts as 60. 0 is ignored: to skip the read-back, use `verify=none`. `return=minimal`: respond to a successful write with 204. `respond-async`: if the gateway has a durable store, respond to a write with 202 once it is stored; N, up to 900, then limits when it is sent. Invalid preferences are ignored.",
    ),
    (
        "X-Request-Id",
        "Identifies the request in logs, such as `crm-4711`: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. The gateway generates an id if the header is absent or malformed.",
    ),
    ("traceparent", "W3C trace context. The gateway logs it and passes it on."),
];

/// Adds the headers of a problem, without those that the description of the API gives all responses.
pub(super) fn add_to_problem(response: &mut Response, status: u16) {
    add(response, "X-Request-Id");
    let own: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow", "Accept-Patch"],
        412 => &["ETag"],
        415 => &["Accept-Patch"],
        409 | 429 | 503 => &["Retry-After"],
        _ => &[],
    };
    for name in own {
        add(response, name);
    }
}

pub(super) fn add_to_result(
    response: &mut Response,
    status: u16,
    operation: &Operation,
    (path, method): (&str, &Method),
) {
    add(response, "X-Request-Id");
    if paths::is_api(path) {
        for name in ["Cache-Control", "Server-Timing", "Preference-Applied"] {
            add(response, name);
        }
    }
    let is_compressed = paths::is_compressed(path);
    if paths::is_negotiated(path, method) || is_compressed {
        add(response, "Vary");
    }
    if is_compressed && status == 200 {
        add(response, "Content-Encoding");
    }
    if paths::is_of_attributes(path) && matches!(status, 200 | 204 | 304) {
        add(response, "ETag");
    }
    if paths::is_of_attributes(path) && !method.is_safe() {
        add(response, "Idempotency-Replayed");
    }
    if status == 202 {
        add(response, "Location");
    }
    let takes_view = operation.parameters.iter().flatten().any(|parameter| {
        matches!(parameter, RefOr::Ref(shared) if shared.ref_location.ends_with("/view"))
    });
    if takes_view && status == 200 {
        add(response, "Retry-After");
    }
}

fn add(response: &mut Response, name: &str) {
    let header = Ref::new(format!("#/components/headers/{name}"));
    response.headers.entry(name.to_owned()).or_insert(RefOr::Ref(header));
}

pub(super) fn request_headers() -> impl Iterator<Item = Parameter> {
    REQUEST_HEADERS.into_iter().map(|(name, description)| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(text()))
            .build()
    })
}

pub(super) fn describe(components: &mut Components) {
    for (name, description) in RESPONSE_HEADERS {
        let header = HeaderBuilder::new().schema(Some(text())).description(Some(description));
        components.headers.insert(name.to_owned(), header.build().into());
    }
}
