//! Parses the body of a write into a patch: of all attributes, or of a single one.
//!
//! The parser reads the body in one pass and builds no JSON tree. It therefore sees duplicate members,
//! lists every mistake with its pointer, and copies nothing twice. Its messages name the kind of a
//! wrong value, such as "a number", and never quote the value.

pub(super) mod attribute;
mod encoding;
pub(super) mod members;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use self::encoding::utf8;
use super::problem::Problem;
use super::violations::ViolationList;
use crate::domain::{
    AttributeKey, AttributeValue, KeyChange, MarkedJson, Patch, Violation, closest_word,
};
use crate::error::ErrorCode;

/// The member that holds the attributes.
const ATTRIBUTES: &str = "attributes";

/// The member that holds the attributes as a JSON string, for clients that cannot send an object.
const ATTRIBUTES_JSON: &str = "attributesJson";

/// JSON pointer to the root of the document.
const ROOT: &str = "#";

/// How `null` as the value of an attribute is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NullPolicy {
    /// `null` is a mistake.
    #[default]
    Refused,
    /// `null` clears the key, as in a merge patch (RFC 7396).
    Clears,
}

/// Parses a body into a patch.
pub(super) fn patch(body: &[u8], null: NullPolicy) -> Result<Patch, Problem> {
    let mut found = ParseState { null, ..ParseState::default() };
    let text = found.halves.marked(text(body)?);
    if let Err(error) = parse(&text, BodyTarget(&mut found)) {
        let place = found.place.unwrap_or_else(|| ROOT.to_owned());
        return Err(Problem::listing(
            ErrorCode::InvalidJson,
            Violation::new(place, describe(&error)),
        ));
    }
    found.finish()
}

/// Documents of one request that contain half surrogates, which are marked so that they parse: the
/// body and the JSON embedded in it.
#[derive(Default)]
struct HalfSurrogates(Vec<MarkedJson>);

impl HalfSurrogates {
    /// Returns the document in a form that can be parsed.
    fn marked<'a>(&mut self, json: &'a str) -> Cow<'a, str> {
        let Some(marked) = MarkedJson::new(json) else { return json.into() };
        let text = marked.text().to_owned();
        self.0.push(marked);
        text.into()
    }

    /// Returns a printable form of the string if it contains half of a surrogate pair.
    fn in_string(&self, parsed: &str) -> Option<String> {
        self.0.iter().any(|marked| marked.marks(parsed)).then(|| self.shown(parsed))
    }

    fn shown(&self, parsed: &str) -> String {
        self.0.iter().fold(parsed.to_owned(), |text, marked| marked.shown(&text))
    }
}

/// Mistake: a string contains half of a surrogate pair.
const HALF: &str = "has half of a surrogate pair, so it is not valid Unicode; this happens when text is cut inside an emoji";

/// Hint for [`HALF`].
const WHOLE_CHARACTERS: &str = "Cut texts between characters, never inside one; replace a leftover half by U+FFFD or remove it.";

/// Hint for a body in another encoding.
const ENCODING: &str =
    "Send the text in UTF-8, uncompressed; the charset in Content-Type has no effect.";

/// Hint for values that are not strings.
const STRINGS: &str = "Send every value as a string, numbers and booleans in quotes; \"\" clears a key, and so does null in a PATCH.";

/// Hint for invalid keys.
const KEYS: &str = "Send each key once; a key is a non-empty string without control characters.";

/// Hint for a body without attributes.
const SHAPE: &str = "Send {\"attributes\": {\"key\": \"value\"}} with at least one key; attributesJson takes the same object as a string.";

/// Hint for unknown members.
const MEMBERS: &str =
    "Put the keys and values into the member `attributes` and send no other member.";

/// Hint for members that are query parameters.
const IN_QUERY: &str = "Move it from the body to the query, as in ?participant=agent; the body contains only the attributes.";

/// Hint for a conversation id in the body.
const IN_PATH: &str = "Remove it: the path names the conversation.";

/// Members that clients often put into a body although they belong elsewhere: names, correct place, hint.
const ELSEWHERE: [(&[&str], &str, &str); 6] = [
    (
        &["participant", "participantid", "purpose", "participantpurpose", "selector"],
        "name the participant in the query: `?participant=`",
        IN_QUERY,
    ),
    (&["verify"], "it belongs in the query: `?verify=none`", IN_QUERY),
    (&["dryrun"], "it belongs in the query: `?dryRun=true`", IN_QUERY),
    (&["allowended"], "it belongs in the query: `?allowEnded=true`", IN_QUERY),
    (&["view", "keys"], "it belongs in the query: `?view=flat&keys=…`", IN_QUERY),
    (&["conversationid", "conversation"], "the path names the conversation", IN_PATH),
];

