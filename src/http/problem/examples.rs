//! One plausible problem for each code: the examples of the `OpenAPI` document, made by the same
//! code that makes real ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Problem;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyOutcome, ParticipantId,
    ParticipantSummary, SelectionRule, SizeExcess, VerificationStatus, VerificationSummary,
    Violation, WriteReport,
};
use crate::error::{Effect, Error, ErrorCode, RequestFailure};
use crate::http::violations::ViolationList;

const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";
const FIRST: &str = "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0";
const SECOND: &str = "0b1c2d3e-4f50-4617-a829-3a4b5c6d7e8f";

impl Problem {
    /// A plausible problem with this code.
    #[expect(clippy::too_many_lines, reason = "one line for each code")]
    pub(in crate::http) fn example(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidConversationId
            | ErrorCode::InvalidJson
            | ErrorCode::InvalidQuery
            | ErrorCode::InvalidHeader
            | ErrorCode::AttributeNotAllowed
            | ErrorCode::InvalidAttributes => {
                Self::listing(code, ViolationList::from_iter(mistakes(code)))
            }
            ErrorCode::AttributeNotFound
            | ErrorCode::Unauthenticated
            | ErrorCode::NotFound
            | ErrorCode::MethodNotAllowed
            | ErrorCode::NotAcceptable
            | ErrorCode::RequestTimeout
            | ErrorCode::BodyTooLarge
            | ErrorCode::PreconditionRequired
            | ErrorCode::UnsupportedMediaType => Self::new(code, description(code)),
            ErrorCode::InvalidParticipant
            | ErrorCode::ConversationNotFound
            | ErrorCode::ParticipantNotFound
            | ErrorCode::AmbiguousParticipant
            | ErrorCode::ConversationEnded
            | ErrorCode::ParticipantNotAllowed
            | ErrorCode::ReadOnlyClient
            | ErrorCode::ClientRateLimited
            | ErrorCode::WriteSuperseded
            | ErrorCode::UpstreamConflict
            | ErrorCode::PreconditionFailed
            | ErrorCode::AttributesTooLarge
            | ErrorCode::Internal
            | ErrorCode::UpstreamRejected
            | ErrorCode::UpstreamForbidden
            | ErrorCode::UpstreamAuthFailed
            | ErrorCode::UpstreamInvalidResponse
            | ErrorCode::UpstreamRateLimited
            | ErrorCode::UpstreamUnavailable
            | ErrorCode::Overloaded
            | ErrorCode::AuditUnavailable
            | ErrorCode::ShuttingDown
            | ErrorCode::DeadlineExceeded => failure(code).into(),
        }
    }
}

const fn description(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::AttributeNotFound => "the attribute `loyalty_tier` is absent or empty",
        ErrorCode::Unauthenticated => "the request shows no credential",
        ErrorCode::MethodNotAllowed => "this path does not have this method",
        ErrorCode::NotAcceptable => "the Accept header excludes application/json",
        ErrorCode::RequestTimeout => "the body did not arrive in time",
        ErrorCode::BodyTooLarge => "the body is longer than 65536 bytes",
        ErrorCode::PreconditionRequired => "this gateway takes no write without If-Match",
        ErrorCode::UnsupportedMediaType => "the Content-Type is not application/json",
        _ => "there is nothing at this path",
    }
}

fn mistakes(code: ErrorCode) -> Vec<Violation> {
    match code {
        ErrorCode::InvalidConversationId => {
            vec![Violation::new("conversationId", "is not a UUID of the form 8-4-4-4-12")]
        }
        ErrorCode::InvalidJson => {
            vec![Violation::new("#", "EOF while parsing an object at line 1 column 42")]
        }
        ErrorCode::InvalidQuery => {
            vec![Violation::new(
                "dryrun",
                "is no parameter of this request; did you mean `dryRun`?",
            )]
        }
        ErrorCode::InvalidHeader => vec![Violation::new(
            "If-Match",
            "is neither `*` nor a list of entity tags in quotes, as the ETag header has them",
        )],
        ErrorCode::AttributeNotAllowed => vec![
            Violation::of_attribute("crm_secret_pin", "`deny` of this caller has `crm_secret_*`"),
            Violation::of_attribute("notes", "no pattern in `allow` of this caller fits the key"),
        ],
        _ => vec![
            Violation::of_attribute("visits", "the value is a number; it has to be a string"),
            Violation::of_attribute("", "the key is empty"),
        ],
    }
}

/// A failure of a use case with this code.
fn failure(code: ErrorCode) -> RequestFailure {
    let effect = match code {
        ErrorCode::WriteSuperseded => Effect::Applied,
        ErrorCode::DeadlineExceeded => Effect::Unknown,
        _ => Effect::NotApplied,
    };
    RequestFailure { error: of_request(code).unwrap_or_else(|| of_upstream(code)), effect }
}

