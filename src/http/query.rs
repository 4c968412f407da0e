//! Strict parsing of query strings: of named values into documented structs.
//!
//! An unknown or repeated parameter is a mistake: to ignore it would be to do something else than the
//! client asked for. The error lists all mistakes. A search body has the same rules for its members.

use std::fmt::{self, Display};
use std::slice;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::paths::decoded_query;
use super::problem::Problem;
use super::violations::ViolationList;
use super::violations::shortened;
use crate::domain::{Violation, closest_word};
use crate::error::ErrorCode;

/// The parameter that names a participant. Its mistakes have their own error code.
const PARTICIPANT: &str = "participant";

/// Unknown names that get a suggestion, as many as a problem lists. Suggestions take long.
const MAX_EXPLAINED: usize = 100;

/// The parameters of a query: a struct that documents them, or a tuple of such structs.
#[derive(Debug)]
pub(super) struct StrictQuery<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query())
    }
}

impl<T: DeserializeOwned + Default> StrictQuery<T> {
    pub(super) fn parse(raw: Option<&str>) -> Result<Self, Problem> {
        Self::parse_without(raw, &[], "")
    }

    /// The same, but refuses parameters with these names, for the reason `why`.
    pub(super) fn parse_without(
        raw: Option<&str>,
        names: &[&str],
        why: &str,
    ) -> Result<Self, Problem> {
        let (read, mistakes) = read(raw, names, why);
        if mistakes.is_empty() { Ok(Self(read)) } else { Err(refusal(mistakes)) }
    }

    /// The valid parameters of a query that can have mistakes.
    pub(super) fn valid_part(raw: &str) -> T {
        read(Some(raw), &[], "").0
    }
}

/// The problem of a query with one mistake that concerns several parameters.
pub(super) fn contradiction(name: &str, detail: &str) -> Problem {
    refusal(Violation::new(name, detail).into())
}

fn refusal(mistakes: ViolationList) -> Problem {
    let about_participants = mistakes.reported().iter().all(|one| one.pointer == PARTICIPANT);
    let code =
        if about_participants { ErrorCode::InvalidParticipant } else { ErrorCode::InvalidQuery };
    Problem::listing(code, mistakes)
}

fn read<T: DeserializeOwned + Default>(
    raw: Option<&str>,
    refused: &[&str],
    why: &str,
) -> (T, ViolationList) {
    let (mut values, mut mistakes) = (Vec::new(), ViolationList::default());
    for part in raw.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match (decoded_query(name), decoded_query(value)) {
            (Some(name), Some(_)) if refused.contains(&name.as_str()) => {
                mistakes.note(Violation::new(name, why));
            }
            (Some(name), Some(value)) => values.push((name, value)),
            _ => mistakes.note(Violation::new(shortened(name), "is not percent-encoded UTF-8")),
        }
    }
    let (read, wrong) = read_values(values, "parameter");
    for (name, detail) in wrong {
        mistakes.note(Violation::new(shortened(&name), detail));
    }
    (read, mistakes)
}

/// Reads the named values, which are a `parameter` or a `member` of the request. Returns what is valid,
/// and for each mistake the name and what is wrong: unknown names first.
pub(super) fn read_values<T: DeserializeOwned + Default>(
    mut values: Vec<(String, String)>,
    kind: &str,
) -> (T, Vec<(String, String)>) {
    let (mut known, mut wrong) = (Vec::new(), Vec::new());
    if values.is_empty() {
        return (T::default(), wrong);
    }
    let read = loop {
        known.clear();
        match T::deserialize(NamedValues { values: &values, known: &mut known }) {
            Ok(read) => break read,
            Err(ValueError { name, detail }) => {
                // Every parameter is optional, so the next pass finds the next mistake.
                let count = values.len();
                values.retain(|(own, _)| *own != name);
                if values.len() == count {
                    break T::default();
                }
                wrong.push((name.to_owned(), detail));
            }
        }
    };
    values.retain(|(name, _)| !known.contains(&name.as_str()));
    let unknown = values.into_iter().enumerate().map(|(index, (name, _))| {
        let is_explained = index < MAX_EXPLAINED;
        let detail = if is_explained { unknown(&name, kind, &known) } else { String::new() };
        (name, detail)
    });
    (read, unknown.chain(wrong).collect())
}

fn unknown(name: &str, kind: &str, known: &[&str]) -> String {
    let rest = match closest_word(name, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => ", which has none".to_owned(),
        None => format!(", which takes `{}`", known.join("`, `")),
    };
    format!("is not a {kind} of this request{rest}")
}

/// Deserialises a value by its [`FromStr`], for `deserialize_with`. The error does not repeat the value.
pub(super) fn parsed<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let parsed = String::deserialize(value)?.parse();
    parsed.map(Some).map_err(|error| D::Error::custom(format!("is {error}")))
}

#[derive(Debug)]
struct ValueError {
    name: &'static str,
    detail: String,
}

impl std::error::Error for ValueError {}

impl Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.detail)
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: Display>(detail: T) -> Self {
        Self { name: "", detail: detail.to_string() }
    }
}

/// Deserialises a struct, or a tuple of structs, and collects the names of their fields.
struct NamedValues<'a> {
    values: &'a [(String, String)],
    known: &'a mut Vec<&'static str>,
}

impl<'de> Deserializer<'de> for NamedValues<'_> {
    type Error = ValueError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.known.extend(fields);
        visitor.visit_map(StructFields { values: self.values, rest: fields.iter(), name: "" })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_seq(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple_struct map enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for NamedValues<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        seed.deserialize(NamedValues { values: self.values, known: self.known }).map(Some)
    }
}

