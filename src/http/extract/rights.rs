//! Checks the rights of the client before the gateway calls Genesys Cloud.

use crate::domain::{AttributeKey, ClientRights, ParticipantSelector, Patch, Violation};
use crate::error::{Error, ErrorCode};
use crate::http::problem::Problem;
use crate::http::violations::ViolationList;
use crate::http::violations::shortened;

/// Refuses a selector that the client may not use.
pub(in crate::http) fn check_selector(
    rights: &ClientRights,
    selector: &ParticipantSelector,
) -> Result<(), Problem> {
    if rights.may_name(selector) {
        return Ok(());
    }
    let asked = selector.to_string();
    Err(Error::ParticipantNotAllowed { asked }.into())
}

/// Lists the named keys that the client may not read, each with the part of the request that names it.
pub(in crate::http) fn refused<'a>(
    rights: &ClientRights,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> ViolationList {
    let refused = |(place, key): (&str, &str)| {
        let why = rights.refuses(key)?;
        Some(Violation::new(place, format!("`{}`: {why}", shortened(key))))
    };
    named.filter_map(refused).collect()
}

/// Lists the keys of a body that the client may not write.
pub(in crate::http) fn refused_of(
    rights: &ClientRights,
    patch: &Patch,
) -> impl Iterator<Item = Violation> {
    let refused = |key: &AttributeKey| {
        let why = rights.refuses(key.as_str())?;
        Some(Violation::of_attribute(key.as_str(), why.to_string()))
    };
    patch.keys().filter_map(refused)
}

/// Refuses a client that may only read. The check needs only the request head.
pub(in crate::http) fn check_writing(rights: &ClientRights) -> Result<(), Problem> {
    if rights.may_write() { Ok(()) } else { Err(Error::ReadOnlyClient.into()) }
}

/// Refuses a request if it names keys that the client may not use. The problem lists all of them.
pub(in crate::http) fn all_allowed(refused: ViolationList) -> Result<(), Problem> {
    if refused.is_empty() {
        return Ok(());
    }
    Err(Problem::listing(ErrorCode::AttributeNotAllowed, refused))
}
