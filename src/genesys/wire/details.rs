//! The conversation details query of analytics, and its rows, which hold no attributes
//! (<https://developer.genesys.cloud/analyticsdatamanagement/analytics/detail/conversation-query>).

use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, OffsetDateTime};

use super::text::{PlainText, text};
use super::unicode;
use crate::domain::{
    ConversationFilter, ListPage, ListedConversation, ListedParticipant, PAGE_SIZE, PhoneNumber,
    Timestamp,
};

/// The query finds calls that started at most this many days before today. It needs an interval, and
/// a long one is expensive for upstream. Older "calls" are sessions that were never closed.
const DAYS_BACK: Duration = Duration::days(2);

/// The body of the query for one page. Pages count from 1.
///
/// The interval ends with tomorrow. If it ended "now", each page would belong to a different list.
pub fn details_query(filter: &ConversationFilter, page: u32, today: Date) -> Vec<u8> {
    let from = today.checked_sub(DAYS_BACK).unwrap_or(today);
    let to = today.next_day().unwrap_or(today);
    let mut conversation = vec![not_exists("conversationEnd")];
    if let Some(direction) = filter.direction {
        conversation.push(is("originatingDirection", direction.as_str()));
    }
    let voice = vec![is("mediaType", "voice")];
    let mut segments = vec![open_segment(voice)];
    // A filter for each, because different segments may match them.
    let ids = [("queueId", filter.queue), ("userId", filter.user)];
    segments.extend(
        ids.into_iter().filter_map(|(dimension, id)| {
            Some(open_segment(vec![is(dimension, &id?.to_string())]))
        }),
    );
    segments.extend(filter.ani.as_ref().map(|number| any_of("ani", number)));
    segments.extend(filter.dnis.as_ref().map(|number| any_of("dnis", number)));
    json!({
        "interval": format!("{from}T00:00:00.000Z/{to}T00:00:00.000Z"),
        "order": "desc",
        "orderBy": "conversationStart",
        "paging": {"pageSize": PAGE_SIZE, "pageNumber": page},
        "conversationFilters": [{"type": "and", "predicates": conversation}],
        "segmentFilters": segments,
    })
    .to_string()
    .into_bytes()
}

fn is(dimension: &str, value: &str) -> Value {
    json!({"type": "dimension", "dimension": dimension, "operator": "matches", "value": value})
}

fn not_exists(dimension: &str) -> Value {
    json!({"type": "dimension", "dimension": dimension, "operator": "notExists"})
}

/// Matches a segment with these predicates that has not ended.
fn open_segment(mut predicates: Vec<Value>) -> Value {
    predicates.push(not_exists("segmentEnd"));
    json!({"type": "and", "predicates": predicates})
}

fn any_of(dimension: &str, number: &PhoneNumber) -> Value {
    let spellings = number.spellings();
    let predicates: Vec<_> = spellings.iter().map(|spelling| is(dimension, spelling)).collect();
    json!({"type": "or", "predicates": predicates})
}

/// `AnalyticsConversationQueryResponse`. Upstream omits an empty list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailsResponse<T> {
    conversations: Option<Vec<DetailsRow<T>>>,
    total_hits: Option<u64>,
}

/// `AnalyticsConversationWithoutAttributes`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailsRow<T> {
    conversation_id: Option<T>,
    conversation_start: Option<T>,
    originating_direction: Option<T>,
    participants: Option<Vec<DetailsParticipant<T>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DetailsParticipant<T> {
    participant_id: Option<T>,
    purpose: Option<T>,
}

/// Reads one page of the answer. An error repeats nothing of the body.
pub fn details(body: &[u8]) -> Result<ListPage, &'static str> {
    let body = unicode(body);
    let answer: DetailsResponse<PlainText> = serde_json::from_str(&body)
        .map_err(|_| "it is not the JSON of a conversation details query")?;
    if answer.conversations.is_none() && answer.total_hits.is_none() {
        return Err("it is JSON, but not of a conversation details query");
    }
    let rows = answer.conversations.unwrap_or_default();
    let received = rows.len();
    let rows = rows.iter().filter_map(listed).collect();
    Ok(ListPage { rows, received, total: answer.total_hits })
}

