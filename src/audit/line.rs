//! Encodes an audit record as one line of JSON, with the field names of the log.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::clock;
use crate::domain::{ConversationId, ParticipantId};
use crate::error::{Effect, ErrorCode};
use crate::ports::{AuditRecord, KeyRecord, KeyResult, RecordKind, ValueFingerprint};

/// Distinguishes audit lines from log lines if both go to one output.
const TARGET: &str = "audit";

/// Encodes a record, with line end.
pub(super) fn encode(record: &AuditRecord) -> Vec<u8> {
    // Strings, numbers and lists always serialise.
    let mut line = serde_json::to_vec(&RecordLine::from_record(record)).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Encodes the number of write requests that were refused early with this code.
pub(super) fn encode_refusals(code: ErrorCode, count: u64) -> Vec<u8> {
    let line = RefusalLine {
        timestamp: clock::timestamp(),
        target: TARGET,
        record: "refused",
        code: code.as_str(),
        count,
    };
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

#[derive(Serialize)]
struct RefusalLine {
    timestamp: String,
    target: &'static str,
    record: &'static str,
    #[serde(rename = "problem.code")]
    code: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct RecordLine<'a> {
    timestamp: String,
    target: &'static str,
    record: &'static str,
    #[serde(rename = "request.id")]
    request_id: &'a str,
    #[serde(rename = "client.name", skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(rename = "http.method")]
    method: &'a str,
    #[serde(rename = "conversation.id", skip_serializing_if = "Option::is_none")]
    conversation: Option<DisplayText<ConversationId>>,
    #[serde(rename = "participant.selector", skip_serializing_if = "Option::is_none")]
    selector: Option<&'a str>,
    #[serde(rename = "participant.id", skip_serializing_if = "Option::is_none")]
    participant: Option<DisplayText<ParticipantId>>,
    #[serde(rename = "participant.purpose", skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    keys: Vec<KeyLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_left_out: Option<usize>,
    #[serde(flatten)]
    ending: Option<ResponseLine<'a>>,
}

#[derive(Serialize)]
struct ResponseLine<'a> {
    effect: &'static str,
    #[serde(rename = "http.status")]
    status: u16,
    #[serde(rename = "problem.code", skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(rename = "correlation.id", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(rename = "upstream.calls")]
    upstream_calls: u32,
}

#[derive(Serialize)]
struct KeyLine<'a> {
    key: &'a str,
    /// Absent if it is unknown; `null` if the key was absent.
    #[serde(skip_serializing_if = "is_unknown", serialize_with = "print")]
    old: &'a ValueFingerprint,
    #[serde(serialize_with = "print")]
    new: &'a ValueFingerprint,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

impl<'a> RecordLine<'a> {
    fn from_record(record: &'a AuditRecord) -> Self {
        let (participant, purpose) =
            record.participant.as_ref().map(|(id, purpose)| (*id, purpose)).unzip();
        let left_out = record.keys_left_out;
        Self {
            timestamp: clock::timestamp(),
            target: TARGET,
            record: match record.stage {
                RecordKind::Intent => "intent",
                RecordKind::Outcome => "outcome",
            },
            request_id: &record.origin.request_id,
            client: record.origin.client.as_deref(),
            address: record.origin.address.map(|address| address.to_string()),
            method: &record.origin.method,
            conversation: record.conversation.map(DisplayText),
            selector: record.selector.as_deref(),
            participant: participant.map(DisplayText),
            purpose: purpose.map(String::as_str),
            dry_run: record.dry_run,
            keys: record.keys.iter().map(KeyLine::from_record).collect(),
            keys_left_out: (left_out > 0).then_some(left_out),
            ending: record.ending.as_ref().map(|ending| ResponseLine {
                effect: Effect::as_str(ending.effect),
                status: ending.status,
                code: ending.code.map(ErrorCode::as_str),
                correlation_id: ending.correlation_id.as_deref(),
                upstream_calls: ending.upstream_calls,
            }),
        }
    }
}

impl<'a> KeyLine<'a> {
    fn from_record(record: &'a KeyRecord) -> Self {
        let outcome = record.end.map(KeyResult::as_str);
        Self { key: record.key.as_str(), old: &record.old, new: &record.new, outcome }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_unknown(print: &&ValueFingerprint) -> bool {
    **print == ValueFingerprint::Unknown
}

fn print<S: Serializer>(print: &ValueFingerprint, serializer: S) -> Result<S::Ok, S::Error> {
    match print {
        ValueFingerprint::Unknown | ValueFingerprint::Absent => serializer.serialize_none(),
        ValueFingerprint::Of(text) => serializer.serialize_str(text),
    }
}

struct DisplayText<T>(T);

impl<T: fmt::Display> Serialize for DisplayText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
