//! The filters of a list, from a query string or a body, with the same names and rules in both.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::cursor;
use crate::app::ListRequest;
use crate::domain::{CallDirection, ConversationFilter, PhoneNumber, ResourceId, Violation};
use crate::error::ErrorCode;
use crate::http::body_parser;
use crate::http::etag::EtagKey;
use crate::http::params::FormatParam;
use crate::http::problem::Problem;
use crate::http::query::{StrictQuery, parsed, read_values};
use crate::http::violations::ViolationList;
use crate::ports::RequestContext;

const LIMIT: &str = "limit";
pub(super) const CURSOR: &str = "cursor";
/// Phone numbers, which a query string may not contain.
const NUMBERS: [&str; 2] = ["ani", "dnis"];

const DEFAULT_LIMIT: usize = 25;
/// Maximum number of conversations in a response: one page of the analytics query.
const MAX_LIMIT: usize = 100;

/// The filters of a search; each one narrows the list further. Phone numbers are accepted in the usual
/// notations (`+1 555 010 0111`, `0015550100111`, `tel:…`, `sip:…@host`). A number without a country code
/// is searched for as given, with an entry in `warnings`.
#[derive(Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SearchRequestBody {
    /// Phone number of the caller (ANI).
    #[serde(default, deserialize_with = "parsed")]
    #[param(ignore)]
    #[schema(value_type = Option<String>, example = "+15550100111", pattern = r"^([tT][eE][lL]:)?[ .()-]*\+?[ .()-]*([0-9][ .()-]*){1,32}$")]
    ani: Option<PhoneNumber>,
    /// Phone number that was called (DNIS).
    #[serde(default, deserialize_with = "parsed")]
    #[param(ignore)]
    #[schema(value_type = Option<String>, pattern = r"^([tT][eE][lL]:)?[ .()-]*\+?[ .()-]*([0-9][ .()-]*){1,32}$")]
    dnis: Option<PhoneNumber>,
    /// `live`, the only value. Ended conversations are not listed.
    #[param(inline, example = "live")]
    #[schema(inline)]
    #[expect(dead_code, reason = "its only value changes nothing")]
    state: Option<StateName>,
    /// `inbound` or `outbound`.
    #[param(inline, example = "inbound")]
    #[schema(inline)]
    direction: Option<CallDirection>,
    /// Only conversations that are now in this queue or with one of its agents.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = "uuid")]
    #[schema(value_type = Option<String>, format = "uuid")]
    queue_id: Option<ResourceId>,
    /// Only conversations in which this user now takes part.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, format = "uuid")]
    #[schema(value_type = Option<String>, format = "uuid")]
    user_id: Option<ResourceId>,
    /// Maximum number of conversations; default 25.
    #[serde(default, deserialize_with = "limit")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, example = 25)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `nextCursor` of the previous response; valid only with the same filters.
    cursor: Option<String>,
}

/// The state of a conversation in a list.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateName {
    Live,
}

fn limit<'de, D: Deserializer<'de>>(value: D) -> Result<Option<usize>, D::Error> {
    let limit = String::deserialize(value)?.parse().ok();
    let is_valid = limit.is_some_and(|limit| (1..=MAX_LIMIT).contains(&limit));
    let detail = || D::Error::custom(format!("has to be a whole number from 1 to {MAX_LIMIT}"));
    is_valid.then_some(limit).ok_or_else(detail)
}

impl SearchRequestBody {
    fn filter(&self) -> ConversationFilter {
        ConversationFilter {
            direction: self.direction,
            queue: self.queue_id,
            user: self.user_id,
            ani: self.ani.clone(),
            dnis: self.dnis.clone(),
        }
    }

    /// # Errors
    /// What is wrong with the cursor. Its seal covers the filters.
    pub(super) fn request(
        &self,
        key: &EtagKey,
        context: RequestContext,
    ) -> Result<ListRequest, &'static str> {
        let filter = self.filter();
        let after = self.cursor.as_ref().map(|text| {
            cursor::read(text, &filter, key)
                .ok_or("was not issued for these filters; start again without a cursor")
        });
        let after = after.transpose()?;
        Ok(ListRequest { filter, limit: self.limit.unwrap_or(DEFAULT_LIMIT), after, context })
    }

    /// Warnings for the client about how the gateway interpreted the filters.
    pub(super) fn warnings(&self) -> Vec<String> {
        let numbers = NUMBERS.into_iter().zip([&self.ani, &self.dnis]);
        let without_country_code = numbers
            .filter(|(_, number)| number.as_ref().is_some_and(|number| !number.has_country_code()));
        without_country_code
            .map(|(name, _)| {
                format!(
                    "`{name}` has no country code, so it was searched for as given; Genesys Cloud \
                     mostly stores numbers as +15550100111"
                )
            })
            .collect()
    }
}

