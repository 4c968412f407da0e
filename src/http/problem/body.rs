//! The JSON body of a problem.

use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use crate::domain::{AttributeKey, ParticipantSummary, Violation};
use crate::error::Error;
use crate::http::responses::{ChosenParticipant, WriteResponse, effect_schema};

/// The part of a problem that the middleware adds.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct ProblemContext<'a> {
    pub instance: &'a str,
    /// Prefix of the paths of links; may be empty.
    pub public_url: &'a str,
    pub request_id: &'a str,
    /// `ININ-Correlation-Id` of the last call.
    pub correlation_id: Option<&'a str>,
    pub upstream_calls: u32,
    pub total_bytes: usize,
}

/// A problem (RFC 9457), with additional members.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(in crate::http) struct ProblemBody<'a> {
    /// URL of a page that explains the code.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// Short summary, the same for each problem with this code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: &'a str,
    /// Path of the request.
    instance: String,
    /// Stable name of the problem, for programs to compare.
    code: &'static str,
    /// The same as `detail`, under the name that Genesys Architect reads.
    message: &'a str,
    /// Id of the request, as in `X-Request-Id` and the log.
    request_id: &'a str,
    /// `ININ-Correlation-Id` of the last call to Genesys Cloud, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    /// Whether the same request can succeed if repeated unchanged.
    retryable: bool,
    /// Seconds to wait before a retry, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// Whether attributes were changed: `notApplied`, `applied` or `unknown`.
    #[schema(schema_with = effect_schema)]
    effect: &'static str,
    /// What the client can do next.
    hint: &'static str,
    /// The mistakes in the request, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<ProblemViolation<'a>>,
    /// Number of further mistakes that `errors` omits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors_left_out: Option<usize>,
    /// The participant that the gateway found before the request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    participant: Option<&'a ChosenParticipant>,
    #[serde(flatten)]
    members: ProblemMembers,
}

/// One mistake in a request.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProblemViolation<'a> {
    /// A JSON pointer into the body, or the name of a parameter or header.
    pointer: &'a str,
    /// What is wrong there; never an attribute value.
    detail: &'a str,
}

/// Members that only some codes have; each description starts with its code.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProblemMembers {
    /// `ambiguous-participant`: the participants that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<ParticipantSummary>>,
    /// `participant-not-found`: the purposes of the participants in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<Vec<String>>,
    /// `attributes-too-large`: size of the merged attributes as JSON, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// `attributes-too-large`: the limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<usize>,
    /// `attributes-too-large`: the largest entries, largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest: Option<Vec<LargeEntry>>,
    /// `upstream-rejected`, and `participant-not-found` after a PATCH: the response of Genesys Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamDetail>,
    /// `write-superseded`: the members of a write response.
    #[serde(flatten)]
    #[schema(ignore)]
    pub(super) report: Option<Box<WriteResponse>>,
}

/// A large attribute.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct LargeEntry {
    /// The key.
    key: String,
    /// Size of key and value as JSON, in bytes.
    bytes: usize,
}

/// The response of Genesys Cloud.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct UpstreamDetail {
    /// The HTTP status.
    status: u16,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The message, without attribute values.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl<'a> ProblemBody<'a> {
    pub(super) fn new(problem: &'a Problem, about: &ProblemContext<'a>) -> Self {
        let inner = &problem.0;
        let mut members = inner.members.clone();
        let report = members.report.take();
        members.report = report
            .map(|report| Box::new(report.completed(about.total_bytes, about.upstream_calls)));
        Self {
            r#type: format!("{}/problems/{}", about.public_url, inner.code.as_str()),
            title: inner.code.title(),
            status: problem.status().as_u16(),
            detail: &inner.detail,
            instance: [about.public_url, about.instance].concat(),
            code: inner.code.as_str(),
            message: &inner.detail,
            request_id: about.request_id,
            correlation_id: about.correlation_id,
            retryable: inner.retryable,
            retry_after_seconds: problem.retry_after_seconds(),
            effect: inner.effect.as_str(),
            hint: problem.hint(),
            errors: inner.errors.reported().iter().map(ProblemViolation::from).collect(),
            errors_left_out: Some(inner.errors.omitted()).filter(|omitted| *omitted > 0),
            // The report of a write already contains the participant.
            participant: members.report.is_none().then_some(inner.participant.as_ref()).flatten(),
            members,
        }
    }
}

impl<'a> From<&'a Violation> for ProblemViolation<'a> {
    fn from(violation: &'a Violation) -> Self {
        Self { pointer: &violation.pointer, detail: &violation.detail }
    }
}

impl From<Error> for ProblemMembers {
    fn from(error: Error) -> Self {
        let mut members = Self::default();
        match error {
            Error::AmbiguousParticipant { candidates, .. } => {
                members.candidates = Some(candidates);
            }
            Error::ParticipantNotFound { purposes, .. } => members.purposes = Some(purposes),
            Error::AttributesTooLarge(size) => {
                let entry = |(key, bytes): &(AttributeKey, usize)| LargeEntry {
                    key: key.as_str().to_owned(),
                    bytes: *bytes,
                };
                members.bytes = Some(size.bytes);
                members.limit_bytes = Some(size.limit_bytes);
                members.largest = Some(size.largest().map(entry).collect());
            }
            // The middleware adds the limit and the number of calls to the report.
            Error::Superseded(report) => {
                members.report = Some(Box::new(WriteResponse::from(*report)));
            }
            Error::ParticipantLeft { code, message, .. } => {
                members.upstream = Some(UpstreamDetail { status: 404, code, message });
            }
            Error::UpstreamRejected { status, code, message } => {
                members.upstream = Some(UpstreamDetail { status, code, message });
            }
            _ => {}
        }
        members
    }
}
