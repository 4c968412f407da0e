//! JSON bodies of successful responses.

mod text;

use std::collections::BTreeMap;

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, Type};

use super::violations::shortened;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyOutcome, Participant,
    ParticipantId, ParticipantSummary, SelectionRule, VerificationSummary, WriteReport,
};
use crate::error::Effect;

/// The attributes of one participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttributesResponse {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ResolvedParticipantDto,
    /// The attributes by key. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// Size of all attributes, even if the request names only some keys.
    size: SizeDto,
    /// Warnings about the values, as text for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// One attribute of one participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttributeResponse {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ResolvedParticipantDto,
    /// The key.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String)]
    key: AttributeKey,
    /// The value, never empty.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String)]
    value: AttributeValue,
    /// Warnings about the value, as text for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// The attributes of all participants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllAttributesResponse {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// All participants of the conversation, in order of joining.
    participants: Vec<ParticipantAttributesDto>,
    /// Warnings about the values, as text for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A participant and its attributes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParticipantAttributesDto {
    #[serde(flatten)]
    pub participant: CandidateDto,
    /// The attributes by key. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: AttributeMap,
}

/// A participant of a conversation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub(super) struct CandidateDto {
    /// Id of the participant.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    id: ParticipantId,
    /// Purpose of the participant, such as `customer`, spelled as in Genesys Cloud.
    #[schema(value_type = String)]
    purpose: SmolStr,
    /// State of the participant's last communication, such as `connected`.
    #[schema(value_type = Option<String>)]
    state: Option<SmolStr>,
}

/// The participant that the request refers to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChosenParticipant)]
pub(super) struct ResolvedParticipantDto {
    #[serde(flatten)]
    participant: CandidateDto,
    /// The rule that selected it: `id`, `purpose`, `external`, `first` or `position`.
    chosen_by: &'static str,
}

/// Size of the attributes of a participant.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Size)]
pub(super) struct SizeDto {
    /// Size in bytes, as compact UTF-8 JSON.
    bytes: usize,
    /// The limit in bytes.
    limit_bytes: usize,
}

/// The result of a write.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteResponse {
    /// The conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ResolvedParticipantDto,
    /// All attributes as last read. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// The outcome of each key: `unchanged`, `verified`, `cleared`, `unverified`, `superseded`, or
    /// `wouldSend` in a dry run.
    #[serde(serialize_with = "outcomes")]
    #[schema(value_type = BTreeMap<String, String>)]
    outcomes: BTreeMap<AttributeKey, KeyOutcome>,
    /// How the gateway verified the write. Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<VerificationDto>,
    /// Size of all attributes.
    size: SizeDto,
    /// Calls to the Genesys Cloud API for this request, without token requests.
    upstream_calls: u32,
    /// Warnings about the write, as text for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
    /// `true` if the request was a dry run, so that nothing was sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    dry_run: bool,
}

/// How the gateway verified a write.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VerificationSummary)]
pub(super) struct VerificationDto {
    /// `verified`, `unverified`, `superseded`, `notNeeded` or `skipped`.
    status: &'static str,
    /// Number of read-backs.
    reads: u32,
    /// Milliseconds from the accepted PATCH to the response.
    elapsed_ms: u64,
}

const MAX_WARNED: usize = 10;

/// A warning about values that upstream stores as invalid Unicode, if there are any.
pub(super) fn damage(map: &AttributeMap) -> Option<String> {
    map.damaged_keys().next()?;
    Some(damage_of(map.damaged_keys()))
}

fn damage_of<'a>(keys: impl IntoIterator<Item = &'a AttributeKey>) -> String {
    let mut keys = keys.into_iter().map(|key| format!("`{}`", shortened(key.as_str())));
    let named: Vec<_> = keys.by_ref().take(MAX_WARNED).collect();
    let more = match keys.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "Genesys Cloud holds half of a surrogate pair, which is no Unicode character, in {}{more}; it is \
         shown as U+FFFD. A new write repairs a value; the name of a key stays as it is",
        named.join(", ")
    )
}