const KNOWN_MEMBERS: &str = "A search takes `ani`, `dnis`, `state`, `direction`, `queueId`, `userId`, `limit` and `cursor`, all of them optional.";
const NUMBER: &str = "Write the number with its country code, such as +15550100111, 0015550100111 or tel:+15550100111; spaces, hyphens and brackets are ignored.";

const FILTERS: &str =
    "Correct the members listed in `errors`, or leave them out: every filter is optional.";
const SEARCH: &str =
    "Send a JSON object such as {\"ani\": \"+15550100111\"}; {} lists all live conversations.";

/// Why a query string contains no phone number.
const IN_BODY: &str =
    "would appear in access logs; send it in the body of a POST to /v1/conversations/search";

pub(super) fn from_query(raw: Option<&str>) -> Result<(SearchRequestBody, FormatParam), Problem> {
    StrictQuery::parse_without(raw, &NUMBERS, IN_BODY).map(|StrictQuery(parsed)| parsed)
}

pub(super) fn from_body(body: &[u8]) -> Result<SearchRequestBody, Problem> {
    let members = body_parser::parse_members(body);
    let (mut values, mut wrong_types) = (Vec::new(), Vec::new());
    for (name, value) in members.map_err(|problem| problem.with_hint(SEARCH))? {
        let text = match value {
            // `null` counts as absent.
            Value::Null => continue,
            Value::String(text) if name != LIMIT => text,
            Value::Number(number) if name == LIMIT => {
                // JSON makes no difference between 7 and 7.0.
                let text = number.to_string();
                text.strip_suffix(".0").unwrap_or(&text).to_owned()
            }
            other => {
                let kind = if name == LIMIT { "number" } else { "string" };
                wrong_types.push((name.clone(), format!("has to be a {kind}")));
                other.to_string()
            }
        };
        values.push((name, text));
    }
    let (filters, mut wrong) = read_values(values, "member");
    wrong_types.retain(|(name, _)| wrong.iter().all(|(other, _)| other != name));
    wrong.append(&mut wrong_types);
    if wrong.is_empty() { Ok(filters) } else { Err(wrong_members(wrong)) }
}

pub(super) fn wrong_members(wrong: impl IntoIterator<Item = (String, String)>) -> Problem {
    let mut mistakes = ViolationList::default();
    for (name, detail) in wrong {
        let hint = if detail.starts_with("is not a member") {
            KNOWN_MEMBERS
        } else if NUMBERS.contains(&name.as_str()) {
            NUMBER
        } else {
            FILTERS
        };
        mistakes.note_hinted(hint, || Violation::new(body_parser::member(&name), detail));
    }
    Problem::listing(ErrorCode::InvalidJson, mistakes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::negotiate::ResponseFormat;

    #[test]
    fn query_and_body_are_parsed_alike() {
        let id = "9e000000-0000-4000-8000-000000000001";
        let query =
            format!("state=live&direction=outbound&queueId={id}&userId={id}&limit=7&format=text");
        let (by_query, format) = from_query(Some(&query)).expect("sound");
        let body = serde_json::json!({"state": "live", "direction": "outbound", "queueId": id,
            "userId": id, "limit": 7, "ani": null});
        let by_body = from_body(body.to_string().as_bytes()).expect("sound");
        assert_eq!((by_query.limit, by_body.limit), (Some(7), Some(7)));
        assert_eq!(by_query.filter().direction, Some(CallDirection::Outbound));
        assert_eq!(format.format, Some(ResponseFormat::Text));
        assert_eq!(from_body(b"{}").expect("sound").limit, None);
        assert_eq!(by_query.filter(), by_body.filter());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,80}", name in "[a-z]{0,8}", value in ".{0,20}") {
            let _ = from_query(Some(&text));
            let _ = from_body(text.as_bytes());
            let _ = from_body(serde_json::json!({name: value}).to_string().as_bytes());
        }
    }
}
