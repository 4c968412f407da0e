//! The filters of a list, from a query string or a body, with the same names and rules in both.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use utoipa::ToSchema;

use super::cursor;
use crate::domain::{
    CallDirection, ConversationFilter, CursorPosition, PhoneNumber, Violation, closest_word,
};
use crate::error::ErrorCode;
use crate::http::body_parser;
use crate::http::etag::EtagKey;
use crate::http::problem::Problem;
use crate::http::query::QueryString;
use crate::http::response_format::{FORMAT, ResponseFormat};
use crate::http::violations::ViolationList;

const STATE: &str = "state";
const DIRECTION: &str = "direction";
const QUEUE: &str = "queueId";
const USER: &str = "userId";
const LIMIT: &str = "limit";
const CURSOR: &str = "cursor";
/// Phone numbers, which a query string may not contain.
const NUMBERS: [&str; 2] = ["ani", "dnis"];

/// Filters that a query string may contain.
const IN_QUERY: [&str; 6] = [STATE, DIRECTION, QUEUE, USER, LIMIT, CURSOR];

/// Number of conversations in a response if the client sets no limit.
const DEFAULT_LIMIT: usize = 25;
/// Maximum number of conversations in a response: one page of the analytics query.
const MAX_LIMIT: usize = 100;

/// The filters of a search; each one narrows the list further. Phone numbers are accepted in the usual
/// notations (`+1 555 010 0111`, `0015550100111`, `tel:…`, `sip:…@host`). A number without a country code
/// is searched for as given, with an entry in `warnings`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `from_body` reads without building it")]
pub(in crate::http) struct SearchRequestBody {
    /// Phone number of the caller (ANI).
    #[schema(example = "+15550100111")]
    ani: Option<String>,
    /// Phone number that was called (DNIS).
    dnis: Option<String>,
    /// `live`, the only value.
    state: Option<String>,
    /// `inbound` or `outbound`.
    direction: Option<String>,
    /// Only conversations that are now in this queue or with one of its agents.
    #[schema(format = "uuid")]
    queue_id: Option<String>,
    /// Only conversations in which this user now takes part.
    #[schema(format = "uuid")]
    user_id: Option<String>,
    /// Maximum number of conversations; default 25.
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `nextCursor` of the previous response.
    cursor: Option<String>,
}

/// The validated filters of a list.
pub(super) struct ListFilters {
    pub filter: ConversationFilter,
    pub limit: usize,
    pub after: Option<CursorPosition>,
    /// Warnings for the client about how its filters were interpreted.
    pub warnings: Vec<String>,
}

/// Hint for unknown members.
const KNOWN_MEMBERS: &str = "A search takes `ani`, `dnis`, `state`, `direction`, `queueId`, `userId`, `limit` and `cursor`, all of them optional.";

/// Hint for an invalid phone number.
const NUMBER: &str = "Write the number with its country code, such as +15550100111, 0015550100111 or tel:+15550100111; spaces, hyphens and brackets are ignored.";

/// Hint for any other mistake.
const FILTERS: &str =
    "Correct the members listed in `errors`, or leave them out: every filter is optional.";

/// Hint for a body that is not a JSON object.
const SEARCH: &str =
    "Send a JSON object such as {\"ani\": \"+15550100111\"}; {} lists all live conversations.";

fn hint_for(name: &str, detail: &str) -> &'static str {
    if detail.starts_with(UNKNOWN) {
        KNOWN_MEMBERS
    } else if NUMBERS.contains(&name) {
        NUMBER
    } else {
        FILTERS
    }
}

const UNKNOWN: &str = "is not a member of this request";

/// Parses a query string into the filters and the requested response format.
pub(super) fn from_query(
    raw: Option<&str>,
    key: &EtagKey,
) -> Result<(ListFilters, Option<ResponseFormat>), Problem> {
    let known = [IN_QUERY.as_slice(), NUMBERS.as_slice(), &[FORMAT]].concat();
    let mut query = QueryString::read(raw, &known, &[]);
    let form = ResponseFormat::asked(&mut query, false);
    for name in NUMBERS {
        if !query.take(name).is_empty() {
            query.mistake(name, "would appear in access logs; send it in the body of a POST to /v1/conversations/search");
        }
    }
    let mut given = RawFilters::default();
    for name in IN_QUERY {
        if let Some(value) = query.take(name).pop() {
            given.values.insert(name, value);
        }
    }
    let filters = given.validated(key);
    for (name, detail) in &given.mistakes {
        query.mistake(name, detail);
    }
    query.finish()?;
    Ok((filters, form))
}

/// Parses a body.
pub(super) fn from_body(body: &[u8], key: &EtagKey) -> Result<ListFilters, Problem> {
    let mut given = RawFilters::default();
    for (name, value) in
        body_parser::members::parse_members(body).map_err(|problem| problem.with_hint(SEARCH))?
    {
        given.member(&name, value);
    }
    let filters = given.validated(key);
    if given.mistakes.is_empty() {
        return Ok(filters);
    }
    let mut mistakes = ViolationList::default();
    for (name, detail) in given.mistakes {
        let hint = hint_for(&name, &detail);
        mistakes.note_hinted(hint, || Violation::new(body_parser::member(&name), detail));
    }
    Err(Problem::listing(ErrorCode::InvalidJson, mistakes))
}

