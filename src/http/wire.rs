//! The body of a write, from bytes to a patch: of all attributes, or of a single one.
//!
//! Read in one pass without a tree in between, so that duplicate members are seen, every mistake
//! is listed with its place, and nothing is copied twice. No sentence made here holds a value:
//! what is wrong is told by its kind.

pub(super) mod members;
pub(super) mod single;

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::mistakes::Mistakes;
use super::problem::Problem;
use crate::domain::{AttributeKey, AttributeValue, Change, Patch, Violation};
use crate::error::Code;

/// The member that holds the attributes.
const ATTRIBUTES: &str = "attributes";

/// The same as text, for callers that cannot send an object.
const ATTRIBUTES_JSON: &str = "attributesJson";

/// The root of the document, as a pointer.
const ROOT: &str = "#";

/// What `null` as the value of an attribute means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Null {
    /// Nothing: it is a mistake.
    #[default]
    Refused,
    /// The key is to be cleared, as in a merge patch (RFC 7396).
    Clears,
}

/// The patch that a body asks for.
pub(super) fn patch(body: &[u8], null: Null) -> Result<Patch, Problem> {
    let text = text(body)?;
    let mut found = Found { null, ..Found::default() };
    parse(text, Document(&mut found)).map_err(|error| not_json(sentence(&error)))?;
    found.finish()
}

/// The body as text, of which there has to be some.
fn text(body: &[u8]) -> Result<&str, Problem> {
    let text = utf8(body).map_err(not_json)?;
    if text.is_empty() {
        return Err(not_json("the body is empty".to_owned()));
    }
    Ok(text)
}

fn utf8(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body)
        .map_err(|error| format!("not UTF-8, from byte {} on", error.valid_up_to()))
}

fn not_json(detail: String) -> Problem {
    Problem::listing(Code::InvalidJson, Violation::at(ROOT, detail))
}

/// What is wrong with a document that is no object.
fn of_root(found: &str) -> String {
    format!("the body is {found}; it has to be an object")
}

fn parse(text: &str, kind: impl Kind) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Seed(kind).deserialize(&mut json)?;
    json.end()
}

/// What is wrong with the syntax, and where. The parser's own sentences are fixed texts in the
/// categories let through; in others they may quote the document.
fn sentence(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof => error.to_string(),
        Category::Data | Category::Io => {
            let (line, column) = (error.line(), error.column());
            format!("cannot be read at line {line} column {column}")
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    null: Null,
    patch: Patch,
    mistakes: Mistakes,
    /// Members of the document that stood already.
    members: BTreeSet<String>,
}

impl Found {
    fn mistake(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.mistakes.note(Violation::at(pointer, detail));
    }

    fn wrong_key(&mut self, key: &str, detail: impl Into<String>) {
        self.mistakes.note_with(|| Violation::of_attribute(key, detail));
    }

    fn finish(mut self) -> Result<Patch, Problem> {
        let sources = [ATTRIBUTES, ATTRIBUTES_JSON].map(|name| self.members.contains(name));
        if sources == [true, true] {
            self.mistake(member(ATTRIBUTES_JSON), "stands beside `attributes`; send one of them");
        }
        if self.mistakes.is_empty() && sources == [false, false] {
            self.mistake(member(ATTRIBUTES), "is missing");
        }
        if self.mistakes.is_empty() {
            Ok(self.patch)
        } else {
            Err(Problem::listing(Code::InvalidAttributes, self.mistakes))
        }
    }

    fn set(&mut self, key: &str, change: Change) {
        if let Ok(key) = AttributeKey::new(key) {
            self.patch.insert(key, change);
        }
    }
}

/// Pointer to a member of the document.
pub(super) fn member(name: &str) -> String {
    let within = Violation::of_attribute(name, "").pointer;
    within.replacen("/attributes", "", 1)
}

/// What one place of the document wants to hold: told what stands there, whatever it is, so that
/// only the syntax can end the parse.
trait Kind: Sized {
    /// Something of this kind, which was not wanted, stands here.
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
        members.next_value_seed(Seed(Anything))?;
    }
    Ok(())
}

/// The whole document.
struct Document<'a>(&'a mut Found);

impl Kind for Document<'_> {
    fn wrong(self, found: &'static str) {
        self.0.mistake(ROOT, of_root(found));
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let known = name == ATTRIBUTES || name == ATTRIBUTES_JSON;
            if !known {
                self.0.mistake(
                    member(&name),
                    "is no member of this request; attributes stand in `attributes`",
                );
                members.next_value_seed(Seed(Anything))?;
            } else if !self.0.members.insert(name.clone()) {
                self.0.mistake(member(&name), "stands more than once");
                members.next_value_seed(Seed(Anything))?;
            } else if name == ATTRIBUTES {
                members.next_value_seed(Seed(Attributes(self.0, ATTRIBUTES)))?;
            } else {
                members.next_value_seed(Seed(Embedded(self.0)))?;
            }
        }
        Ok(())
    }
}

/// The object of attributes, and the member that it came in.
struct Attributes<'a>(&'a mut Found, &'static str);

impl Kind for Attributes<'_> {
    fn wrong(self, found: &'static str) {
        self.0.mistake(member(self.1), format!("is {found}; it has to be an object of strings"));
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(found, name) = self;
        // Not those of another object: that there are two is a mistake of its own.
        let mut keys = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if let Err(invalid) = AttributeKey::new(&key) {
                found.wrong_key(&key, invalid.to_string());
            }
            if !keys.insert(AttributeKey::existing(&key)) {
                found.wrong_key(&key, "the key stands more than once");
            }
            members.next_value_seed(Seed(Value(found, &key)))?;
        }
        if keys.is_empty() {
            found.mistake(member(name), "is empty; name at least one key");
        }
        Ok(())
    }
}

/// The object of attributes as text.
struct Embedded<'a>(&'a mut Found);

impl Kind for Embedded<'_> {
    fn wrong(self, found: &'static str) {
        self.0.mistake(
            member(ATTRIBUTES_JSON),
            format!("is {found}; it has to be a string that holds a JSON object"),
        );
    }

    fn text(self, text: &str) {
        if let Err(error) = parse(text, Attributes(self.0, ATTRIBUTES_JSON)) {
            let detail = format!("holds no JSON: {}", sentence(&error));
            self.0.mistake(member(ATTRIBUTES_JSON), detail);
        }
    }
}

/// The value of one attribute.
struct Value<'a>(&'a mut Found, &'a str);

impl Kind for Value<'_> {
    fn wrong(self, found: &'static str) {
        if found == NULL && self.0.null == Null::Clears {
            self.0.set(self.1, Change::Clear);
            return;
        }
        let cure = if found == NULL { "; send \"\" to clear a key" } else { "" };
        let detail = format!("the value is {found}; it has to be a string{cure}");
        self.0.wrong_key(self.1, detail);
    }

    fn text(self, text: &str) {
        self.0.set(self.1, Change::to(AttributeValue::new(text)));
    }
}

/// What is not looked at, but read all the same: its syntax counts, and its depth.
struct Anything;

impl Kind for Anything {
    fn wrong(self, _found: &'static str) {}
}

const NULL: &str = "null";

/// Reads whatever stands at a place and tells its [`Kind`].
struct Seed<K>(K);

impl<'de, K: Kind> DeserializeSeed<'de> for Seed<K> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, K: Kind> Visitor<'de> for Seed<K> {
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
        while elements.next_element_seed(Seed(Anything))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.0.object(members)
    }
}

#[cfg(test)]
mod tests;
