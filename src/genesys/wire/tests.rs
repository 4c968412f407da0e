//! Bodies of upstream as tables and as random bytes.

use proptest::prelude::*;

use super::*;
use crate::domain::AttributeKey;

fn id() -> ConversationId {
    "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid")
}

fn read(json: &str) -> Conversation {
    conversation(id(), json.as_bytes()).expect("a conversation")
}

const PARTICIPANT: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn the_end_time_decides_whether_a_conversation_is_live() {
    let live = |json: &str| read(json).live;
    assert_eq!(
        live(r#"{"id":"x","startTime":"t","state":"disconnected","participants":[]}"#),
        Some(true)
    );
    assert_eq!(live(r#"{"id":"x","startTime":"t","endTime":null,"participants":[]}"#), Some(true));
    assert_eq!(live(r#"{"id":"x","startTime":"t","endTime":"u","participants":[]}"#), Some(false));
}

#[test]
fn the_voice_shape_is_live_while_a_participant_is() {
    let with = |state: &str, end: &str| {
        read(&format!(
            r#"{{"id":"x","participants":[{{"id":"{PARTICIPANT}","state":"{state}"{end}}}]}}"#
        ))
        .live
    };
    assert_eq!(with("connected", ""), Some(true));
    assert_eq!(with("Terminated", ""), Some(false));
    assert_eq!(with("disconnected", ""), Some(false));
    assert_eq!(with("connected", r#","endTime":"t""#), Some(false));
}

#[test]
fn escaped_and_plain_strings_are_read_alike() {
    let json = format!(
        r#"{{"participants":[{{"id":"{PARTICIPANT}","purpose":"cust\u006fmer","calls":[{{"state":"al\u0065rting"}}]}},
        {{"id":"{PARTICIPANT}","purpose":"customer","calls":[{{"state":"alerting"}}]}}]}}"#
    );
    for participant in read(&json).participants {
        assert_eq!(participant.purpose, "customer");
        assert_eq!(participant.state.as_deref(), Some("alerting"));
    }
}

#[test]
fn missing_or_null_attributes_are_an_empty_map() {
    for attributes in ["", r#","attributes":null"#, r#","attributes":{}"#] {
        let json = format!(r#"{{"id":"x","participants":[{{"id":"{PARTICIPANT}"{attributes}}}]}}"#);
        assert!(read(&json).participants[0].attributes.is_empty(), "{attributes}");
    }
}

#[test]
fn values_that_are_not_strings_are_read_as_text() {
    let json = format!(
        r#"{{"participants":[{{"id":"{PARTICIPANT}","attributes":{{"b":true,"n":-1,"f":1.5,"o":{{"x":[1]}},"z":null," k ":"v"}}}}]}}"#
    );
    let conversation = read(&json);
    let attributes = &conversation.participants[0].attributes;
    let text = |key: &str| attributes.get(key).map(|value| value.expose().to_owned());
    assert_eq!(text("b").as_deref(), Some("true"));
    assert_eq!(text("n").as_deref(), Some("-1"));
    assert_eq!(text("f").as_deref(), Some("1.5"));
    assert_eq!(text("o").as_deref(), Some(r#"{"x":[1]}"#));
    assert_eq!(text("z"), None);
    assert_eq!(text(" k ").as_deref(), Some("v"));
}

#[test]
fn the_state_of_the_generic_shape_is_that_of_the_last_leg() {
    let json = format!(
        r#"{{"startTime":"t","participants":[{{"id":"{PARTICIPANT}","calls":[{{"state":"disconnected"}},{{"state":"connected"}}]}}]}}"#
    );
    let participant = &read(&json).participants[0];
    assert_eq!(participant.state.as_deref(), Some("connected"));
    assert!(participant.live);
}

#[test]
fn a_body_that_is_not_a_conversation_is_an_error() {
    for body in ["", "null", "[]", "{}", "<html>", r#"{"participants":3}"#, "{\"id\":\"\u{0}"] {
        assert!(conversation(id(), body.as_bytes()).is_err(), "{body}");
    }
    assert!(lone_participant(id(), b"{}").is_err());
    let bomb = "[".repeat(100_000);
    assert!(
        conversation(id(), format!(r#"{{"participants":[{{"attributes":{{"a":{bomb}"#).as_bytes())
            .is_err()
    );
}

#[test]
fn a_participant_without_a_usable_id_is_left_out() {
    let json =
        format!(r#"{{"participants":[{{"id":null}},{{"id":"../x"}},{{"id":"{PARTICIPANT}"}}]}}"#);
    assert_eq!(read(&json).participants.len(), 1);
}

#[test]
fn a_clear_is_sent_as_an_empty_string_or_as_null() {
    let map = [("a", "1"), ("gone", "")].map(|(key, value)| {
        (crate::domain::AttributeKey::existing(key), crate::domain::AttributeValue::new(value))
    });
    let map = map.into_iter().collect();
    let empty = patch_body(&map, false);
    assert_eq!(empty, br#"{"attributes":{"a":"1","gone":""}}"#);
    let null = patch_body(&map, true);
    assert_eq!(null, br#"{"attributes":{"a":"1","gone":null}}"#);
}

#[test]
fn unpaired_surrogates_and_invalid_bytes_round_trip() {
    let json = format!(
        r#"{{"id":"x","participants":[{{"id":"{PARTICIPANT}","purpose":"cust\ud83d","name":"A\udc00",
        "attributes":{{"k\ude00":"y","cut":"a\ud83d\"","pair":"\ud83d\ude00","raw":"RAW","other":"z"}}}}]}}"#
    );
    let bytes = json.replace("RAW", "M\u{fc}ller").into_bytes();
    // In ISO-8859-1, which is invalid in JSON.
    let at = bytes.windows(2).position(|two| two == "\u{fc}".as_bytes()).expect("there");
    let bytes = [&bytes[..at], &[0xfc], &bytes[at + 2..]].concat();
    let found = conversation(id(), &bytes).expect("a conversation");
    let one = &found.participants[0];
    assert_eq!(one.purpose, "cust\u{fffd}");
    assert_eq!(one.name.as_ref().map(PersonName::expose), Some("A\u{fffd}"));
    let value = |key: &str| one.attributes.get(key).map(AttributeValue::expose);
    assert_eq!(value("cut"), Some("a\u{fffd}\""));
    assert_eq!((value("pair"), value("raw")), (Some("\u{1f600}"), Some("M\u{fffd}ller")));
    assert_eq!((value("k\u{fffd}"), value("other")), (Some("y"), Some("z")));
    let damaged: Vec<_> = one.attributes.damaged_keys().map(AttributeKey::as_str).collect();
    assert_eq!(damaged, ["cut", "k\u{fffd}", "raw"]);
    assert_ne!(one.attributes.get("cut"), Some(&AttributeValue::new("a\u{fffd}\"")));
    // A PATCH of the whole map repeats the value as upstream holds it.
    let sent = String::from_utf8(patch_body(&one.attributes, true)).expect("UTF-8");
    assert!(sent.contains(r#""cut":"a\ud83d\"""#) && sent.contains(r#""other":"z""#), "{sent}");
    assert!(!sent.contains("a\u{fffd}"), "{sent}");
    let lone = format!(r#"{{"id":"{PARTICIPANT}","attributes":{{"a":"\udfff"}}}}"#);
    let lone = lone_participant(id(), lone.as_bytes()).expect("a participant");
    assert_eq!(lone.participants[0].attributes.damaged_keys().count(), 1);
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = conversation(id(), &body);
        let _ = lone_participant(id(), &body);
        let _ = ErrorBody::parse(&body);
    }

    #[test]
    fn no_json_panics(body in r#"[\[\]{}:,"a-z0-9\\null ]{0,80}"#) {
        let _ = conversation(id(), body.as_bytes());
    }
}

#[test]
fn an_unreadable_end_time_still_ends_a_conversation() {
    let json = format!(
        r#"{{"id":"x","startTime":"2026-01-07T09:30:00.000Z","endTime":17,"participants":[
        {{"id":"{PARTICIPANT}","name":"Zo\u00eb","startTime":"2026-01-07T09:30:00.000Z"}},
        {{"id":"{PARTICIPANT}","name":null,"startTime":null,"endTime":{{"a":[1]}}}}]}}"#
    );
    let read = read(&json);
    assert_eq!(read.live, Some(false));
    assert_eq!(
        read.span.start.map(|time| time.to_string()).as_deref(),
        Some("2026-01-07T09:30:00.000Z")
    );
    assert_eq!(read.span.end, None);
    let [zoe, other] = read.participants.as_slice() else { panic!("two") };
    assert_eq!((zoe.name.as_ref().map(PersonName::expose), zoe.live), (Some("Zoë"), true));
    assert_eq!((other.name.is_none(), other.live, other.span), (true, false, TimeRange::default()));
    assert!(!format!("{zoe:?}").contains("Zo"), "personal");
}
