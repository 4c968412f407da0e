//! Parses the body of a write of one key: `{"key","value"}`, or the bare value as text.

use super::json_tree::JsonTree;
use super::{BodyShape, ENCODING, ROOT, member, not_an_object, parse_body, string, utf8};
use crate::domain::{AttributeValue, KeyChange, Violation};
use crate::error::ErrorCode;
use crate::http::problem::Problem;
use crate::http::violations::ViolationList;

const KEY: &str = "key";
const VALUE: &str = "value";
const MEMBERS: &str = "Send {\"value\": \"…\"}, or the bare value with Content-Type: text/plain; the path names the key.";

const SHAPE: BodyShape =
    BodyShape { known: [VALUE, KEY], content: "the value", hint: MEMBERS, unknown_hint: MEMBERS };

/// Parses a JSON body into the change of `key`.
pub(in crate::http) fn change(body: &[u8], key: &str) -> Result<KeyChange, Problem> {
    let (mut change, mut mistakes) = (None, ViolationList::default());
    let mistake = |mistakes: &mut ViolationList, pointer: &str, detail: &str| {
        mistakes.note_hinted(MEMBERS, || Violation::new(pointer, detail));
    };
    match parse_body(body, MEMBERS)? {
        JsonTree::Object(members) => {
            SHAPE.check(members, &mut mistakes, |mistakes, name, value| {
                let remedy = if name == VALUE { "; send \"\", or DELETE, to clear it" } else { "" };
                match string(value, remedy) {
                    Ok(text) if name == VALUE => {
                        change = Some(KeyChange::to(text.into()));
                    }
                    Ok(text) if text == key => {}
                    Ok(_) => mistake(mistakes, &member(KEY), "is not the key that the path names"),
                    Err((hint, detail)) => {
                        mistakes.note_hinted(hint, || Violation::new(member(name), detail));
                    }
                }
            });
        }
        other => mistake(&mut mistakes, ROOT, &not_an_object(&other)),
    }
    if mistakes.is_empty() && change.is_none() {
        mistake(&mut mistakes, &member(VALUE), "is missing");
    }
    match change {
        Some(change) if mistakes.is_empty() => Ok(change),
        _ => Err(Problem::listing(ErrorCode::InvalidAttributes, mistakes)),
    }
}

/// Turns a plain text body into a change. The whole body is the value, including line ends.
pub(in crate::http) fn plain(body: &[u8]) -> Result<KeyChange, Problem> {
    let value = utf8(body).map_err(|detail| {
        let mistake = Violation::new(ROOT, detail);
        Problem::listing(ErrorCode::InvalidAttributes, mistake).with_hint(ENCODING)
    })?;
    Ok(KeyChange::to(AttributeValue::new(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mistakes(body: &str) -> Vec<(String, String)> {
        let problem = change(body.as_bytes(), " a/b").expect_err(body);
        assert_eq!(problem.code(), ErrorCode::InvalidAttributes, "{body}");
        let pairs = problem.errors().iter();
        pairs.map(|violation| (violation.pointer.clone(), violation.detail.clone())).collect()
    }

    fn wanted(change: Result<KeyChange, Problem>) -> String {
        change.expect("a change").sent().expose().to_owned()
    }

    #[test]
    fn the_value_is_kept_unchanged_and_the_key_is_optional() {
        let value = |body: &str| wanted(change(body.as_bytes(), " a/b"));
        assert_eq!(value(r#"{"key":" a/b","value":" \"x\"\n"}"#), " \"x\"\n");
        assert_eq!(value(r#"{"value":"x"}"#), "x");
        assert_eq!(value(r#"{"value":""}"#), "");
        assert_eq!(wanted(plain(" {\"value\"}\r\n".as_bytes())), " {\"value\"}\r\n");
        assert_eq!(wanted(plain(b"")), "");
    }

    #[test]
    fn every_mistake_is_listed_with_its_pointer_without_its_value() {
        let found = mistakes(
            r#"{"key":"a/b","value":null,"canary":"canary","value":"canary","key":1,"x~/":[]}"#,
        );
        let places: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(places, ["#/key", "#/value", "#/canary", "#/value", "#/key", "#/x~0~1"]);
        assert!(found.iter().all(|(_, detail)| !detail.contains("canary")));
        assert!(found[1].1.ends_with("send \"\", or DELETE, to clear it"), "{}", found[1].1);
    }

    #[test]
    fn a_body_without_a_usable_value_says_what_is_missing() {
        for (body, pointer, says) in [
            ("{}", "#/value", "missing"),
            (r#"{"key":" a/b"}"#, "#/value", "missing"),
            (r#"{"value":1}"#, "#/value", "a number"),
            (r#"{"value":{"a":"b"}}"#, "#/value", "an object"),
            (r#"{"key":null,"value":"x"}"#, "#/key", "null"),
            (r#"{"attributes":{"a":"b"}}"#, "#/attributes", "`value`"),
            (r#""text""#, "#", "a string"),
            ("[]", "#", "an array"),
        ] {
            let found = mistakes(body);
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            assert_eq!(found[0].0, pointer, "{body}");
            assert!(found[0].1.contains(says), "{body}: {}", found[0].1);
        }
    }

    #[test]
    fn invalid_json_and_invalid_utf_8_are_reported() {
        for body in ["", "{", r#"{"value":"canary"} x"#, r#"{"value":"\udcanary"}"#, "canary"] {
            let problem = change(body.as_bytes(), "a").expect_err("not JSON");
            assert_eq!(problem.code(), ErrorCode::InvalidJson, "{body}");
            assert!(!problem.errors()[0].detail.contains("canary"), "{body}");
        }
        let problem = plain(b"canary \xff").expect_err("not UTF-8");
        assert_eq!(problem.code(), ErrorCode::InvalidAttributes);
        assert_eq!(problem.errors()[0].pointer, "#");
        assert!(problem.errors()[0].detail.contains("not UTF-8, from byte 7 on"));
    }

    #[test]
    fn broken_syntax_and_half_characters_name_their_member() {
        let parsed = |body: &str| {
            let problem = change(body.as_bytes(), "a").expect_err(body);
            assert_eq!(problem.errors().len(), 1, "{body}");
            (problem.code(), problem.errors()[0].pointer.clone())
        };
        assert_eq!(
            parsed(r#"{"value":"\ud800"}"#),
            (ErrorCode::InvalidAttributes, "#/value".to_owned())
        );
        assert_eq!(
            parsed(r#"{"key":"\udc00"}"#),
            (ErrorCode::InvalidAttributes, "#/key".to_owned())
        );
        assert_eq!(parsed(r#"{"value":"\x"}"#), (ErrorCode::InvalidJson, "#/value".to_owned()));
        assert_eq!(parsed(r#"{"v":"\ud800","value":""}"#).1, "#/v");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = change(&body, "a");
            let _ = plain(&body);
        }

        #[test]
        fn every_text_is_kept_unchanged(text in ".{0,40}") {
            let body = serde_json::json!({"key": "a", "value": text}).to_string();
            prop_assert_eq!(wanted(change(body.as_bytes(), "a")), text.clone());
            // A leading byte order mark is not part of the text, and zero bytes indicate UTF-16.
            if !text.starts_with('\u{feff}') && !text.contains('\0') {
                prop_assert_eq!(wanted(plain(text.as_bytes())), text);
            }
        }
    }
}
