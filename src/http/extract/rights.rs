//! What the caller of a request may not do, told before anything is asked of upstream.

use crate::domain::{AttributeKey, ParticipantSelector, Patch, Rights, Violation};
use crate::error::{Code, Error, Failure};
use crate::http::problem::Problem;
use crate::http::query::shortened;
use crate::http::violations::Mistakes;

/// Refuses a selector or keys that the caller may not use; of keys, all at once.
pub(in crate::http) fn check<'a>(
    rights: &Rights,
    selector: &ParticipantSelector,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<(), Problem> {
    check_selector(rights, selector)?;
    check_named(rights, named)
}

/// Refuses a selector that the caller may not use.
pub(in crate::http) fn check_selector(
    rights: &Rights,
    selector: &ParticipantSelector,
) -> Result<(), Problem> {
    if rights.may_name(selector) {
        return Ok(());
    }
    let asked = selector.to_string();
    Err(Failure::harmless(Error::ParticipantNotAllowed { asked }).into())
}

/// Refuses keys that the caller may not read, all at once.
pub(in crate::http) fn check_named<'a>(
    rights: &Rights,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<(), Problem> {
    all_allowed(refused(rights, named))
}

/// The named keys that the caller may not read.
pub(in crate::http) fn refused<'a>(
    rights: &Rights,
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Mistakes {
    let refused = |(place, key): (&str, &str)| {
        let why = rights.refuses(key)?;
        Some(Violation::at(place, format!("`{}`: {why}", shortened(key))))
    };
    named.filter_map(refused).collect()
}

/// Refuses a caller that may only read. Needs no more than the head of the request.
pub(in crate::http) fn check_writing(rights: &Rights) -> Result<(), Problem> {
    if rights.may_write() { Ok(()) } else { Err(Failure::harmless(Error::ReadOnlyClient).into()) }
}

/// The keys of a body that the caller may not write.
pub(in crate::http) fn refused_of(
    rights: &Rights,
    patch: &Patch,
) -> impl Iterator<Item = Violation> {
    let refused = |key: &AttributeKey| {
        let why = rights.refuses(key.as_str())?;
        Some(Violation::of_attribute(key.as_str(), why.to_string()))
    };
    patch.keys().filter_map(refused)
}

/// Refuses a request if there are keys in it that the caller may not use.
pub(in crate::http) fn all_allowed(refused: Mistakes) -> Result<(), Problem> {
    if refused.is_empty() { Ok(()) } else { Err(not_allowed(refused)) }
}

/// The refusal of these keys.
pub(in crate::http) fn not_allowed(refused: Mistakes) -> Problem {
    Problem::listing(Code::AttributeNotAllowed, refused)
}
