//! Parses the body of a request that is not a write: an object, split into its members.

use serde_json::Value;

use super::json_tree::{JsonMember, JsonTree};
use super::{ROOT, not_an_object, not_json, parse_body};
use crate::error::ErrorCode;
use crate::http::problem::Problem;

/// Returns the members of the object in their order, including duplicates. Arrays and objects in them
/// are empty.
pub(in crate::http) fn parse_members(body: &[u8]) -> Result<Vec<(String, Value)>, Problem> {
    match parse_body(body, ErrorCode::InvalidJson.hint())? {
        JsonTree::Object(members) => {
            let member = |(name, value): JsonMember| (name.text.into(), value.into());
            Ok(members.into_iter().map(member).collect())
        }
        other => Err(not_json(ROOT, not_an_object(&other))),
    }
}