fn of_request(code: ErrorCode) -> Option<Error> {
    Some(match code {
        ErrorCode::InvalidParticipant => {
            Error::InvalidParticipant("`all` names nobody in particular; this request needs one")
        }
        ErrorCode::ConversationNotFound => Error::ConversationNotFound(conversation()),
        ErrorCode::ConversationEnded => Error::ConversationEnded(conversation()),
        ErrorCode::ParticipantNotFound => Error::ParticipantNotFound {
            asked: "agent".to_owned(),
            purposes: vec!["customer".to_owned(), "ivr".to_owned()],
            first_needs_naming: false,
        },
        ErrorCode::AmbiguousParticipant => Error::AmbiguousParticipant {
            asked: "agent".to_owned(),
            candidates: vec![candidate(FIRST, "agent"), candidate(SECOND, "agent")],
        },
        ErrorCode::PreconditionFailed => {
            Error::PreconditionFailed { current: "\"1mU5vnWHbP0oRkZVq8n2Bg\"".to_owned() }
        }
        ErrorCode::ParticipantNotAllowed => {
            Error::ParticipantNotAllowed { asked: "agent".to_owned() }
        }
        ErrorCode::ReadOnlyClient => Error::ReadOnlyClient,
        ErrorCode::ClientRateLimited => {
            Error::ClientRateLimited { per_minute: 600, retry_after: Duration::from_millis(1_700) }
        }
        ErrorCode::WriteSuperseded => Error::Superseded(Box::new(report())),
        ErrorCode::AttributesTooLarge => Error::AttributesTooLarge(SizeExcess {
            bytes: 10_512,
            limit_bytes: 10_240,
            entries: vec![
                (AttributeKey::existing("transcript"), 9_800),
                (AttributeKey::existing("crm_customer_id"), 31),
            ],
            is_partial: false,
            said_upstream: false,
        }),
        _ => return None,
    })
}

fn of_upstream(code: ErrorCode) -> Error {
    match code {
        ErrorCode::UpstreamConflict => Error::UpstreamConflict,
        ErrorCode::UpstreamRejected => Error::UpstreamRejected {
            status: 400,
            code: Some("bad.request".to_owned()),
            message: Some("The request could not be understood by the server.".to_owned()),
        },
        ErrorCode::UpstreamForbidden => Error::UpstreamForbidden {
            permission: Some("conversation:communication:view".to_owned()),
            message: None,
        },
        ErrorCode::UpstreamAuthFailed => {
            Error::UpstreamAuthFailed("invalid_client: client not found".to_owned())
        }
        ErrorCode::UpstreamInvalidResponse => {
            Error::UpstreamInvalidResponse("the body is not JSON".to_owned())
        }
        ErrorCode::UpstreamRateLimited => Error::UpstreamRateLimited {
            reason: "Genesys Cloud throttles this client",
            retry_after: Duration::from_secs(12),
        },
        ErrorCode::UpstreamUnavailable => Error::UpstreamUnavailable {
            reason: "the last answer was 503".to_owned(),
            retry_after: Duration::from_secs(2),
        },
        ErrorCode::Overloaded => Error::Overloaded("for this participant"),
        ErrorCode::AuditUnavailable => Error::AuditUnavailable,
        ErrorCode::ShuttingDown => Error::ShuttingDown,
        ErrorCode::DeadlineExceeded => {
            Error::DeadlineExceeded("waiting for the answer to the PATCH")
        }
        _ => Error::Internal("an example".to_owned()),
    }
}

/// A write that another writer overwrote in part.
pub(in crate::http) fn report() -> WriteReport {
    let attribute = |(key, value)| (AttributeKey::existing(key), AttributeValue::new(value));
    let attributes: AttributeMap = [("crm_customer_id", "CRM-998877"), ("loyalty_tier", "silver")]
        .map(attribute)
        .into_iter()
        .collect();
    let outcomes =
        [("crm_customer_id", KeyOutcome::Verified), ("loyalty_tier", KeyOutcome::Superseded)];
    WriteReport {
        conversation: conversation(),
        participant: candidate(FIRST, "customer"),
        chosen_by: SelectionRule::Purpose,
        attributes,
        fresh: false,
        outcomes: BTreeMap::from(
            outcomes.map(|(key, outcome)| (AttributeKey::existing(key), outcome)),
        ),
        verification: VerificationSummary {
            status: VerificationStatus::Superseded,
            reads: 3,
            elapsed_ms: 1_240,
        },
        warnings: Vec::new(),
        dry_run: false,
        resulting: None,
    }
}

fn conversation() -> ConversationId {
    CONVERSATION.parse().expect("a UUID")
}

fn candidate(id: &str, purpose: &str) -> ParticipantSummary {
    ParticipantSummary {
        id: participant(id),
        purpose: purpose.into(),
        state: Some("connected".into()),
    }
}

fn participant(id: &str) -> ParticipantId {
    id.parse().expect("a UUID")
}
