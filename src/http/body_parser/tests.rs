use proptest::prelude::*;

use super::*;
use crate::domain::{AttributeMap, AttributeValue};

fn mistakes(body: &str) -> Vec<(String, String)> {
    let problem = patch(body.as_bytes(), NullPolicy::Refused).expect_err(body);
    assert_eq!(problem.code(), ErrorCode::InvalidAttributes, "{body}");
    let pairs = problem.errors().iter();
    pairs.map(|violation| (violation.pointer.clone(), violation.detail.clone())).collect()
}

fn pointers(body: &str) -> Vec<String> {
    mistakes(body).into_iter().map(|(pointer, _)| pointer).collect()
}

fn wanted(body: &str) -> Vec<(String, String)> {
    let patch = patch(body.as_bytes(), NullPolicy::Refused).expect(body);
    let changes = patch.iter();
    changes.map(|(key, change)| (key.to_string(), change.sent().expose().to_owned())).collect()
}

#[test]
fn a_good_body_becomes_a_patch() {
    let expected = vec![
        (" Numero  VIP".to_owned(), "ja \u{1F600}".to_owned()),
        ("gone".to_owned(), String::new()),
    ];
    let plain = r#"{"attributes":{"gone":""," Numero  VIP":"ja \ud83d\ude00"}}"#;
    assert_eq!(wanted(plain), expected);
    let embedded = r#"{"attributesJson":"{\"gone\":\"\",\" Numero  VIP\":\"ja 😀\"}"}"#;
    assert_eq!(wanted(embedded), expected);
}

#[test]
fn every_mistake_is_listed_with_its_pointer_without_its_value() {
    let body = r#"{"attributes":{"n":4711,"t":true,"f":1.5,"o":{"k":"canary"},"a":["canary"],"z":null,
        "":"canary","c\u0007":"canary","d":"canary","d":"canary2","s/l~":1},
        "extra":"canary","attributes":{"x":"canary"}}"#;
    let found = mistakes(body);
    let places: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        places,
        [
            "#/attributes/n",
            "#/attributes/t",
            "#/attributes/f",
            "#/attributes/o",
            "#/attributes/a",
            "#/attributes/z",
            "#/attributes/",
            "#/attributes/c%07",
            "#/attributes/d",
            "#/attributes/s~1l~0",
            "#/extra",
            "#/attributes",
        ]
    );
    assert!(found.iter().all(|(_, detail)| !detail.contains("canary") && !detail.contains("4711")));
    assert!(found[5].1.contains("send \"\" to clear"));
}

