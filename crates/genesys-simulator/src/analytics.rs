//! The conversation details query over the generic documents: interval, filters, order, pages. As on
//! the platform, its rows carry no attributes. JSON in, JSON out.

use std::cmp::Reverse;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime, Time, format_description::well_known::Rfc3339};

use super::shapes::LEGS;

const MAX_DAYS: i64 = 31;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnalyticsQuery {
    interval: String,
    #[serde(default)]
    order: SortOrder,
    order_by: Option<String>,
    #[serde(default)]
    paging: PageRequest,
    #[serde(default)]
    conversation_filters: Vec<QueryFilter>,
    #[serde(default)]
    segment_filters: Vec<QueryFilter>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SortOrder {
    #[default]
    Asc,
    Desc,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageRequest {
    page_size: usize,
    page_number: usize,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { page_size: 25, page_number: 1 }
    }
}

/// Predicates and inner clauses, joined by `and` or `or`.
#[derive(Deserialize)]
struct QueryFilter {
    #[serde(rename = "type")]
    kind: FilterJunction,
    #[serde(default)]
    predicates: Vec<FilterPredicate>,
    #[serde(default)]
    clauses: Vec<QueryFilter>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FilterJunction {
    And,
    Or,
}

#[derive(Deserialize)]
struct FilterPredicate {
    dimension: String,
    #[serde(default)]
    operator: PredicateOperator,
    value: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PredicateOperator {
    #[default]
    Matches,
    Exists,
    NotExists,
}

impl QueryFilter {
    fn holds(&self, row: &Map<String, Value>) -> bool {
        let mut all = self.predicates.iter().map(|predicate| predicate.holds(row));
        let mut inner = self.clauses.iter().map(|clause| clause.holds(row));
        match self.kind {
            FilterJunction::And => all.all(|holds| holds) && inner.all(|holds| holds),
            FilterJunction::Or => all.any(|holds| holds) || inner.any(|holds| holds),
        }
    }
}

impl FilterPredicate {
    fn holds(&self, row: &Map<String, Value>) -> bool {
        let actual = row.get(&self.dimension).filter(|value| !value.is_null());
        match (self.operator, actual) {
            (PredicateOperator::Exists, actual) => actual.is_some(),
            (PredicateOperator::NotExists, actual) => actual.is_none(),
            (PredicateOperator::Matches, Some(Value::Array(several))) => {
                several.iter().any(|one| one.as_str() == self.value.as_deref())
            }
            (PredicateOperator::Matches, Some(actual)) => actual.as_str() == self.value.as_deref(),
            (PredicateOperator::Matches, None) => self.value.is_none(),
        }
    }
}

/// Answers a query over all conversations.
///
/// # Errors
/// The message of the 400.
pub(super) fn query<'a>(
    body: &[u8],
    conversations: impl Iterator<Item = &'a Value>,
) -> Result<Value, String> {
    let query: AnalyticsQuery =
        serde_json::from_slice(body).map_err(|problem| problem.to_string())?;
    let (from, to) = days(&query.interval)?;
    if query.paging.page_size == 0 || query.paging.page_number == 0 {
        return Err("pageSize and pageNumber start at 1".to_owned());
    }
    let mut found: Vec<Value> = conversations
        .map(row)
        .filter(|row| parse(&row["conversationStart"]).is_some_and(|at| from <= at && at < to))
        .filter(|row| selected(row, &query))
        .collect();
    let key = query.order_by.as_deref().unwrap_or("conversationStart").to_owned();
    let text = |row: &Value| row[&key].as_str().unwrap_or_default().to_owned();
    match query.order {
        SortOrder::Asc => found.sort_by_key(text),
        SortOrder::Desc => found.sort_by_key(|row| Reverse(text(row))),
    }
    let total = found.len();
    let skipped = query.paging.page_size.saturating_mul(query.paging.page_number - 1);
    let page: Vec<Value> = found.into_iter().skip(skipped).take(query.paging.page_size).collect();
    let mut answer = json!({"totalHits": total});
    // The platform omits an empty list.
    if !page.is_empty() {
        answer["conversations"] = Value::from(page);
    }
    Ok(answer)
}

/// The days of an interval. The query finds conversations that started on one of them.
fn days(interval: &str) -> Result<(OffsetDateTime, OffsetDateTime), String> {
    let wrong = || format!("`{interval}` is no interval of two ISO-8601 times");
    let (from, to) = interval.split_once('/').ok_or_else(wrong)?;
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong());
    let (from, to) = (time(from)?, time(to)?);
    if to < from || to - from > Duration::days(MAX_DAYS) {
        return Err(format!("an interval may span 0 to {MAX_DAYS} days"));
    }
    let first = from.replace_time(Time::MIDNIGHT);
    let last = to.replace_time(Time::MIDNIGHT);
    // An interval that ends at midnight does not include the next day.
    let end = if last == to && to > from { last } else { last + Duration::DAY };
    Ok((first, end))
}

fn parse(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

fn selected(row: &Value, query: &AnalyticsQuery) -> bool {
    let Some(conversation) = row.as_object() else {
        return false;
    };
    let segments = segment_rows(row);
    query.conversation_filters.iter().all(|filter| filter.holds(conversation))
        && query.segment_filters.iter().all(|filter| segments.iter().any(|s| filter.holds(s)))
}

/// One map per segment, with the dimensions of its session and participant.
fn segment_rows(row: &Value) -> Vec<Map<String, Value>> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for participant in list(row, "participants") {
        for session in list(&participant, "sessions") {
            for segment in list(&session, "segments") {
                let levels = [&participant, &session, &segment];
                let fields = levels.into_iter().filter_map(|level| level.as_object().cloned());
                rows.push(fields.flatten().collect());
            }
        }
    }
    rows
}

/// A generic document as a row of the answer.
fn row(conversation: &Value) -> Value {
    let people = conversation["participants"].as_array().cloned().unwrap_or_default();
    let people: Vec<Value> = people.iter().map(participant).collect();
    let direction = people.iter().find_map(|p| p["sessions"][0]["direction"].as_str());
    let divisions = conversation["divisions"].as_array().cloned().unwrap_or_default();
    let divisions: Vec<&Value> = divisions.iter().map(|d| &d["division"]["id"]).collect();
    let mut row = json!({
        "conversationId": conversation["id"],
        "conversationStart": conversation["startTime"],
        "conversationEnd": conversation["endTime"],
        "originatingDirection": direction,
        "divisionIds": divisions,
        "participants": people,
    });
    without_nulls(&mut row);
    row
}

fn participant(person: &Value) -> Value {
    let mut sessions = Vec::new();
    for (legs, media) in LEGS {
        for leg in person[legs].as_array().into_iter().flatten() {
            sessions.push(session(person, leg, media));
        }
    }
    let mut row = json!({
        "participantId": person["id"],
        "participantName": person["name"],
        "purpose": person["purpose"],
        "userId": person["userId"],
        "sessions": sessions,
    });
    without_nulls(&mut row);
    row
}

fn session(person: &Value, leg: &Value, media: &str) -> Value {
    let mut session = json!({
        "sessionId": leg["id"],
        "mediaType": media,
        "direction": leg["direction"],
        "ani": person["ani"],
        "dnis": person["dnis"],
        "peerId": leg["peerId"],
        "provider": leg["provider"],
    });
    let mut segment = json!({
        "segmentStart": person["startTime"],
        "segmentEnd": person["endTime"],
        "segmentType": "interact",
        "queueId": person["queueId"],
        "disconnectType": leg["disconnectType"],
    });
    without_nulls(&mut session);
    without_nulls(&mut segment);
    session["segments"] = json!([segment]);
    session
}

fn without_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NO_ATTRIBUTES, SimulatedCall};

    fn noon() -> OffsetDateTime {
        OffsetDateTime::parse("2026-01-07T12:00:00Z", &Rfc3339).expect("well formed")
    }

    fn documents() -> Vec<Value> {
        let call = |id: &str, minutes: u64| {
            SimulatedCall::new(id)
                .started_ago(std::time::Duration::from_secs(minutes * 60))
                .customer(format!("{id}-customer"), [("secret", "x")])
                .agent(format!("{id}-agent"), NO_ATTRIBUTES)
        };
        let mut documents = vec![call("new", 1).document(noon()), call("old", 60).document(noon())];
        documents.push(call("over", 30).ended().document(noon()));
        documents
    }

    fn ask(changes: &Value) -> Value {
        let mut body = json!({"interval": "2026-01-07T00:00:00.000Z/2026-01-08T00:00:00.000Z"});
        for (name, value) in changes.as_object().expect("tests pass objects") {
            body[name] = value.clone();
        }
        let documents = documents();
        query(body.to_string().as_bytes(), documents.iter()).unwrap_or_else(Value::from)
    }

    fn ids(answer: &Value) -> Vec<&str> {
        let rows = answer["conversations"].as_array().into_iter().flatten();
        rows.filter_map(|row| row["conversationId"].as_str()).collect()
    }

    #[test]
    fn live_voice_calls_are_found_with_the_official_query() {
        let answer = ask(&json!({
            "order": "desc", "orderBy": "conversationStart",
            "paging": {"pageSize": 100, "pageNumber": 1},
            "conversationFilters": [{"type": "and", "predicates": [
                {"type": "dimension", "dimension": "conversationEnd", "operator": "notExists"}]}],
            "segmentFilters": [{"type": "and", "predicates": [
                {"type": "dimension", "dimension": "mediaType", "operator": "matches", "value": "voice"},
                {"type": "dimension", "dimension": "segmentEnd", "operator": "notExists"}]}],
        }));
        assert_eq!(ids(&answer), ["new", "old"]);
        assert_eq!(answer["totalHits"], 2);
        assert!(!answer.to_string().contains("secret"));
        let customer = &answer["conversations"][0]["participants"][0];
        assert_eq!(customer["participantId"], "new-customer");
        assert_eq!(customer["sessions"][0]["mediaType"], "voice");
    }

    #[test]
    fn pages_cut_the_list_and_the_total_stays() {
        let page = |number| ask(&json!({"paging": {"pageSize": 2, "pageNumber": number}}));
        assert_eq!((ids(&page(1)), &page(1)["totalHits"]), (vec!["old", "over"], &json!(3)));
        assert_eq!(ids(&page(2)), ["new"]);
        assert_eq!(page(3), json!({"totalHits": 3}));
    }

    #[test]
    fn predicates_of_a_filter_are_about_one_segment() {
        let filter = |predicates: Value| {
            let filters = json!([{"type": "and", "predicates": predicates}]);
            ask(&json!({"segmentFilters": filters}))["totalHits"].clone()
        };
        let is = |dimension: &str, value: &str| json!({"dimension": dimension, "value": value});
        assert_eq!(filter(json!([is("userId", "old-agent")])), 1);
        assert_eq!(filter(json!([is("userId", "old-agent"), is("purpose", "customer")])), 0);
        assert_eq!(filter(json!([is("ani", "tel:+15550100111"), is("direction", "inbound")])), 3);
        assert_eq!(filter(json!([is("mediaType", "email")])), 0);
    }

    #[test]
    fn only_days_in_the_interval_count_and_bad_ones_are_refused() {
        let interval = |text: &str| ask(&json!({"interval": text}));
        assert_eq!(interval("2026-01-07T23:00:00Z/2026-01-07T23:30:00Z")["totalHits"], 3);
        assert_eq!(interval("2026-01-06T00:00:00Z/2026-01-07T00:00:00Z")["totalHits"], 0);
        assert!(interval("yesterday").is_string());
        assert!(interval("2026-01-01T00:00:00Z/2026-03-01T00:00:00Z").is_string());
    }
}