/// Describes an unknown member and gives a hint. `known` lists the valid members, the usual one first.
fn unknown_member(name: &str, known: [&str; 2]) -> (String, &'static str) {
    const UNKNOWN: &str = "is not a member of this request";
    let plain = name.to_ascii_lowercase().replace(['_', '-', ' '], "");
    let elsewhere = ELSEWHERE.iter().find(|(names, ..)| names.contains(&plain.as_str()));
    if let Some((_, place, hint)) = elsewhere {
        return (format!("{UNKNOWN}; {place}"), hint);
    }
    let resembles = |known: &&str| plain.ends_with(&known.to_ascii_lowercase());
    let near = closest_word(name, known).or_else(|| known.into_iter().find(resembles));
    let hint = if known[0] == ATTRIBUTES { MEMBERS } else { attribute::MEMBERS };
    match near {
        Some(near) => (format!("{UNKNOWN}; did you mean `{near}`?"), hint),
        None if known[0] == ATTRIBUTES => {
            (format!("{UNKNOWN}; put attributes into `{ATTRIBUTES}`"), hint)
        }
        None => (format!("{UNKNOWN}; put the value into `{}`", known[0]), hint),
    }
}

/// Returns the body as text.
///
/// # Errors
/// The body is empty or not UTF-8.
fn text(body: &[u8]) -> Result<&str, Problem> {
    let text = utf8(body).map_err(|detail| not_json(detail).with_hint(ENCODING))?;
    if text.is_empty() {
        return Err(not_json("the body is empty".to_owned()));
    }
    Ok(text)
}

fn not_json(detail: String) -> Problem {
    Problem::listing(ErrorCode::InvalidJson, Violation::new(ROOT, detail))
}

/// Describes a document that is not an object.
fn not_an_object(found: &str) -> String {
    format!("the body is {found}; it has to be an object")
}

fn parse(text: &str, kind: impl JsonTarget) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    TargetSeed(kind).deserialize(&mut json)?;
    json.end()
}

/// Describes a syntax error and its position. In the categories `Syntax` and `Eof` the messages of
/// `serde_json` are fixed texts; in the others they may quote the document.
fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof => error.to_string(),
        Category::Data | Category::Io => {
            let (line, column) = (error.line(), error.column());
            format!("cannot be read at line {line} column {column}")
        }
    }
}

/// The state of the parse.
#[derive(Default)]
struct ParseState {
    null: NullPolicy,
    patch: Patch,
    mistakes: ViolationList,
    /// Members of the document seen so far.
    members: BTreeSet<String>,
    halves: HalfSurrogates,
    /// Pointer to the attribute whose value has a syntax error.
    place: Option<String>,
}

impl ParseState {
    fn mistake(
        &mut self,
        hint: &'static str,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) {
        self.mistakes.note_hinted(hint, || Violation::new(pointer, detail));
    }

    fn wrong_key(&mut self, hint: &'static str, key: &str, detail: impl Into<String>) {
        let Self { mistakes, halves, .. } = self;
        mistakes.note_hinted(hint, || Violation::of_attribute(&halves.shown(key), detail));
    }

    fn finish(mut self) -> Result<Patch, Problem> {
        let sources = [ATTRIBUTES, ATTRIBUTES_JSON].map(|name| self.members.contains(name));
        if sources == [true, true] {
            self.mistake(
                SHAPE,
                member(ATTRIBUTES_JSON),
                "is sent together with `attributes`; send one of the two",
            );
        }
        if self.mistakes.is_empty() && sources == [false, false] {
            self.mistake(SHAPE, member(ATTRIBUTES), "is missing");
        }
        if self.mistakes.is_empty() {
            Ok(self.patch)
        } else {
            Err(Problem::listing(ErrorCode::InvalidAttributes, self.mistakes))
        }
    }

    fn set(&mut self, key: &str, change: KeyChange) {
        if let Ok(key) = AttributeKey::new(key) {
            self.patch.insert(key, change);
        }
    }
}

/// JSON pointer to a member of the document.
pub(super) fn member(name: &str) -> String {
    let within = Violation::of_attribute(name, "").pointer;
    within.replacen("/attributes", "", 1)
}

/// Receives the value at one position of the document. It accepts any type and notes a wrong one, so
/// that only a syntax error ends the parse.
trait JsonTarget: Sized {
    /// The value has this type, which is not expected here.
    fn wrong(self, found: &'static str);

    fn text(self, _text: &str) {
        self.wrong("a string");
    }

    fn object<'de, A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.wrong("an object");
        skip(members)
    }
}

fn skip<'de, A: MapAccess<'de>>(mut members: A) -> Result<(), A::Error> {
    while members.next_key::<String>()?.is_some() {
        members.next_value_seed(TargetSeed(IgnoredTarget))?;
    }
    Ok(())
}

/// Receives the whole document.
struct BodyTarget<'a>(&'a mut ParseState);

