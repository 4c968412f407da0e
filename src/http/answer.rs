//! The JSON of successful answers, and how results of the use cases become answers.

pub(super) mod examples;

use std::collections::BTreeMap;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::etag;
use super::problem::Problem;
use super::state::HttpSettings;
use crate::app::Reading;
use crate::domain::{
    AttributeKey, AttributeMap, Candidate, ChosenBy, ConversationId, Outcome, Participant,
    ParticipantId, Verification, WriteReport,
};
use crate::error::{Effect, Error, Failure};

/// The attributes of one participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadAnswer {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// Whose attributes these are, and why this participant.
    participant: ChosenView,
    /// The attributes, by key; empty ones are absent.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// Size of the whole map, also where only some keys were asked for.
    size: SizeView,
}

/// The attributes of every participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadAllAnswer {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// Everybody who ever joined, in order of joining.
    participants: Vec<ParticipantView>,
}

/// A participant with its attributes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParticipantView {
    #[serde(flatten)]
    participant: CandidateView,
    /// The attributes, by key; empty ones are absent.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
}

/// A participant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub(super) struct CandidateView {
    /// Its id.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    id: ParticipantId,
    /// Its purpose, such as `customer`, as Genesys Cloud spells it.
    purpose: String,
    /// State of its last communication, such as `connected`.
    state: Option<String>,
}

/// The participant that was chosen.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChosenParticipant)]
pub(super) struct ChosenView {
    #[serde(flatten)]
    participant: CandidateView,
    /// By which rule: `id`, `purpose`, `external`, `first` or `position`.
    chosen_by: &'static str,
}

/// Size of a map of attributes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Size)]
pub(super) struct SizeView {
    /// Bytes as compact UTF-8 JSON.
    bytes: usize,
    /// Bytes it may have.
    limit_bytes: usize,
}

/// What a write came to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteAnswer {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// Whose attributes were written, and why this participant.
    participant: ChosenView,
    /// The whole map as last read; empty ones are absent.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// What became of each key: `unchanged`, `verified`, `cleared`, `unverified`, `superseded`, or
    /// `wouldSend` in a dry run.
    #[serde(serialize_with = "outcomes")]
    #[schema(value_type = BTreeMap<String, String>)]
    outcomes: BTreeMap<AttributeKey, Outcome>,
    /// How it was proved; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<VerificationView>,
    /// Size of the whole map.
    size: SizeView,
    /// Calls to the platform API that this request took, not counting the token's.
    upstream_calls: u32,
    /// Things that went less than well, for a person to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
    /// Nothing was sent, because the request was a dry run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    dry_run: bool,
}

/// How a write was proved.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Verification)]
pub(super) struct VerificationView {
    /// `verified`, `unverified`, `superseded`, `notNeeded` or `skipped`.
    status: &'static str,
    /// Read-backs that were made.
    reads: u32,
    /// From the acceptance of the PATCH to the answer, in milliseconds.
    elapsed_ms: u64,
}

/// How a caller wants to see what was read.
#[derive(Debug)]
pub(super) struct ReadView {
    pub conversation: ConversationId,
    /// Only these keys.
    pub keys: Option<Vec<String>>,
    /// The headers of the request, for `If-None-Match`.
    pub headers: HeaderMap,
}

impl ReadView {
    /// The answer that shows this.
    pub(super) fn of(self, reading: Reading, settings: &HttpSettings) -> Response {
        match reading {
            Reading::One { participant, chosen_by, fresh } => {
                self.of_one(participant, chosen_by, fresh, settings)
            }
            Reading::All(participants) => {
                let participants = participants.into_iter().map(|participant| {
                    let attributes = self.narrowed(participant.attributes);
                    ParticipantView {
                        participant: CandidateView {
                            id: participant.id,
                            purpose: participant.purpose,
                            state: participant.state,
                        },
                        attributes,
                    }
                });
                Json(ReadAllAnswer {
                    conversation_id: self.conversation,
                    participants: participants.collect(),
                })
                .into_response()
            }
        }
    }

