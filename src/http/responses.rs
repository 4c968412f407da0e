//! JSON bodies of successful responses.

use std::collections::BTreeMap;

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, Type};

use super::text_table::{NOTHING, TextTable, ToText, facts, warnings};
use super::violations::shortened;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyOutcome, ParticipantId,
    ParticipantSummary, SelectionRule, VerificationSummary, WriteReport,
};
use crate::error::Effect;

/// The attributes of one participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttributesResponse {
    /// The conversation.
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ChosenParticipant,
    /// The attributes by key. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// Size of all attributes, even if the request names only some keys.
    size: SizeDto,
    /// Warnings about the values, as text for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// One attribute of one participant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttributeResponse {
    /// The conversation.
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ChosenParticipant,
    /// The key.
    #[schema(value_type = String)]
    key: AttributeKey,
    /// The value, never empty.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String)]
    value: AttributeValue,
    /// Warnings about the value, as text for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The attributes of all participants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllAttributesResponse {
    /// The conversation.
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// All participants of the conversation, in order of joining.
    participants: Vec<ParticipantAttributesDto>,
    /// Warnings about the values, as text for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A participant and its attributes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParticipantAttributesDto {
    #[serde(flatten)]
    pub participant: ParticipantSummary,
    /// The attributes by key. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    pub attributes: AttributeMap,
}

/// The participant that the request refers to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChosenParticipant {
    #[serde(flatten)]
    participant: ParticipantSummary,
    /// The rule that selected it: `id`, `purpose`, `external`, `first` or `position`.
    #[schema(value_type = String)]
    chosen_by: SelectionRule,
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
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// The participant, and the rule that selected it.
    participant: ChosenParticipant,
    /// All attributes as last read. Empty attributes are omitted.
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: AttributeMap,
    /// The outcome of each key: `unchanged`, `verified`, `cleared`, `unverified`, `superseded`, or
    /// `wouldSend` in a dry run.
    #[schema(value_type = BTreeMap<String, String>)]
    outcomes: BTreeMap<AttributeKey, KeyOutcome>,
    /// How the gateway verified the write. Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<VerificationSummary>,
    /// Size of all attributes.
    size: SizeDto,
    /// Calls to the Genesys Cloud API for this request, without token requests.
    upstream_calls: u32,
    /// Warnings about the write, as text for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// `true` if the request was a dry run, so that nothing was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
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
        chosen: (ParticipantSummary, SelectionRule),
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
        chosen: (ParticipantSummary, SelectionRule),
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
            verification: (!report.dry_run).then_some(report.verification),
            upstream_calls: 0,
            dry_run: report.dry_run,
        }
    }
}

impl ChosenParticipant {
    pub(super) fn id(&self) -> ParticipantId {
        self.participant.id
    }
}

impl From<(ParticipantSummary, SelectionRule)> for ChosenParticipant {
    fn from((participant, chosen_by): (ParticipantSummary, SelectionRule)) -> Self {
        Self { participant, chosen_by }
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

fn exposed<S: Serializer>(value: &AttributeValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.expose())
}

impl ToText for AttributesResponse {
    fn text(&self) -> String {
        let chosen = &self.participant;
        let head = facts([
            ("conversation", &self.conversation_id.to_string()),
            ("participant", &chosen.participant.id.to_string()),
            (
                "",
                &format!(
                    "{}, chosen by {}",
                    describe(&chosen.participant),
                    chosen.chosen_by.as_str()
                ),
            ),
            ("size", &format!("{} of {} bytes", self.size.bytes, self.size.limit_bytes)),
        ]);
        format!("{head}\n{}{}", table(&self.attributes), warnings(&self.warnings))
    }
}

impl ToText for AllAttributesResponse {
    fn text(&self) -> String {
        let mut text = facts([("conversation", &self.conversation_id.to_string())]);
        for one in &self.participants {
            let participant = &one.participant;
            let id = participant.id.to_string();
            let head = facts([("participant", &id), ("", &describe(participant))]);
            text.push_str(&["\n", &head, "\n", &table(&one.attributes)].concat());
        }
        if self.participants.is_empty() {
            text.push_str("\n(no participants)\n");
        }
        text.push_str(&warnings(&self.warnings));
        text
    }
}

fn describe(participant: &ParticipantSummary) -> String {
    let purpose = match participant.purpose.as_str() {
        "" => "(no purpose)",
        purpose => purpose,
    };
    format!("{purpose}, {}", participant.state.as_deref().unwrap_or(NOTHING))
}

fn table(map: &AttributeMap) -> String {
    if map.is_empty() {
        return "(no attributes)\n".to_owned();
    }
    let mut table = TextTable::new(["KEY", "VALUE"]);
    for (key, value) in map.iter() {
        table.row([key.as_str(), value.expose()]);
    }
    table.finish()
}
