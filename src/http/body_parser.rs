//! Parses the body of a write into a patch: of all attributes, or of a single one.
//!
//! A body becomes a tree first, which is then checked as a whole, so that one answer lists every
//! mistake with its pointer. Messages name the type of a wrong value, and never quote the value.

pub(super) mod attribute;
mod encoding;
pub(super) mod json_tree;

use std::collections::HashSet;

use serde_json::Value;
use smol_str::SmolStr;

use self::encoding::utf8;
use self::json_tree::{JsonMember, JsonText, JsonTree, SyntaxError};
use super::problem::Problem;
use super::violations::ViolationList;
use crate::domain::{AttributeKey, KeyChange, Patch, Violation, closest_word, json_pointer};
use crate::error::ErrorCode;

const ATTRIBUTES: &str = "attributes";

/// The member that holds the attributes as a JSON string, for clients that cannot send an object.
const ATTRIBUTES_JSON: &str = "attributesJson";
const ROOT: &str = "#";

/// How `null` as the value of an attribute is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NullPolicy {
    Refused,
    Clears,
}

/// Mistake: a string contains half of a surrogate pair.
const HALF: &str = "has half of a surrogate pair, so it is not valid Unicode; this happens when text is cut inside an emoji";

const WHOLE_CHARACTERS: &str = "Cut texts between characters, never inside one; replace a leftover half by U+FFFD or remove it.";

const ENCODING: &str =
    "Send the text in UTF-8, uncompressed; the charset in Content-Type has no effect.";

const STRINGS: &str = "Send every value as a string, numbers and booleans in quotes; \"\" clears a key, and so does null in a PATCH.";

const KEYS: &str = "Send each key once; a key is a non-empty string without control characters.";

const SHAPE: &str = "Send {\"attributes\": {\"key\": \"value\"}} with at least one key; attributesJson takes the same object as a string.";

const MEMBERS: &str =
    "Put the keys and values into the member `attributes` and send no other member.";
const IN_QUERY: &str = "Move it from the body to the query, as in ?participant=agent; the body contains only the attributes.";

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

/// The form of a body.
struct BodyShape {
    /// The valid members, the usual one first.
    known: [&'static str; 2],
    content: &'static str,
    /// Hint for a duplicate member.
    hint: &'static str,
    /// Hint for an unknown member.
    unknown_hint: &'static str,
}

const ATTRIBUTES_SHAPE: BodyShape = BodyShape {
    known: [ATTRIBUTES, ATTRIBUTES_JSON],
    content: "attributes",
    hint: SHAPE,
    unknown_hint: MEMBERS,
};

impl BodyShape {
    /// Passes each known member to `check`, and notes unknown and duplicate ones. Returns which of the
    /// known members the body has.
    fn check(
        &self,
        members: Vec<JsonMember>,
        mistakes: &mut ViolationList,
        mut check: impl FnMut(&mut ViolationList, &'static str, JsonTree),
    ) -> [bool; 2] {
        let mut found = [false; 2];
        for (name, value) in members {
            let Some(index) = self.known.iter().position(|known| *known == name.text) else {
                let (detail, hint) = self.unknown(&name.text);
                mistakes.note_hinted(hint, || Violation::new(member(&name.text), detail));
                continue;
            };
            if std::mem::replace(&mut found[index], true) {
                let twice = || Violation::new(member(&name.text), "appears more than once");
                mistakes.note_hinted(self.hint, twice);
            } else {
                check(mistakes, self.known[index], value);
            }
        }
        found
    }

    fn unknown(&self, name: &str) -> (String, &'static str) {
        const UNKNOWN: &str = "is not a member of this request";
        let plain = name.to_ascii_lowercase().replace(['_', '-', ' '], "");
        let elsewhere = ELSEWHERE.iter().find(|(names, ..)| names.contains(&plain.as_str()));
        if let Some((_, place, hint)) = elsewhere {
            return (format!("{UNKNOWN}; {place}"), hint);
        }
        let resembles = |known: &&str| plain.ends_with(&known.to_ascii_lowercase());
        let near = closest_word(name, self.known);
        let advice = match near.or_else(|| self.known.into_iter().find(resembles)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("put {} into `{}`", self.content, self.known[0]),
        };
        (format!("{UNKNOWN}; {advice}"), self.unknown_hint)
    }
}

pub(super) fn patch(body: &[u8], null: NullPolicy) -> Result<Patch, Problem> {
    let mut mistakes = ViolationList::default();
    let mut builder = PatchBuilder { null, patch: Patch::default() };
    match parse_body(body, ErrorCode::InvalidJson.hint())? {
        JsonTree::Object(members) => builder.document(members, &mut mistakes),
        other => mistake(&mut mistakes, ROOT, not_an_object(&other)),
    }
    if mistakes.is_empty() {
        Ok(builder.patch)
    } else {
        Err(Problem::listing(ErrorCode::InvalidAttributes, mistakes))
    }
}

/// Parses a body into a tree. `hint` belongs to the errors of an empty body and of one that is not JSON.
pub(super) fn parse_body(body: &[u8], hint: &'static str) -> Result<JsonTree, Problem> {
    let text = utf8(body).map_err(|detail| not_json(ROOT, detail).with_hint(ENCODING))?;
    if text.is_empty() {
        return Err(not_json(ROOT, "the body is empty").with_hint(hint));
    }
    let not_json = |error: SyntaxError| not_json(json_pointer(&error.path), error.detail);
    JsonTree::parse(text).map_err(|error| not_json(error).with_hint(hint))
}

fn not_json(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
    Problem::listing(ErrorCode::InvalidJson, Violation::new(pointer, detail))
}

fn not_an_object(found: &JsonTree) -> String {
    format!("the body is {}; it has to be an object", found.kind())
}

pub(super) fn member(name: &str) -> String {
    json_pointer(&[name])
}

/// The string in this tree, or a hint and what is wrong with it. `if_null` is a remedy for `null`.
fn string(tree: JsonTree, if_null: &str) -> Result<SmolStr, (&'static str, String)> {
    match tree {
        JsonTree::Text(text) if text.has_half => Err((WHOLE_CHARACTERS, HALF.to_owned())),
        JsonTree::Text(text) => Ok(text.text),
        other => {
            let remedy = if matches!(other, JsonTree::Null) { if_null } else { "" };
            Err((STRINGS, format!("is {}; it has to be a string{remedy}", other.kind())))
        }
    }
}

fn mistake(all: &mut ViolationList, pointer: impl Into<String>, detail: impl Into<String>) {
    all.note_hinted(SHAPE, || Violation::new(pointer, detail));
}

struct PatchBuilder {
    null: NullPolicy,
    patch: Patch,
}

impl PatchBuilder {
    fn document(&mut self, members: Vec<JsonMember>, mistakes: &mut ViolationList) {
        let found = ATTRIBUTES_SHAPE.check(members, mistakes, |mistakes, name, value| {
            if name == ATTRIBUTES {
                self.attributes(name, value, mistakes);
            } else {
                self.embedded(value, mistakes);
            }
        });
        if found == [true, true] {
            let detail = "is sent together with `attributes`; send one of the two";
            mistake(mistakes, member(ATTRIBUTES_JSON), detail);
        }
        if mistakes.is_empty() && found == [false, false] {
            mistake(mistakes, member(ATTRIBUTES), "is missing");
        }
    }

