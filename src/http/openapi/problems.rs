//! The problem responses of an operation, with an example for each code made by the real code.

use std::collections::BTreeMap;

use utoipa::ToSchema as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{Ref, Response, ResponseBuilder};

use super::{described, example, headers};
use crate::error::ErrorCode;
use crate::http::paths;
use crate::http::problem::{self, PROBLEM_JSON, Problem, ProblemBody, ProblemContext};
use crate::http::responses::examples;

/// Limit of the attributes in the examples; the default.
const LIMIT: usize = 10_240;

/// The problem responses with these codes, by status.
pub(super) fn responses_for(codes: &[ErrorCode], path: &str) -> BTreeMap<String, Response> {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(problem::status(*code).as_u16()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), response(&codes, path)))
        .collect()
}

pub(super) fn response(codes: &[ErrorCode], path: &str) -> Response {
    let titles: Vec<_> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let examples =
        codes.iter().map(|code| (code.as_str(), example(code.title(), example_body(*code, path))));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemBody::name())))
        .examples_from_iter(examples)
        .build();
    let mut response = ResponseBuilder::new()
        .description(titles.join("; "))
        .content(PROBLEM_JSON, content)
        .build();
    let status = codes.first().map_or(500, |code| problem::status(*code).as_u16());
    for (header, description) in headers(&status.to_string()) {
        if paths::is_api(path)
            || ["X-Request-Id", "Allow", "Accept-Patch", "WWW-Authenticate"].contains(&header)
        {
            response.headers.insert(header.to_owned(), described(description).into());
        }
    }
    response
}

/// The body of the example of a code.
fn example_body(code: ErrorCode, path: &str) -> serde_json::Value {
    let path = path
        .replace("{conversationId}", examples::CONVERSATION)
        .replace("{key}", "loyalty_tier")
        .replace("{code}", "no-such-code")
        .replace("{file}", "no-such-file.js");
    let problem = Problem::example(code);
    let about = ProblemContext {
        instance: &path,
        public_url: "",
        request_id: "crm-4711",
        correlation_id: called_upstream(code).then_some("2d1f9a52-6f0e-4a61-9a51-2f4c1d7b8e90"),
        upstream_calls: 4,
        total_bytes: LIMIT,
    };
    serde_json::to_value(ProblemBody::new(&problem, &about)).unwrap_or_default()
}

/// Whether the gateway calls Genesys Cloud before it returns this problem.
fn called_upstream(code: ErrorCode) -> bool {
    matches!(problem::status(code).as_u16(), 404 | 409 | 502 | 504)
        && !matches!(code, ErrorCode::NotFound | ErrorCode::UpstreamAuthFailed)
}