/// Forbids caches to store the response: attributes are personal data, and they change.
pub(super) fn not_to_be_stored(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

impl AttributesResponse {
    /// `size` is the size of all attributes and its limit, in bytes.
    pub(super) fn new(
        conversation_id: ConversationId,
        chosen: (Participant, SelectionRule),
        attributes: AttributeMap,
        size: (usize, usize),
    ) -> Self {
        let size = SizeDto { bytes: size.0, limit_bytes: size.1 };
        let warnings = damage(&attributes).into_iter().collect();
        Self { conversation_id, participant: chosen.into(), attributes, size, warnings }
    }
}

impl AttributeResponse {
    pub(super) fn new(
        conversation_id: ConversationId,
        chosen: (Participant, SelectionRule),
        (key, value): (AttributeKey, AttributeValue),
    ) -> Self {
        let warnings = value.damaged_json().map(|_| damage_of([&key])).into_iter().collect();
        Self { conversation_id, participant: chosen.into(), key, value, warnings }
    }
}

impl AllAttributesResponse {
    pub(super) fn new(
        conversation_id: ConversationId,
        participants: Vec<ParticipantAttributesDto>,
    ) -> Self {
        let damaged = participants.iter().filter_map(|one| damage(&one.attributes));
        let mut warnings: Vec<_> = damaged.collect();
        warnings.dedup();
        Self { conversation_id, participants, warnings }
    }
}

impl WriteResponse {
    pub(super) fn attributes(&self) -> &AttributeMap {
        &self.attributes
    }

    pub(super) fn participant_id(&self) -> ParticipantId {
        self.participant.participant.id
    }

    /// Adds what the report lacks: the size limit and the number of upstream calls.
    pub(super) fn completed(mut self, limit_bytes: usize, upstream_calls: u32) -> Self {
        self.size.limit_bytes = limit_bytes;
        self.upstream_calls = upstream_calls;
        self
    }
}

/// Without limit and calls; [`WriteResponse::completed`] adds them.
impl From<WriteReport> for WriteResponse {
    fn from(report: WriteReport) -> Self {
        let bytes = report.sized().json_bytes();
        Self {
            conversation_id: report.conversation,
            participant: (report.participant, report.chosen_by).into(),
            size: SizeDto { bytes, limit_bytes: 0 },
            warnings: report.warnings.into_iter().chain(damage(&report.attributes)).collect(),
            attributes: report.attributes,
            outcomes: report.outcomes,
            verification: (!report.dry_run).then(|| report.verification.into()),
            upstream_calls: 0,
            dry_run: report.dry_run,
        }
    }
}

impl ResolvedParticipantDto {
    pub(super) fn id(&self) -> ParticipantId {
        self.participant.id
    }
}

impl<P: Into<CandidateDto>> From<(P, SelectionRule)> for ResolvedParticipantDto {
    fn from((participant, by): (P, SelectionRule)) -> Self {
        Self { participant: participant.into(), chosen_by: by.as_str() }
    }
}

impl From<ParticipantSummary> for CandidateDto {
    fn from(ParticipantSummary { id, purpose, state }: ParticipantSummary) -> Self {
        Self { id, purpose, state }
    }
}

impl From<Participant> for CandidateDto {
    fn from(participant: Participant) -> Self {
        Self { id: participant.id, purpose: participant.purpose, state: participant.state }
    }
}

impl From<VerificationSummary> for VerificationDto {
    fn from(verification: VerificationSummary) -> Self {
        Self {
            status: verification.status.as_str(),
            reads: verification.reads,
            elapsed_ms: verification.elapsed_ms,
        }
    }
}

/// The schema of `effect`. Codes and outcomes get no list of words: v1 may add new ones, and a
/// generated client would reject those.
pub(super) fn effect_schema() -> Object {
    Object::builder()
        .schema_type(Type::String)
        .enum_values(Some(Effect::ALL.map(Effect::as_str)))
        .description(Some("Whether attributes were changed, as known at the time of the response"))
        .build()
}

pub(super) fn shown<S: Serializer>(
    id: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn exposed<S: Serializer>(value: &AttributeValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.expose())
}

fn outcomes<S: Serializer>(
    outcomes: &BTreeMap<AttributeKey, KeyOutcome>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(outcomes.len()))?;
    for (key, outcome) in outcomes {
        map.serialize_entry(key.as_str(), outcome.as_str())?;
    }
    map.end()
}