/// `None` without a usable id: clients could not read this conversation.
fn listed(row: &DetailsRow<PlainText>) -> Option<ListedConversation> {
    let start = text(row.conversation_start.as_ref()).unwrap_or_default();
    let millis = OffsetDateTime::parse(&start, &Rfc3339)
        .ok()
        .and_then(|at| i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
    let participant = |one: &DetailsParticipant<PlainText>| {
        let id = text(one.participant_id.as_ref())?.parse().ok()?;
        let purpose = text(one.purpose.as_ref()).unwrap_or_default().into();
        Some(ListedParticipant { id, purpose })
    };
    Some(ListedConversation {
        id: text(row.conversation_id.as_ref())?.parse().ok()?,
        // Without a time, the row comes last.
        at: millis.unwrap_or_default(),
        start: Timestamp::parse(&start),
        direction: text(row.originating_direction.as_ref()).map(Into::into),
        participants: row.participants.iter().flatten().filter_map(participant).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::Month;

    use super::*;

    fn query(filter: &ConversationFilter) -> Value {
        let today = Date::from_calendar_date(2026, Month::March, 1).expect("a date");
        serde_json::from_slice(&details_query(filter, 3, today)).expect("JSON")
    }

    #[test]
    fn the_query_asks_for_live_voice_calls_newest_first() {
        let query = query(&ConversationFilter::default());
        assert_eq!(query["interval"], "2026-02-27T00:00:00.000Z/2026-03-02T00:00:00.000Z");
        assert_eq!((&query["order"], &query["paging"]["pageNumber"]), (&json!("desc"), &json!(3)));
        let live =
            json!({"type": "dimension", "dimension": "conversationEnd", "operator": "notExists"});
        assert_eq!(query["conversationFilters"], json!([{"type": "and", "predicates": [live]}]));
        let lasts =
            json!({"type": "dimension", "dimension": "segmentEnd", "operator": "notExists"});
        let voice = json!([{"type": "and", "predicates": [is("mediaType", "voice"), lasts]}]);
        assert_eq!(query["segmentFilters"], voice);
    }

    #[test]
    fn each_filter_has_its_segment_and_all_number_spellings() {
        let id = "9e000000-0000-4000-8000-000000000001";
        let query = query(&ConversationFilter {
            queue: id.parse().ok(),
            ani: "5551".parse().ok(),
            ..ConversationFilter::default()
        });
        let segments = query["segmentFilters"].as_array().expect("a list");
        assert_eq!(segments[1]["predicates"][0], is("queueId", id));
        let spellings = ["tel:+5551", "+5551", "tel:5551", "5551"].map(|value| is("ani", value));
        assert_eq!(segments[2], json!({"type": "or", "predicates": spellings}));
        assert_eq!(segments.len(), 3);
    }

    #[test]
    fn a_row_needs_an_id_and_nothing_else() {
        let id = "8e0f1a2b-0000-4000-8000-000000000000";
        let body = json!({"conversations": [
            {"conversationId": "nope"}, {"conversationStart": "2026-01-07T00:00:00Z"},
            {"conversationId": id, "conversationStart": "1970-01-01T00:00:01.5Z",
             "participants": [{"purpose": "ivr"}, {"participantId": id}]},
            {"conversationId": id, "conversationStart": null, "participants": null}
        ]});
        let page = details(body.to_string().as_bytes()).expect("a page");
        assert_eq!((page.received, page.rows.len(), page.total), (4, 2, None));
        assert_eq!((page.rows[0].at, page.rows[0].participants.len()), (1500, 1));
        assert_eq!((page.rows[1].at, page.rows[1].start), (0, None));
        assert_eq!(details(br#"{"totalHits":0}"#).expect("none").received, 0);
        for other in ["", "[]", "{}", "<html>", r#"{"conversations":7}"#] {
            assert!(details(other.as_bytes()).is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = details(&body);
        }
    }
}