/// The filters as text, and the mistakes found so far.
#[derive(Default)]
struct RawFilters {
    values: BTreeMap<&'static str, String>,
    mistakes: Vec<(String, String)>,
}

impl RawFilters {
    fn mistake(&mut self, name: &str, detail: impl Into<String>) {
        self.mistakes.push((name.to_owned(), detail.into()));
    }

    /// Adds a member of a body; `null` counts as absent.
    fn member(&mut self, name: &str, value: Value) {
        let known = || IN_QUERY.into_iter().chain(NUMBERS);
        let Some(known) = known().find(|known| *known == name) else {
            let near = closest_word(name, known()).map(|near| format!("; did you mean `{near}`?"));
            return self.mistake(name, format!("{UNKNOWN}{}", near.unwrap_or_default()));
        };
        let text = match value {
            Value::Null => return,
            // JSON makes no difference between 7 and 7.0.
            Value::Number(number) if known == LIMIT => {
                let text = number.to_string();
                text.strip_suffix(".0").unwrap_or(&text).to_owned()
            }
            Value::String(text) if known != LIMIT => text,
            _ if known == LIMIT => return self.mistake(name, "has to be a number"),
            _ => return self.mistake(name, "has to be a string"),
        };
        if self.values.insert(known, text).is_some() {
            self.mistake(name, "appears more than once");
        }
    }

    /// Validates the filters. The result is meaningful only if there is no mistake.
    fn validated(&mut self, key: &EtagKey) -> ListFilters {
        if self.values.get(STATE).is_some_and(|state| state != "live") {
            self.mistake(STATE, "has to be `live`; ended conversations are not listed");
        }
        let direction = self.values.get(DIRECTION).map(|word| CallDirection::parse(word));
        if direction == Some(None) {
            self.mistake(DIRECTION, format!("has to be `{}`", CallDirection::WORDS.join("` or `")));
        }
        let filter = ConversationFilter {
            direction: direction.flatten(),
            queue: self.parsed(QUEUE),
            user: self.parsed(USER),
            ani: self.parsed(NUMBERS[0]),
            dnis: self.parsed(NUMBERS[1]),
        };
        let limit = self.limit();
        let after = self.cursor(&filter, key);
        let warnings = NUMBERS.into_iter().zip([&filter.ani, &filter.dnis]);
        let warnings =
            warnings.filter_map(|(name, number)| without_country_code(name, number.as_ref()));
        let warnings = warnings.collect();
        ListFilters { filter, limit, after, warnings }
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        match self.values.get(name)?.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.mistake(name, format!("is {error}"));
                None
            }
        }
    }

    fn limit(&mut self) -> usize {
        let limit = self.values.get(LIMIT).map(|text| text.parse().unwrap_or_default());
        if limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            self.mistake(LIMIT, format!("has to be a whole number from 1 to {MAX_LIMIT}"));
        }
        limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// Decodes the cursor. Its seal covers the filters, so they must be valid first.
    fn cursor(&mut self, filter: &ConversationFilter, key: &EtagKey) -> Option<CursorPosition> {
        let text = self.values.get(CURSOR).filter(|_| self.mistakes.is_empty())?;
        let position = cursor::read(text, filter, key);
        if position.is_none() {
            self.mistake(CURSOR, "was not issued for these filters; start again without a cursor");
        }
        position
    }
}

fn without_country_code(name: &str, number: Option<&PhoneNumber>) -> Option<String> {
    number.filter(|number| !number.has_country_code())?;
    Some(format!(
        "`{name}` has no country code, so it was searched for as given; Genesys Cloud mostly stores \
         numbers as +15550100111"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> EtagKey {
        EtagKey::derive("secret")
    }

    #[test]
    fn query_and_body_are_parsed_alike() {
        let id = "9e000000-0000-4000-8000-000000000001";
        let query =
            format!("state=live&direction=outbound&queueId={id}&userId={id}&limit=7&format=text");
        let (by_query, form) = from_query(Some(&query), &key()).expect("sound");
        let body = serde_json::json!({"state": "live", "direction": "outbound", "queueId": id,
            "userId": id, "limit": 7, "ani": null});
        let by_body = from_body(body.to_string().as_bytes(), &key()).expect("sound");
        assert_eq!((&by_query.filter, by_query.limit), (&by_body.filter, by_body.limit));
        assert_eq!(by_query.filter.direction, Some(CallDirection::Outbound));
        assert_eq!((by_query.limit, form), (7, Some(ResponseFormat::Text)));
        assert_eq!(from_body(b"{}", &key()).expect("sound").limit, DEFAULT_LIMIT);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,80}", name in "[a-z]{0,8}", value in ".{0,20}") {
            let _ = from_query(Some(&text), &key());
            let _ = from_body(text.as_bytes(), &key());
            let _ = from_body(serde_json::json!({name: value}).to_string().as_bytes(), &key());
        }
    }
}