impl JsonTarget for BodyTarget<'_> {
    fn wrong(self, found: &'static str) {
        self.0.mistake(SHAPE, ROOT, not_an_object(found));
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let known = name == ATTRIBUTES || name == ATTRIBUTES_JSON;
            if !known {
                let name = self.0.halves.shown(&name);
                let (detail, hint) = unknown_member(&name, [ATTRIBUTES, ATTRIBUTES_JSON]);
                self.0.mistake(hint, member(&name), detail);
                members.next_value_seed(TargetSeed(IgnoredTarget))?;
            } else if !self.0.members.insert(name.clone()) {
                self.0.mistake(SHAPE, member(&name), "appears more than once");
                members.next_value_seed(TargetSeed(IgnoredTarget))?;
            } else if name == ATTRIBUTES {
                members.next_value_seed(TargetSeed(AttributesTarget(self.0, ATTRIBUTES)))?;
            } else {
                members.next_value_seed(TargetSeed(EmbeddedTarget(self.0)))?;
            }
        }
        Ok(())
    }
}

/// Receives the object of attributes; the second field is the name of the member that contains it.
struct AttributesTarget<'a>(&'a mut ParseState, &'static str);

impl JsonTarget for AttributesTarget<'_> {
    fn wrong(self, found: &'static str) {
        let detail = format!("is {found}; it has to be an object of strings");
        self.0.mistake(SHAPE, member(self.1), detail);
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(found, name) = self;
        // Duplicates count within this object only. `finish` reports a second object.
        let mut keys = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if let Err(invalid) = AttributeKey::new(&key) {
                found.wrong_key(KEYS, &key, invalid.to_string());
            }
            if found.halves.in_string(&key).is_some() {
                found.wrong_key(WHOLE_CHARACTERS, &key, format!("the key {HALF}"));
            }
            if !keys.insert(AttributeKey::existing(&key)) {
                found.wrong_key(KEYS, &key, "the key appears more than once");
            }
            let read = members.next_value_seed(TargetSeed(ValueTarget(found, &key)));
            if read.is_err() && found.place.is_none() {
                found.place = Some(Violation::of_attribute(&found.halves.shown(&key), "").pointer);
            }
            read?;
        }
        if keys.is_empty() {
            let detail = "is empty; name at least one key, as in {\"key\": \"value\"}";
            found.mistake(SHAPE, member(name), detail);
        }
        Ok(())
    }
}

/// Receives the object of attributes as a JSON string.
struct EmbeddedTarget<'a>(&'a mut ParseState);

impl JsonTarget for EmbeddedTarget<'_> {
    fn wrong(self, found: &'static str) {
        let detail = format!("is {found}; it has to be a string that holds a JSON object");
        self.0.mistake(SHAPE, member(ATTRIBUTES_JSON), detail);
    }

    fn text(self, text: &str) {
        let text = self.0.halves.marked(text.strip_prefix('\u{feff}').unwrap_or(text));
        if let Err(error) = parse(&text, AttributesTarget(self.0, ATTRIBUTES_JSON)) {
            let detail = format!("is not valid JSON: {}", describe(&error));
            let place = self.0.place.take().unwrap_or_else(|| member(ATTRIBUTES_JSON));
            self.0.mistake(SHAPE, place, detail);
        }
    }
}

/// Receives the value of one attribute.
struct ValueTarget<'a>(&'a mut ParseState, &'a str);

impl JsonTarget for ValueTarget<'_> {
    fn wrong(self, found: &'static str) {
        if found == NULL && self.0.null == NullPolicy::Clears {
            self.0.set(self.1, KeyChange::Clear);
            return;
        }
        let remedy = if found == NULL { "; send \"\" to clear a key" } else { "" };
        let detail = format!("the value is {found}; it has to be a string{remedy}");
        self.0.wrong_key(STRINGS, self.1, detail);
    }

    fn text(self, text: &str) {
        if self.0.halves.in_string(text).is_some() {
            return self.0.wrong_key(WHOLE_CHARACTERS, self.1, format!("the value {HALF}"));
        }
        self.0.set(self.1, KeyChange::to(AttributeValue::new(text)));
    }
}

/// Receives and ignores a value. The parser still checks its syntax and depth.
struct IgnoredTarget;

impl JsonTarget for IgnoredTarget {
    fn wrong(self, _found: &'static str) {}
}

const NULL: &str = "null";

/// Reads a value of any type and passes it to its [`JsonTarget`].
struct TargetSeed<K>(K);

impl<'de, K: JsonTarget> DeserializeSeed<'de> for TargetSeed<K> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, K: JsonTarget> Visitor<'de> for TargetSeed<K> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.wrong("a boolean");
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.wrong("a number");
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.wrong("a number");
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.wrong("a number");
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.wrong(NULL);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.0.wrong("an array");
        while elements.next_element_seed(TargetSeed(IgnoredTarget))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.0.object(members)
    }
}

#[cfg(test)]
mod tests;
