//! Limits what a client sees to its rights.
//!
//! Inside, every rule works with whole maps: sizes and the survival of other clients' keys must not
//! depend on the client. All answers pass through here, errors included. For a client that may see
//! everything, nothing is copied.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::{ClientRights, Conversation, Participant, ParticipantSelector, WriteReport};
use crate::error::{Error, RequestFailure};

/// Refuses a selector that the client may not use, before any upstream call.
pub(super) fn check_named(
    selector: &ParticipantSelector,
    rights: &ClientRights,
) -> Result<(), Error> {
    if rights.may_name(selector) { Ok(()) } else { Err(refused(selector)) }
}

/// The refusal of a participant that no selector of the client matches, however it was named.
pub(super) fn refused(selector: &ParticipantSelector) -> Error {
    Error::ParticipantNotAllowed { asked: selector.to_string() }
}

/// A participant with the attributes that the client may see.
pub(super) fn participant(mut participant: Participant, rights: &ClientRights) -> Participant {
    if let Cow::Owned(seen) = rights.seen(&participant.attributes) {
        participant.attributes = seen;
    }
    participant
}

/// A conversation with the attributes that the client may see. Participants that it may not name
/// show neither attributes nor a name.
pub(super) fn conversation(
    conversation: Arc<Conversation>,
    rights: &ClientRights,
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

/// The report of a write, as the client may see it.
pub(super) fn report(mut report: WriteReport, rights: &ClientRights) -> WriteReport {
    if let Cow::Owned(seen) = rights.seen(&report.attributes) {
        report.attributes = seen;
    }
    if let Some(Cow::Owned(seen)) = report.resulting.as_ref().map(|map| rights.seen(map)) {
        report.resulting = Some(seen);
    }
    report
}

/// The failure of a write, as the client may see it.
pub(super) fn failure(
    failure: RequestFailure,
    rights: &ClientRights,
    whole_sent: bool,
) -> RequestFailure {
    RequestFailure { error: error(failure.error, rights, whole_sent), effect: failure.effect }
}

/// An error, as the client may see it. Where whole maps are sent, upstream's message may name other
/// clients' keys; it is removed for a client that does not see all of them.
pub(super) fn error(error: Error, rights: &ClientRights, whole_sent: bool) -> Error {
    if rights.sees_all() {
        return error;
    }
    match error {
        Error::AttributesTooLarge(excess) => Error::AttributesTooLarge(excess.seen_by(rights)),
        Error::Superseded(written) => Error::Superseded(Box::new(report(*written, rights))),
        other if whole_sent => without_words(other),
        other => other,
    }
}

/// The refusal of a PATCH with changes of several clients: upstream's message may name their keys.
pub(super) fn refusal_of_shared(error: Error, rights: &ClientRights) -> Error {
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
