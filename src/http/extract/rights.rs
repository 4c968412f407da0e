//! What the caller of a request may not do, told before anything is asked of upstream.

use crate::domain::{AttributeKey, ParticipantSelector, Patch, Rights, Violation};
use crate::error::{Code, Error, Failure};
use crate::http::mistakes::Mistakes;
use crate::http::problem::Problem;
use crate::http::query::shortened;

/// Refuses a selector or keys that the caller may not use; of keys, all at once.
pub(in crate::http) fn check<'a>(
    rights: &Rights,
    selector: &ParticipantSelector,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<(), Problem> {
    if !rights.may_name(selector) {
        let asked = selector.to_string();
        return Err(Failure::harmless(Error::ParticipantNotAllowed { asked }).into());
    }
    check_named(rights, named)
}

/// Refuses keys that the caller may not read, all at once.
pub(in crate::http) fn check_named<'a>(
    rights: &Rights,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<(), Problem> {
    let refused = |(place, key): (&str, &str)| {
        let why = rights.refuses(key)?;
        Some(Violation::at(place, format!("`{}`: {why}", shortened(key))))
    };
    all_allowed(named.filter_map(refused).collect())
}

/// Refuses a caller that may only read. Needs no more than the head of the request.
pub(in crate::http) fn check_writing(rights: &Rights) -> Result<(), Problem> {
    if rights.may_write() { Ok(()) } else { Err(Failure::harmless(Error::ReadOnlyClient).into()) }
}

/// Refuses keys of a body that the caller may not write, all at once.
pub(in crate::http) fn check_written(rights: &Rights, patch: &Patch) -> Result<(), Problem> {
    if rights.sees_all() {
        return Ok(());
    }
    let refused = |key: &AttributeKey| {
        let why = rights.refuses(key.as_str())?;
        Some(Violation::of_attribute(key.as_str(), why.to_string()))
    };
    all_allowed(patch.keys().filter_map(refused).collect())
}

fn all_allowed(refused: Mistakes) -> Result<(), Problem> {
    if refused.is_empty() {
        return Ok(());
    }
    Err(Problem::listing(Code::AttributeNotAllowed, refused))
}
