//! One plausible problem for each code: the examples of the `OpenAPI` document, made by the same
//! code that makes real ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Problem;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, Candidate, ChosenBy, ConversationId, Outcome,
    ParticipantId, SizeExcess, Verification, VerificationStatus, Violation, WriteReport,
};
use crate::error::{Code, Effect, Error, Failure};
use crate::http::violations::Mistakes;

const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";
const FIRST: &str = "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0";
const SECOND: &str = "0b1c2d3e-4f50-4617-a829-3a4b5c6d7e8f";

impl Problem {
    /// A plausible problem with this code.
    pub(in crate::http) fn example(code: Code) -> Self {
        match code {
            Code::InvalidConversationId
            | Code::InvalidJson
            | Code::InvalidQuery
            | Code::InvalidHeader
            | Code::AttributeNotAllowed
            | Code::InvalidAttributes => Self::listing(code, Mistakes::from_iter(mistakes(code))),
            Code::AttributeNotFound
            | Code::Unauthenticated
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::NotAcceptable
            | Code::RequestTimeout
            | Code::BodyTooLarge
            | Code::PreconditionRequired
            | Code::UnsupportedMediaType => Self::new(code, sentence(code)),
            Code::InvalidParticipant
            | Code::ConversationNotFound
            | Code::ParticipantNotFound
            | Code::AmbiguousParticipant
            | Code::ConversationEnded
            | Code::ParticipantNotAllowed
            | Code::ReadOnlyClient
            | Code::ClientRateLimited
            | Code::WriteSuperseded
            | Code::UpstreamConflict
            | Code::PreconditionFailed
            | Code::AttributesTooLarge
            | Code::Internal
            | Code::UpstreamRejected
            | Code::UpstreamForbidden
            | Code::UpstreamAuthFailed
            | Code::UpstreamInvalidResponse
            | Code::UpstreamRateLimited
            | Code::UpstreamUnavailable
            | Code::Overloaded
            | Code::AuditUnavailable
            | Code::ShuttingDown
            | Code::DeadlineExceeded => failure(code).into(),
        }
    }
}

const fn sentence(code: Code) -> &'static str {
    match code {
        Code::AttributeNotFound => "the attribute `loyalty_tier` is absent or empty",
        Code::Unauthenticated => "the request shows no credential",
        Code::MethodNotAllowed => "this path does not have this method",
        Code::NotAcceptable => "the Accept header excludes application/json",
        Code::RequestTimeout => "the body did not arrive in time",
        Code::BodyTooLarge => "the body is longer than 65536 bytes",
        Code::PreconditionRequired => "this gateway takes no write without If-Match",
        Code::UnsupportedMediaType => "the Content-Type is not application/json",
        _ => "there is nothing at this path",
    }
}

fn mistakes(code: Code) -> Vec<Violation> {
    match code {
        Code::InvalidConversationId => {
            vec![Violation::at("conversationId", "is not a UUID of the form 8-4-4-4-12")]
        }
        Code::InvalidJson => {
            vec![Violation::at("#", "EOF while parsing an object at line 1 column 42")]
        }
        Code::InvalidQuery => {
            vec![Violation::at("dryrun", "is no parameter of this request; did you mean `dryRun`?")]
        }
        Code::InvalidHeader => vec![Violation::at(
            "If-Match",
            "is neither `*` nor a list of entity tags in quotes, as the ETag header has them",
        )],
        Code::AttributeNotAllowed => vec![
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
fn failure(code: Code) -> Failure {
    let effect = match code {
        Code::WriteSuperseded => Effect::Applied,
        Code::DeadlineExceeded => Effect::Unknown,
        _ => Effect::NotApplied,
    };
    Failure { error: of_request(code).unwrap_or_else(|| of_upstream(code)), effect }
}

fn of_request(code: Code) -> Option<Error> {
    Some(match code {
        Code::InvalidParticipant => {
            Error::InvalidParticipant("`all` names nobody in particular; this request needs one")
        }
        Code::ConversationNotFound => Error::ConversationNotFound(conversation()),
        Code::ConversationEnded => Error::ConversationEnded(conversation()),
        Code::ParticipantNotFound => Error::ParticipantNotFound {
            asked: "agent".to_owned(),
            purposes: vec!["customer".to_owned(), "ivr".to_owned()],
            first_needs_naming: false,
        },
        Code::AmbiguousParticipant => Error::AmbiguousParticipant {
            asked: "agent".to_owned(),
            candidates: vec![candidate(FIRST, "agent"), candidate(SECOND, "agent")],
        },
        Code::PreconditionFailed => {
            Error::PreconditionFailed { current: "\"1mU5vnWHbP0oRkZVq8n2Bg\"".to_owned() }
        }
        Code::ParticipantNotAllowed => Error::ParticipantNotAllowed { asked: "agent".to_owned() },
        Code::ReadOnlyClient => Error::ReadOnlyClient,
        Code::ClientRateLimited => {
            Error::ClientRateLimited { per_minute: 600, retry_after: Duration::from_millis(1_700) }
        }
        Code::WriteSuperseded => Error::Superseded(Box::new(report())),
        Code::AttributesTooLarge => Error::AttributesTooLarge(SizeExcess {
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

fn of_upstream(code: Code) -> Error {
    match code {
        Code::UpstreamConflict => Error::UpstreamConflict,
        Code::UpstreamRejected => Error::UpstreamRejected {
            status: 400,
            code: Some("bad.request".to_owned()),
            message: Some("The request could not be understood by the server.".to_owned()),
        },
        Code::UpstreamForbidden => Error::UpstreamForbidden {
            permission: Some("conversation:communication:view".to_owned()),
            message: None,
        },
        Code::UpstreamAuthFailed => {
            Error::UpstreamAuthFailed("invalid_client: client not found".to_owned())
        }
        Code::UpstreamInvalidResponse => {
            Error::UpstreamInvalidResponse("the body is not JSON".to_owned())
        }
        Code::UpstreamRateLimited => Error::UpstreamRateLimited {
            reason: "Genesys Cloud throttles this client",
            retry_after: Duration::from_secs(12),
        },
        Code::UpstreamUnavailable => Error::UpstreamUnavailable {
            reason: "the last answer was 503".to_owned(),
            retry_after: Duration::from_secs(2),
        },
        Code::Overloaded => Error::Overloaded("for this participant"),
        Code::AuditUnavailable => Error::AuditUnavailable,
        Code::ShuttingDown => Error::ShuttingDown,
        Code::DeadlineExceeded => Error::DeadlineExceeded("waiting for the answer to the PATCH"),
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
    let outcomes = [("crm_customer_id", Outcome::Verified), ("loyalty_tier", Outcome::Superseded)];
    WriteReport {
        conversation: conversation(),
        participant: candidate(FIRST, "customer"),
        chosen_by: ChosenBy::Purpose,
        attributes,
        fresh: false,
        outcomes: BTreeMap::from(
            outcomes.map(|(key, outcome)| (AttributeKey::existing(key), outcome)),
        ),
        verification: Verification {
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

fn candidate(id: &str, purpose: &str) -> Candidate {
    Candidate { id: participant(id), purpose: purpose.into(), state: Some("connected".into()) }
}

fn participant(id: &str) -> ParticipantId {
    id.parse().expect("a UUID")
}
