//! Deserializers for single values, shared by the sections.
//!
//! A value has a type in TOML and is text in the environment. Both are accepted, but nothing is
//! rounded or guessed: `2.7` is not a whole number, and `yes` is not a flag.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::bytes::ByteSize;

/// A setting whose value is one of a few words.
pub(super) trait WordSetting: Copy + 'static {
    /// Every word with its meaning.
    const WORDS: &'static [(&'static str, Self)];
}

enum ScalarValue {
    Text(String),
    Number(u64),
    Flag(bool),
}

impl<'de> Deserialize<'de> for ScalarValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = ScalarValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Text(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Number(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ScalarValue, E> {
        let number = u64::try_from(number).map_err(|_| E::custom("must not be negative"))?;
        Ok(ScalarValue::Number(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<ScalarValue, E> {
        Err(E::custom("must not be a fraction"))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<ScalarValue, E> {
        Ok(ScalarValue::Flag(flag))
    }
}

/// A text, unchanged. The message leaves the value out, because it may be a secret.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match ScalarValue::deserialize(deserializer)? {
        ScalarValue::Text(text) => Ok(text),
        ScalarValue::Number(_) | ScalarValue::Flag(_) => {
            Err(D::Error::custom("must be a text in quotes"))
        }
    }
}

/// A parsed text; empty or blank is `None`.
pub(super) fn optional<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = text(deserializer)?;
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(D::Error::custom),
    }
}

/// A parsed text.
pub(super) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    text(deserializer)?.trim().parse().map_err(D::Error::custom)
}

/// An address with a port. Host names are refused, because they would have to be resolved.
pub(super) fn address<'de, D>(deserializer: D) -> Result<std::net::SocketAddr, D::Error>
where
    D: Deserializer<'de>,
{
    let text = text(deserializer)?;
    let example = "must be an IP address with a port, such as `127.0.0.1:8080`";
    text.trim().parse().map_err(|_| D::Error::custom(format!("{example}, not `{text}`")))
}

/// One line of text without control characters, such as an id or a password. No message quotes it.
pub(super) fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = text(deserializer)?;
    if text.chars().any(char::is_control) {
        return Err(D::Error::custom("must be one line without control characters"));
    }
    if !text.is_empty() && text == super::render::MASK {
        return Err(D::Error::custom("is the mask that print-config shows, not a value"));
    }
    Ok(text)
}

/// An id. Surrounding blanks, as copied from a web page, are removed. Empty is `None`.
pub(super) fn optional_id<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    let id = one_line(deserializer)?.trim().to_owned();
    Ok(Some(id).filter(|id| !id.is_empty()))
}

/// A secret, exactly as given.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    one_line(deserializer).map(SecretString::from)
}

/// A secret, exactly as given. Empty is `None`.
pub(super) fn optional_secret<'de, D>(deserializer: D) -> Result<Option<SecretString>, D::Error>
where
    D: Deserializer<'de>,
{
    let secret = one_line(deserializer)?;
    Ok(Some(secret).filter(|secret| !secret.is_empty()).map(SecretString::from))
}

/// `true` or `false`.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match ScalarValue::deserialize(deserializer)? {
        ScalarValue::Flag(flag) => Ok(flag),
        ScalarValue::Text(text) if text.trim() == "true" => Ok(true),
        ScalarValue::Text(text) if text.trim() == "false" => Ok(false),
        ScalarValue::Text(_) | ScalarValue::Number(_) => {
            Err(D::Error::custom("must be `true` or `false`"))
        }
    }
}

/// One of the words of `T`.
pub(super) fn choice<'de, T: WordSetting, D>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = text(deserializer)?;
    let found = T::WORDS.iter().find(|(word, _)| *word == text.trim());
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("`{word}`")).collect();
        D::Error::custom(format!("must be one of {}, not `{text}`", words.join(", ")))
    })
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn number<'de, const MIN: u64, const MAX: u64, T, D>(
    deserializer: D,
) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let found = match ScalarValue::deserialize(deserializer)? {
        ScalarValue::Number(number) => Some(number),
        ScalarValue::Text(text) => text.trim().parse().ok(),
        ScalarValue::Flag(_) => None,
    };
    let number = found.filter(|number| (MIN..=MAX).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format!("must be a whole number from {MIN} to {MAX}")))
}

/// A size from `MIN` to `MAX` bytes.
pub(super) fn size<'de, const MIN: u64, const MAX: u64, D>(
    deserializer: D,
) -> Result<ByteSize, D::Error>
where
    D: Deserializer<'de>,
{
    let size = match ScalarValue::deserialize(deserializer)? {
        ScalarValue::Number(number) => ByteSize::new(number),
        ScalarValue::Text(text) => text.parse().map_err(D::Error::custom)?,
        ScalarValue::Flag(_) => return Err(D::Error::custom("must be a size such as `16 KiB`")),
    };
    if (MIN..=MAX).contains(&size.bytes()) {
        return Ok(size);
    }
    let (min, max) = (ByteSize::new(MIN), ByteSize::new(MAX));
    Err(D::Error::custom(format!("must be from {min} to {max}, not {size}")))
}

/// A duration with a unit, from `MIN` to `MAX` milliseconds.
pub(super) fn duration<'de, const MIN: u64, const MAX: u64, D>(
    deserializer: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let ScalarValue::Text(text) = ScalarValue::deserialize(deserializer)? else {
        return Err(D::Error::custom("must be a text with a unit, such as `5s` or `250ms`"));
    };
    let found = humantime::parse_duration(text.trim()).map_err(|error| {
        D::Error::custom(format!("must be a duration such as `5s` or `250ms`: {error}"))
    })?;
    let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
    if (min..=max).contains(&found) {
        return Ok(found);
    }
    let [min, max, found] = [min, max, found].map(humantime::format_duration);
    Err(D::Error::custom(format!("must be from {min} to {max}, not {found}")))
}

/// Paths, as a list or as one text with commas.
pub(super) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    deserializer.deserialize_any(PathsVisitor)
}

struct PathsVisitor;

impl<'de> Visitor<'de> for PathsVisitor {
    type Value = Vec<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(parts.map(PathBuf::from).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut paths = Vec::new();
        while let Some(item) = list.next_element::<ScalarValue>()? {
            match item {
                ScalarValue::Text(path) if !path.is_empty() => paths.push(PathBuf::from(path)),
                _ => return Err(A::Error::custom("must be a list of paths in quotes")),
            }
        }
        Ok(paths)
    }
}

/// Parsed items, as a list or as one text with commas.
pub(super) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let texts = deserializer.deserialize_any(TextsVisitor)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(parts.map(str::to_owned).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = list.next_element::<ScalarValue>()? {
            match item {
                ScalarValue::Text(text) => texts.push(text),
                ScalarValue::Number(_) | ScalarValue::Flag(_) => {
                    return Err(A::Error::custom("must be a list of texts in quotes"));
                }
            }
        }
        Ok(texts)
    }
}
