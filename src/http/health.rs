//! Handlers for health, metrics and the OpenAPI document, and the fallbacks for unknown paths and
//! methods. None of them calls Genesys Cloud.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::params::IfNoneMatchHeader;
use super::paths::{self, decoded_query};
use super::problem::Problem;
use super::query::StrictQuery;
use super::state::{AppState, ReadinessReport};
use crate::domain::Violation;
use crate::error::ErrorCode;

const VERBOSE: &str = "verbose";

/// Media type of OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Check liveness
///
/// Returns 200 while the process runs.
#[utoipa::path(get, path = paths::LIVEZ, operation_id = "getLiveness", tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain", description = "The process is alive", example = "ok")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// What the readiness check shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadinessParams {
    /// List the checks: `true`, or no value
    #[param(inline, example = "true")]
    verbose: Option<SwitchValue>,
}

/// The values of a switch; it is on without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum SwitchValue {
    #[serde(rename = "")]
    Present,
    #[serde(rename = "true")]
    True,
    #[serde(rename = "1")]
    One,
    #[serde(rename = "false")]
    False,
    #[serde(rename = "0")]
    Zero,
}

/// By hand, since the derived schema renames no word to an empty one.
impl PartialSchema for SwitchValue {
    fn schema() -> RefOr<Schema> {
        let words = Object::builder().schema_type(Type::String);
        words.enum_values(Some(["", "true", "1", "false", "0"])).build().into()
    }
}

impl ToSchema for SwitchValue {}

impl SwitchValue {
    fn is_on(self) -> bool {
        !matches!(self, Self::False | Self::Zero)
    }
}

/// Check readiness
///
/// Returns 200 if the gateway accepts requests. With `?verbose`, the response has one line for each check.
/// Throttling or an outage of Genesys Cloud does not make the gateway unready, since another instance would
/// have the same problem.
#[utoipa::path(get, path = paths::READYZ, operation_id = "getReadiness", tag = "operations",
    params(ReadinessParams),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The gateway is ready", example = "ready"),
        (status = 503, body = String, content_type = "text/plain", description = "The gateway is not ready: it is starting or draining, or Genesys Cloud refuses its credentials", example = "not ready: token"),
    ))]
pub(super) async fn readyz(
    State(AppState { ops, .. }): State<AppState>,
    StrictQuery(params): StrictQuery<ReadinessParams>,
) -> Result<Response, Problem> {
    let verbose = params.verbose.is_some_and(SwitchValue::is_on);
    let report = ops.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, text_report(&report, verbose)).into_response())
}

/// Whether a query may ask for the checks, even if it has other mistakes.
pub(super) fn wants_checks(query: Option<&str>) -> bool {
    let names = query.unwrap_or_default().split('&').map(|part| part.split('=').next());
    names.flatten().any(|name| decoded_query(name).is_none_or(|name| name == VERBOSE))
}

fn text_report(report: &ReadinessReport, verbose: bool) -> String {
    let failed = report.checks.iter().filter(|check| !check.ok && !report.ready);
    let failed: Vec<_> = failed.map(|check| check.name).collect();
    let not = if report.ready { "" } else { "not " };
    let colon = if failed.is_empty() { "" } else { ": " };
    let mut text = format!("{not}ready{colon}{}\n", failed.join(", "));
    for check in report.checks.iter().filter(|_| verbose) {
        let mark = if check.ok { "ok" } else { "failed" };
        text.push_str(&[check.name, ": ", mark, ": ", &check.detail, "\n"].concat());
    }
    text
}