    fn of_one(
        self,
        found: Participant,
        chosen_by: ChosenBy,
        fresh: bool,
        settings: &HttpSettings,
    ) -> Response {
        let shown = self.keys.as_deref();
        // A map out of a memory has none: nobody may base a write on it.
        let tag = fresh.then(|| settings.etag.tag(found.id, &found.attributes, shown));
        if let Some(tag) = tag.as_deref().filter(|tag| etag::is_known(&self.headers, tag)) {
            return tagged(StatusCode::NOT_MODIFIED.into_response(), tag);
        }
        let size =
            SizeView { bytes: found.attributes.json_bytes(), limit_bytes: settings.total_bytes };
        let answer = ReadAnswer {
            conversation_id: self.conversation,
            attributes: self.narrowed(found.attributes),
            participant: ChosenView {
                participant: CandidateView {
                    id: found.id,
                    purpose: found.purpose,
                    state: found.state,
                },
                chosen_by: chosen_by.as_str(),
            },
            size,
        };
        let response = Json(answer).into_response();
        match tag {
            Some(tag) => tagged(response, &tag),
            None => response,
        }
    }

    fn narrowed(&self, map: AttributeMap) -> AttributeMap {
        match &self.keys {
            Some(keys) => map.narrowed(keys),
            None => map,
        }
    }
}

/// The answer to a write. `minimal` is what the caller prefers where all is well; `keys` are those
/// that its `ETag` is taken of.
pub(super) fn written(
    report: WriteReport,
    keys: Option<&[String]>,
    minimal: bool,
    upstream_calls: u32,
    settings: &HttpSettings,
) -> Result<Response, Problem> {
    let status = match report.worst() {
        Outcome::Unchanged | Outcome::WouldSend | Outcome::Verified | Outcome::Cleared => {
            StatusCode::OK
        }
        Outcome::Unverified => StatusCode::ACCEPTED,
        Outcome::Superseded => {
            return Err(Problem::from(Failure {
                error: Error::Superseded(Box::new(report)),
                effect: Effect::Applied,
            }));
        }
    };
    let tag = (status == StatusCode::OK && report.fresh)
        .then(|| settings.etag.tag(report.participant.id, &report.attributes, keys));
    let effect = effect(&report);
    let all_is_well = status == StatusCode::OK && report.warnings.is_empty() && !report.dry_run;
    let mut response = if minimal && all_is_well {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let answer = WriteAnswer::from(report).completed(settings.total_bytes, upstream_calls);
        (status, Json(answer)).into_response()
    };
    response.extensions_mut().insert(effect);
    Ok(match tag {
        Some(tag) => tagged(response, &tag),
        None => response,
    })
}

/// Whether a write that succeeded changed anything.
fn effect(report: &WriteReport) -> Effect {
    let untouched = |outcome: &Outcome| matches!(outcome, Outcome::Unchanged | Outcome::WouldSend);
    if report.outcomes.values().all(untouched) { Effect::NotApplied } else { Effect::Applied }
}

fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Attributes are personal data of the moment: no cache between us and the caller keeps them.
pub(super) fn not_to_be_stored(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

impl WriteAnswer {
    /// The answer with what the report does not know.
    pub(super) fn completed(mut self, limit_bytes: usize, upstream_calls: u32) -> Self {
        self.size.limit_bytes = limit_bytes;
        self.upstream_calls = upstream_calls;
        self
    }
}

/// Still without limit and calls; see [`WriteAnswer::completed`].
impl From<WriteReport> for WriteAnswer {
    fn from(report: WriteReport) -> Self {
        Self {
            conversation_id: report.conversation,
            participant: ChosenView {
                participant: report.participant.into(),
                chosen_by: report.chosen_by.as_str(),
            },
            size: SizeView { bytes: report.attributes.json_bytes(), limit_bytes: 0 },
            attributes: report.attributes,
            outcomes: report.outcomes,
            verification: (!report.dry_run).then(|| report.verification.into()),
            upstream_calls: 0,
            warnings: report.warnings,
            dry_run: report.dry_run,
        }
    }
}

impl From<Candidate> for CandidateView {
    fn from(Candidate { id, purpose, state }: Candidate) -> Self {
        Self { id, purpose, state }
    }
}

impl From<Verification> for VerificationView {
    fn from(verification: Verification) -> Self {
        Self {
            status: verification.status.as_str(),
            reads: verification.reads,
            elapsed_ms: verification.elapsed_ms,
        }
    }
}

fn shown<S: Serializer>(id: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn outcomes<S: Serializer>(
    outcomes: &BTreeMap<AttributeKey, Outcome>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(outcomes.len()))?;
    for (key, outcome) in outcomes {
        map.serialize_entry(key.as_str(), outcome.as_str())?;
    }
    map.end()
}

#[cfg(test)]
mod tests;
