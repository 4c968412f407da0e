//! What a caller is told, as far as its rights go.
//!
//! Inside, every rule works with whole maps: sizes and the survival of other callers' keys
//! must not depend on who asks. What leaves goes through here, errors included. For a caller that
//! sees everything nothing is copied.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::{Conversation, Participant, ParticipantSelector, Rights, WriteReport};
use crate::error::{Error, Failure};

/// Refuses a selector that the caller may not use, before anything is asked of upstream.
pub(super) fn check_named(selector: &ParticipantSelector, rights: &Rights) -> Result<(), Error> {
    if rights.may_name(selector) { Ok(()) } else { Err(refused(selector)) }
}

/// Refuses a participant that none of the caller's selectors means, however it was named.
pub(super) fn check_reached(
    one: &Participant,
    conversation: &Conversation,
    (selector, rights): (&ParticipantSelector, &Rights),
    whole: bool,
) -> Result<(), Error> {
    if rights.reaches(one, conversation, whole) { Ok(()) } else { Err(refused(selector)) }
}

fn refused(selector: &ParticipantSelector) -> Error {
    Error::ParticipantNotAllowed { asked: selector.to_string() }
}

/// A participant with the attributes that the caller sees.
pub(super) fn participant(mut participant: Participant, rights: &Rights) -> Participant {
    if let Cow::Owned(seen) = rights.seen(&participant.attributes) {
        participant.attributes = seen;
    }
    participant
}

/// A conversation with the attributes that the caller sees. Of participants that it may not name that
/// is none, and neither is it told what they are called.
pub(super) fn conversation(
    conversation: Arc<Conversation>,
    rights: &Rights,
    whole: bool,
) -> Arc<Conversation> {
    if rights.sees_all() && rights.participants.is_none() {
        return conversation;
    }
    let mut seen = Conversation::clone(&conversation);
    for one in &mut seen.participants {
        if rights.reaches(one, &conversation, whole) {
            *one = participant(one.clone(), rights);
        } else {
            one.attributes = crate::domain::AttributeMap::default();
            one.name = None;
        }
    }
    Arc::new(seen)
}

/// What a write came to.
pub(super) fn report(mut report: WriteReport, rights: &Rights) -> WriteReport {
    if let Cow::Owned(seen) = rights.seen(&report.attributes) {
        report.attributes = seen;
    }
    if let Some(Cow::Owned(seen)) = report.resulting.as_ref().map(|map| rights.seen(map)) {
        report.resulting = Some(seen);
    }
    report
}

/// Why a write failed.
pub(super) fn failure(failure: Failure, rights: &Rights, whole_sent: bool) -> Failure {
    Failure { error: error(failure.error, rights, whole_sent), effect: failure.effect }
}

/// An error. Where whole maps are sent, upstream's own words may name keys of anybody's; they are
/// kept back from a caller that does not see all of them.
pub(super) fn error(error: Error, rights: &Rights, whole_sent: bool) -> Error {
    if rights.sees_all() {
        return error;
    }
    match error {
        Error::AttributesTooLarge(excess) => Error::AttributesTooLarge(excess.seen_by(rights)),
        Error::Superseded(told) => Error::Superseded(Box::new(report(*told, rights))),
        other if whole_sent => without_words(other),
        other => other,
    }
}

/// Why a PATCH was refused that held changes of others as well: upstream's own words may name them.
pub(super) fn refusal_of_shared(error: Error, rights: &Rights) -> Error {
    if rights.sees_all() { error } else { without_words(error) }
}

fn without_words(error: Error) -> Error {
    match error {
        Error::UpstreamRejected { status, code, message: _ } => {
            Error::UpstreamRejected { status, code, message: None }
        }
        Error::ParticipantLeft { participant, code, message: _ } => {
            Error::ParticipantLeft { participant, code, message: None }
        }
        Error::UpstreamForbidden { permission, message: _ } => {
            Error::UpstreamForbidden { permission, message: None }
        }
        other => other,
    }
}