/// Get the metrics
///
/// Returns the metrics in the OpenMetrics text format, for Prometheus.
#[utoipa::path(get, path = paths::METRICS, operation_id = "getMetrics", tag = "operations",
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "The metrics")))]
pub(super) async fn metrics(
    State(AppState { ops, .. }): State<AppState>,
) -> Result<Response, Problem> {
    let report = ops.readiness.report();
    ops.metrics.readiness(report.ready, report.credentials_refused);
    ops.metrics.live_viewers(ops.live.viewers());
    let text = ops.metrics.encode().map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

/// Get this document as YAML
#[utoipa::path(get, path = paths::OPENAPI_YAML, operation_id = "getOpenapiYaml", tag = "documentation",
    params(IfNoneMatchHeader),
    responses(
        (status = 200, body = Object, content_type = "application/yaml", description = "This document",
            headers(("ETag" = String, description = "Entity tag of the document"), ("Cache-Control" = String, description = "`no-cache`: caches must revalidate the document"))),
        (status = 304, description = "The document still matches the `ETag` in `If-None-Match`",
            headers(("ETag" = String, description = "Entity tag of the document"), ("Cache-Control" = String, description = "`no-cache`"))),
    ))]
pub(super) async fn openapi_yaml(
    State(AppState { ops, .. }): State<AppState>,
    headers: HeaderMap,
) -> Response {
    ops.documents.yaml().answer(&headers)
}

/// Get this document as JSON
#[utoipa::path(get, path = paths::OPENAPI_JSON, operation_id = "getOpenapiJson", tag = "documentation",
    params(IfNoneMatchHeader),
    responses(
        (status = 200, body = Object, content_type = "application/json", description = "This document",
            headers(("ETag" = String, description = "Entity tag of the document"), ("Cache-Control" = String, description = "`no-cache`: caches must revalidate the document"))),
        (status = 304, description = "The document still matches the `ETag` in `If-None-Match`",
            headers(("ETag" = String, description = "Entity tag of the document"), ("Cache-Control" = String, description = "`no-cache`"))),
    ))]
pub(super) async fn openapi_json(
    State(AppState { ops, .. }): State<AppState>,
    headers: HeaderMap,
) -> Response {
    ops.documents.json().answer(&headers)
}

/// Fallback for an unknown path, and for a path without the key at its end.
pub(super) async fn not_found(uri: Uri) -> Problem {
    if paths::key_of(uri.path()) != Some("") {
        return Problem::new(ErrorCode::NotFound, "there is nothing at this path");
    }
    let detail = "is missing: the path ends where the name of the attribute belongs";
    Problem::listing(ErrorCode::InvalidAttributes, Violation::new("key", detail)).with_hint(
        "Name the attribute in the path, as in …/attributes/loyalty_tier; for all attributes, remove the last `/`.",
    )
}

/// Fallback for a method that the path does not support; axum adds `Allow`.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let is_attributes = paths::is_attributes(uri.path());
    let is_attribute = paths::key_of(uri.path()).is_some();
    let (detail, hint) = match method {
        Method::DELETE if is_attributes => (
            "DELETE clears one attribute, but the path names none",
            "Name the attribute in the path, as in …/attributes/loyalty_tier; to clear several, PATCH {\"attributes\": {\"key\": null}}.",
        ),
        Method::POST if is_attributes => (
            "attributes are written with PUT or PATCH, not with POST",
            "Send the same body with PUT (keys that are not named stay as they are) or with PATCH, in which null clears a key.",
        ),
        Method::PATCH | Method::POST if is_attribute => (
            "one attribute is written with PUT and cleared with DELETE",
            "Send PUT with {\"value\": \"…\"}, or send several attributes with PATCH to the path without the key.",
        ),
        _ => ("this path does not have this method", ErrorCode::MethodNotAllowed.hint()),
    };
    Problem::new(ErrorCode::MethodNotAllowed, detail).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::state::HealthCheck;

    fn report(ready: bool) -> ReadinessReport {
        let check = |name, ok, detail: &str| HealthCheck { name, ok, detail: detail.to_owned() };
        ReadinessReport {
            ready,
            credentials_refused: false,
            checks: vec![check("token", ready, "as it is"), check("retries", false, "spent")],
        }
    }

    #[test]
    fn readiness_is_one_line_or_one_line_per_check() {
        assert_eq!(text_report(&report(true), false), "ready\n");
        assert_eq!(text_report(&report(false), false), "not ready: token, retries\n");
        assert_eq!(
            text_report(&report(true), true),
            "ready\ntoken: ok: as it is\nretries: failed: spent\n"
        );
    }
}
