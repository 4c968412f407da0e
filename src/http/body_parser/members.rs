//! Parses the body of a request that is not a write: an object, split into its members.

use serde::de::MapAccess;
use serde_json::Value;

use super::{HalfSurrogates, JsonTarget, describe, not_an_object, not_json, parse, text};
use crate::http::problem::Problem;

/// Returns the members of the object in their order, including duplicates.
pub(in crate::http) fn parse_members(body: &[u8]) -> Result<Vec<(String, Value)>, Problem> {
    let (mut found, mut halves) = (Ok(Vec::new()), HalfSurrogates::default());
    let text = halves.marked(text(body)?);
    parse(&text, MembersTarget(&mut found)).map_err(|error| not_json(describe(&error)))?;
    let members = found.map_err(|kind| not_json(not_an_object(kind)))?;
    let shown = |(name, value): (String, Value)| match value {
        Value::String(text) => (halves.shown(&name), Value::String(halves.shown(&text))),
        value => (halves.shown(&name), value),
    };
    Ok(members.into_iter().map(shown).collect())
}

/// Receives the whole document: its members, or its type if it is not an object.
struct MembersTarget<'a>(&'a mut Result<Vec<(String, Value)>, &'static str>);

impl JsonTarget for MembersTarget<'_> {
    fn wrong(self, found: &'static str) {
        *self.0 = Err(found);
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut found = Vec::new();
        while let Some(member) = members.next_entry()? {
            found.push(member);
        }
        *self.0 = Ok(found);
        Ok(())
    }
}