/// The fields of one struct that have a value.
struct StructFields<'a> {
    values: &'a [(String, String)],
    rest: slice::Iter<'static, &'static str>,
    /// The field whose value is next.
    name: &'static str,
}

impl<'de> MapAccess<'de> for StructFields<'_> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        let values = self.values;
        let has_value = |field: &&&str| values.iter().any(|(name, _)| name == **field);
        let Some(field) = self.rest.by_ref().find(has_value) else { return Ok(None) };
        self.name = field;
        seed.deserialize(StrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        let own = self.values.iter().filter(|(name, _)| name == self.name);
        let value = FieldValues(own.map(|(_, value)| value.as_str()).collect());
        seed.deserialize(value).map_err(|error| ValueError { name: self.name, ..error })
    }
}

/// The values of one parameter; several only for a list.
struct FieldValues<'a>(Vec<&'a str>);

impl FieldValues<'_> {
    fn single(&self) -> Result<&str, ValueError> {
        match self.0[..] {
            [""] => Err(ValueError::custom("has no value")),
            [value] => Ok(value),
            _ => Err(ValueError::custom("is given more than once")),
        }
    }

    /// The value, which is one of these words. Where the empty word is one, `1` and `0` are as well.
    fn word(&self, words: &[&'static str]) -> Result<&'static str, ValueError> {
        if self.0 != [""] {
            self.single()?;
        }
        if let Some(word) = words.iter().find(|word| self.0[..] == [**word]) {
            return Ok(word);
        }
        let given = self.single()?;
        let list: Vec<_> = words.iter().copied().filter(|word| word.len() > 1).collect();
        let ending = if words.contains(&"") {
            ", or without a value"
        } else if words.iter().any(|word| given.trim().eq_ignore_ascii_case(word)) {
            ", in lower case"
        } else {
            ""
        };
        Err(ValueError::custom(format!("has to be `{}`{ending}", list.join("` or `"))))
    }
}

impl<'de> Deserializer<'de> for FieldValues<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_str(self.single()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_bool(self.word(&["true", "false"])? == "true")
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.0.contains(&"") {
            return Err(ValueError::custom("has no value"));
        }
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_enum(self.word(words)?.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::params::{KeyParams, ParticipantParam, WriteParams};

    type Parameters = (ParticipantParam, WriteParams, KeyParams);

    fn mistakes(raw: &str) -> Vec<String> {
        let (_, mistakes) = read::<Parameters>(Some(raw), &[], "");
        let mistakes = mistakes.reported().iter();
        mistakes.map(|mistake| format!("{} {}", mistake.pointer, mistake.detail)).collect()
    }

    #[test]
    fn values_are_decoded_and_otherwise_left_alone() {
        let raw = "key=+a%20%2B%C3%A9&key=b%3d%26c&keys=x,y&&dryRun=true";
        let StrictQuery((participant, write, keys)) =
            StrictQuery::<Parameters>::parse(Some(raw)).expect("valid");
        assert_eq!(keys.named(), Some([" a +é", "b=&c", "x", "y"].map(str::to_owned).into()));
        assert!(participant.participant.is_none() && write.dry_run && !write.allow_ended);
        assert!(StrictQuery::<()>::parse(None).is_ok());
        assert!(StrictQuery::<()>::parse(Some("a=b")).is_err());
    }

    #[test]
    fn all_mistakes_are_listed_and_slips_recognised() {
        let found = mistakes(
            "participnt=customer&kyes=a&dryrun=true&view=flat&keys=a&keys=b&key=&dryRun=yes&key=%zz&key=%ff&participant=agent:2nd",
        );
        assert_eq!(
            found,
            [
                "key is not percent-encoded UTF-8",
                "key is not percent-encoded UTF-8",
                "participnt is not a parameter of this request; did you mean `participant`?",
                "kyes is not a parameter of this request; did you mean `keys`?",
                "dryrun is not a parameter of this request; did you mean `dryRun`?",
                "view is not a parameter of this request, which takes `participant`, `verify`, `dryRun`, `allowEnded`, `keys`, `key`",
                "participant `agent:2nd` is not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`",
                "dryRun has to be `true` or `false`",
                "keys is given more than once",
                "key has no value",
            ]
        );
    }

    #[test]
    fn a_word_in_the_wrong_case_gets_a_hint() {
        assert_eq!(mistakes("dryRun=True"), ["dryRun has to be `true` or `false`, in lower case"]);
        assert_eq!(mistakes("dryRun=1"), ["dryRun has to be `true` or `false`"]);
    }

    #[test]
    fn a_bad_participant_alone_has_its_own_code() {
        let code = |raw: &str| {
            let parsed = StrictQuery::<Parameters>::parse(Some(raw));
            parsed.map(drop).map_err(|problem| problem.code())
        };
        assert_eq!(code("participant=a%20b"), Err(ErrorCode::InvalidParticipant));
        assert_eq!(code("participant=all"), Err(ErrorCode::InvalidParticipant));
        assert_eq!(code("participant=a%20b&x=y"), Err(ErrorCode::InvalidQuery));
        assert_eq!(code("participant="), Err(ErrorCode::InvalidParticipant));
        assert_eq!(code("participant=agent"), Ok(()));
    }

    proptest! {
        #[test]
        fn no_query_panics(raw in "[\\x00-\\xff]{0,60}|([a-zA-Z]{0,12}[=&%+]{0,2}){0,12}") {
            let _ = mistakes(&raw);
        }
    }
}
