//! The JSON body of a problem.

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Problem, ProblemExtra};
use crate::domain::Violation;
use crate::error::ErrorCode;
use crate::http::responses::{CandidateDto, ResolvedParticipantDto, WriteResponse};

/// The part of a problem that the middleware adds.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct ProblemContext<'a> {
    /// Path of the request.
    pub instance: &'a str,
    /// Prefix of the paths of links; may be empty.
    pub public_url: &'a str,
    /// Id of the request.
    pub request_id: &'a str,
    /// `ININ-Correlation-Id` of the last call.
    pub correlation_id: Option<&'a str>,
    /// Calls to the Genesys Cloud API.
    pub upstream_calls: u32,
    /// Size limit of the attributes in bytes.
    pub total_bytes: usize,
}

/// A problem (RFC 9457), with additional members.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(in crate::http) struct ProblemBody<'a> {
    /// URL of a page that explains the code.
    #[schema(value_type = String, format = "uri-reference")]
    r#type: TypeRef<'a>,
    /// Short summary, the same for each problem with this code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: &'a str,
    /// Path of the request.
    #[schema(value_type = String)]
    instance: InstanceRef<'a>,
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
    participant: Option<&'a ResolvedParticipantDto>,
    #[serde(flatten)]
    extra: ExtraBody<'a>,
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
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProblemMembers)]
struct ExtraBody<'a> {
    /// `ambiguous-participant`: the participants that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<&'a [CandidateDto]>,
    /// `participant-not-found`: the purposes of the participants in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    purposes: Option<&'a [String]>,
    /// `attributes-too-large`: size of the merged attributes as JSON, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// `attributes-too-large`: the limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<usize>,
    /// `attributes-too-large`: the largest entries, largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest: Option<Vec<LargeEntry<'a>>>,
    /// `upstream-rejected`, and `participant-not-found` after a PATCH: the response of Genesys Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamDetail<'a>>,
    /// `write-superseded`: the members of a write response.
    #[serde(flatten)]
    #[schema(ignore)]
    report: Option<WriteResponse>,
}

/// A large attribute.
#[derive(Serialize, ToSchema)]
struct LargeEntry<'a> {
    /// The key.
    key: &'a str,
    /// Size of key and value as JSON, in bytes.
    bytes: usize,
}

/// The response of Genesys Cloud.
#[derive(Serialize, ToSchema)]
struct UpstreamDetail<'a> {
    /// The HTTP status.
    status: u16,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// The message, without attribute values.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

struct TypeRef<'a>(&'a str, ErrorCode);

impl fmt::Display for TypeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/problems/{}", self.0, self.1.as_str())
    }
}

impl Serialize for TypeRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Public URL and path of the request.
struct InstanceRef<'a>(&'a str, &'a str);

impl Serialize for InstanceRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

impl<'a> ProblemBody<'a> {
    pub(in crate::http) fn new(problem: &'a Problem, about: &ProblemContext<'a>) -> Self {
        let inner = &problem.0;
        Self {
            r#type: TypeRef(about.public_url, inner.code),
            title: inner.code.title(),
            status: problem.status().as_u16(),
            detail: &inner.detail,
            instance: InstanceRef(about.public_url, about.instance),
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
            participant: problem.report().is_none().then_some(inner.participant.as_ref()).flatten(),
            extra: ExtraBody::new(&inner.extra, about),
        }
    }
}

impl<'a> From<&'a Violation> for ProblemViolation<'a> {
    fn from(violation: &'a Violation) -> Self {
        Self { pointer: &violation.pointer, detail: &violation.detail }
    }
}

impl<'a> ExtraBody<'a> {
    fn new(extra: &'a ProblemExtra, about: &ProblemContext<'_>) -> Self {
        let mut body = Self::default();
        match extra {
            ProblemExtra::None | ProblemExtra::Current(_) => {}
            ProblemExtra::Candidates(candidates) => body.candidates = Some(candidates),
            ProblemExtra::Purposes(purposes) => body.purposes = Some(purposes),
            ProblemExtra::Size(size) => {
                let entry = |(key, bytes): &'a (crate::domain::AttributeKey, usize)| LargeEntry {
                    key: key.as_str(),
                    bytes: *bytes,
                };
                body.bytes = Some(size.bytes);
                body.limit_bytes = Some(size.limit_bytes);
                body.largest = Some(size.largest().map(entry).collect());
            }
            ProblemExtra::Report(report) => {
                let report = WriteResponse::clone(report);
                body.report = Some(report.completed(about.total_bytes, about.upstream_calls));
            }
            ProblemExtra::Upstream { status, code, message } => {
                body.upstream = Some(UpstreamDetail {
                    status: *status,
                    code: code.as_deref(),
                    message: message.as_deref(),
                });
            }
        }
        body
    }
}