    fn attributes(&mut self, source: &str, tree: JsonTree, mistakes: &mut ViolationList) {
        let JsonTree::Object(entries) = tree else {
            let detail = format!("is {}; it has to be an object of strings", tree.kind());
            return mistake(mistakes, member(source), detail);
        };
        if entries.is_empty() {
            let detail = "is empty; name at least one key, as in {\"key\": \"value\"}";
            mistake(mistakes, member(source), detail);
        }
        let mut keys = HashSet::with_capacity(entries.len());
        for (name, value) in entries {
            if !keys.insert(name.text.clone()) {
                let twice =
                    || Violation::of_attribute(&name.text, "the key appears more than once");
                mistakes.note_hinted(KEYS, twice);
            }
            self.attribute(&name, value, mistakes);
        }
    }

    fn attribute(&mut self, name: &JsonText, value: JsonTree, mistakes: &mut ViolationList) {
        let mut wrong = |hint, detail: &str| {
            mistakes.note_hinted(hint, || Violation::of_attribute(&name.text, detail));
        };
        if name.has_half {
            wrong(WHOLE_CHARACTERS, &format!("the key {HALF}"));
        }
        let change = match value {
            JsonTree::Null if self.null == NullPolicy::Clears => Ok(KeyChange::Clear),
            value => {
                string(value, "; send \"\" to clear a key").map(|text| KeyChange::to(text.into()))
            }
        };
        let key =
            AttributeKey::new(&name.text).map_err(|invalid| wrong(KEYS, &invalid.to_string()));
        let change = change.map_err(|(hint, detail)| wrong(hint, &format!("the value {detail}")));
        if let (Ok(key), Ok(change)) = (key, change) {
            self.patch.insert(key, change);
        }
    }

    fn embedded(&mut self, tree: JsonTree, mistakes: &mut ViolationList) {
        let JsonTree::Text(JsonText { text, .. }) = tree else {
            let detail =
                format!("is {}; it has to be a string that holds a JSON object", tree.kind());
            return mistake(mistakes, member(ATTRIBUTES_JSON), detail);
        };
        match JsonTree::parse(text.strip_prefix('\u{feff}').unwrap_or(&text)) {
            Ok(tree) => self.attributes(ATTRIBUTES_JSON, tree, mistakes),
            Err(error) => {
                let path = [&[ATTRIBUTES.into()], error.path.as_slice()].concat();
                let is_inside = !error.path.is_empty();
                let place = if is_inside { json_pointer(&path) } else { member(ATTRIBUTES_JSON) };
                mistake(mistakes, place, format!("is not valid JSON: {}", error.detail));
            }
        }
    }
}

#[cfg(test)]
mod tests;

/// Returns the members of the object in their order, including duplicates. Arrays and objects in them
/// are empty.
pub(super) fn parse_members(body: &[u8]) -> Result<Vec<(String, Value)>, Problem> {
    match parse_body(body, ErrorCode::InvalidJson.hint())? {
        JsonTree::Object(members) => {
            let member = |(name, value): JsonMember| (name.text.into(), value.into());
            Ok(members.into_iter().map(member).collect())
        }
        other => Err(not_json(ROOT, not_an_object(&other))),
    }
}