#[test]
fn a_body_without_usable_attributes_says_what_is_missing() {
    for (body, pointer, says) in [
        ("{}", "#/attributes", "missing"),
        (r#"{"attributes":null}"#, "#/attributes", "null"),
        (r#"{"attributes":{}}"#, "#/attributes", "empty"),
        (r#"{"attributes":"{}"}"#, "#/attributes", "a string"),
        (r#"{"attributes":[]}"#, "#/attributes", "an array"),
        (r#"{"attributesJson":{"a":"b"}}"#, "#/attributesJson", "an object"),
        (r#"{"attributesJson":"{\"a\""}"#, "#/attributes/a", "EOF"),
        (r#"{"attributesJson":"{"}"#, "#/attributesJson", "EOF"),
        (r#"{"attributesJson":"[]"}"#, "#/attributesJson", "an array"),
        (r#"{"a":"b"}"#, "#/a", "`attributes`"),
        ("[]", "#", "an array"),
        ("null", "#", "null"),
        ("\"text\"", "#", "a string"),
    ] {
        let found = mistakes(body);
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert_eq!(found[0].0, pointer, "{body}");
        assert!(found[0].1.contains(says), "{body}: {}", found[0].1);
    }
    let both = r#"{"attributes":{"a":"b"},"attributesJson":"{\"c\":\"d\"}"}"#;
    assert_eq!(pointers(both), ["#/attributesJson"]);
}

#[test]
fn a_json_error_has_a_position_and_no_excerpt() {
    let deep = |open: &str, times: usize| open.repeat(times);
    for body in [
        "",
        "{",
        "canary",
        r#"{"attributes":{"a":"canary"}"#,
        r#"{"attributes":{"a":"canary"}} canary"#,
        r#"{"attributes":{"a":"canary",}}"#,
        "{'attributes':{}}",
        "{\"attributes\":{\"a\":\"line\nbreak canary\"}}",
        "\u{feff}\u{feff}{}",
        "{\"attributes\":{\"a\":\"canary\"}}\0",
        &deep("[", 60_000),
        &deep("{\"attributes\":", 4_000),
        &format!("{{\"attributes\":{{\"a\":{}{}}}}}", deep("[", 30_000), deep("]", 30_000)),
    ] {
        let problem = patch(body.as_bytes(), NullPolicy::Refused).expect_err("not JSON");
        let shown = format!("{body:.80}");
        assert_eq!(problem.code(), ErrorCode::InvalidJson, "{shown}");
        assert_eq!(problem.errors().len(), 1, "{shown}");
        let detail = &problem.errors()[0].detail;
        assert!(!detail.contains("canary") && detail.len() < 120, "{shown}: {detail}");
    }
    let problem =
        patch(b"{\"attributes\":{\"a\":\"\xff\"}}", NullPolicy::Refused).expect_err("not UTF-8");
    assert_eq!(problem.code(), ErrorCode::InvalidJson);
    assert!(problem.errors()[0].detail.contains("not UTF-8, from byte 20 on"));
}

#[test]
fn a_half_surrogate_error_names_the_key_not_the_value() {
    for (body, pointer, says) in [
        (r#"{"attributes":{"a":"\ud800 canary"}}"#, "#/attributes/a", "the value has half"),
        (
            r#"{"attributes":{"b":"x","a":"canary\uDC00\uD83D\uDE00"}}"#,
            "#/attributes/a",
            "the value has",
        ),
        (r#"{"attributes":{"a\udfff":"canary"}}"#, "#/attributes/a%5Cudfff", "the key has half"),
        (r#"{"attributes":{"a":["\ud800 canary"]}}"#, "#/attributes/a", "an array"),
        (
            r#"{"attributesJson":"{\"a\":\"\\ud83d canary\"}"}"#,
            "#/attributes/a",
            "the value has half",
        ),
        (
            r#"{"attributesJson":"{\"a\":\"\ud83d canary\"}"}"#,
            "#/attributes/a",
            "the value has half",
        ),
        (r#"{"x\ud83d":1}"#, "#/x%5Cud83d", "is not a member"),
    ] {
        let found = mistakes(body);
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert_eq!(found[0].0, pointer, "{body}");
        assert!(
            found[0].1.contains(says) && !found[0].1.contains("canary"),
            "{body}: {}",
            found[0].1
        );
    }
    let whole = r#"{"attributes":{"a":"\ud83d\ude00\\ud83d"}}"#;
    assert_eq!(wanted(whole), [("a".to_owned(), "\u{1f600}\\ud83d".to_owned())]);
}

#[test]
fn a_syntax_error_within_a_value_names_its_key() {
    for (body, pointer) in [
        (r#"{"attributes":{"a":"1","b/c":"\x"}}"#, "#/attributes/b~1c"),
        ("{\"attributes\":{\"a\":\"line\nbreak\"}}", "#/attributes/a"),
        (r#"{"attributes":{"a":nothing}}"#, "#/attributes/a"),
        (r#"{"attributes":{"a":"\u12"}}"#, "#/attributes/a"),
        (r#"{"attributes":{"a":"1",}}"#, "#"),
    ] {
        let problem = patch(body.as_bytes(), NullPolicy::Refused).expect_err(body);
        assert_eq!(problem.code(), ErrorCode::InvalidJson, "{body}");
        assert_eq!(problem.errors()[0].pointer, pointer, "{body}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_of_each_document() {
    let expected = [("a".to_owned(), "b".to_owned())];
    assert_eq!(wanted("\u{feff}{\"attributes\":{\"a\":\"b\"}}"), expected);
    assert_eq!(wanted("{\"attributesJson\":\"\u{feff}{\\\"a\\\":\\\"b\\\"}\"}"), expected);
}

#[test]
fn the_hint_belongs_to_the_first_mistake() {
    for (body, detail, hint) in [
        (r#"{"participantId":"x","attributes":{"a":"b"}}"#, "?participant=", "?participant=agent"),
        (r#"{"participant":"agent"}"#, "?participant=", "?participant=agent"),
        (r#"{"dryRun":true,"attributes":{"a":"b"}}"#, "?dryRun=true", "query"),
        (r#"{"conversationId":"x","attributes":{"a":"b"}}"#, "path", "path"),
        (r#"{"customAttributes":{"a":"b"}}"#, "did you mean `attributes`?", "member `attributes`"),
        (r#"{"Attributes":{"a":"b"}}"#, "did you mean `attributes`?", "member `attributes`"),
        (r#"{"atributes":{"a":"b"}}"#, "did you mean `attributes`?", "member `attributes`"),
        (r#"{"attributes_json":"{}"}"#, "did you mean `attributesJson`?", "member `attributes`"),
        (r#"{"tier":"gold"}"#, "into `attributes`", "member `attributes`"),
        (r#"{"attributes":{"a":1}}"#, "a number", "as a string"),
        (r#"{"attributes":{"":"x"}}"#, "empty", "each key once"),
        (r#"{"attributes":{}}"#, "name at least one key", "{\"attributes\": {\"key\": \"value\"}}"),
        ("{}", "missing", "{\"attributes\": {\"key\": \"value\"}}"),
        (r#"{"attributes":{"a":"\ud83d"}}"#, "half", "between characters"),
    ] {
        let problem = patch(body.as_bytes(), NullPolicy::Clears).expect_err(body);
        assert!(problem.errors()[0].detail.contains(detail), "{body}: {:?}", problem.errors());
        assert!(problem.hint().contains(hint), "{body}: {}", problem.hint());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = patch(&body, NullPolicy::Refused);
        let _ = patch(&body, NullPolicy::Clears);
    }

    #[test]
    fn the_parser_accepts_nothing_that_serde_json_refuses(
        body in r#"(\{|\}|\[|\]|"attributes"|"a"|"\\ud800"|:|,|null|1e9|-|true| ){0,24}"#
    ) {
        if patch(body.as_bytes(), NullPolicy::Refused).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        }
    }

    #[test]
    fn every_map_of_strings_is_accepted_unchanged(
        entries in proptest::collection::btree_map("[^\\p{Cc}]{1,12}", ".{0,20}", 1..6)
    ) {
        let body = serde_json::json!({ "attributes": entries }).to_string();
        let expected: Vec<_> = entries.into_iter().collect();
        prop_assert_eq!(wanted(&body), expected);
    }

    #[test]
    fn a_merge_patch_changes_a_map_as_rfc_7396_defines(
        held in proptest::collection::btree_map("[a-e]", "[x-z]{1,2}", 0..5),
        document in proptest::collection::btree_map(
            "[a-g]", proptest::option::of("[x-z]{0,2}"), 1..6),
    ) {
        let body = serde_json::json!({ "attributes": document }).to_string();
        let change = patch(body.as_bytes(), NullPolicy::Clears).expect("a merge patch");
        let map: AttributeMap = held
            .iter()
            .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
            .collect();
        // The algorithm of RFC 7396, section 2, for members that are not objects; "" counts as absent.
        let mut expected = held;
        for (key, value) in document {
            match value.filter(|text| !text.is_empty()) {
                Some(text) => drop(expected.insert(key, text)),
                None => drop(expected.remove(&key)),
            }
        }
        let merged = change.applied_to(&map);
        let shown = merged.iter().map(|(key, value)| (key.to_string(), value.expose().to_owned()));
        prop_assert_eq!(shown.collect::<std::collections::BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn a_merge_patch_with_a_non_string_is_refused(
        value in prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            Just(serde_json::json!({})),
            Just(serde_json::json!({"a": null})),
            Just(serde_json::json!([null])),
        ],
        other in "[a-c]",
    ) {
        let body = serde_json::json!({"attributes": {"k": value, other: null}}).to_string();
        let problem = patch(body.as_bytes(), NullPolicy::Clears).expect_err("no texts");
        prop_assert_eq!(problem.code(), ErrorCode::InvalidAttributes);
        prop_assert_eq!(problem.errors().len(), 1);
        prop_assert_eq!(&problem.errors()[0].pointer, "#/attributes/k");
    }
}
