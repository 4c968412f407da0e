//! Deserializers for single values, shared by the sections.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::SecretString;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};

/// A section whose keys depend on each other.
pub(super) trait CheckedSection: DeserializeOwned {
    /// Fails with the name of a key, a colon and what is wrong with it.
    fn check(&self) -> Result<(), String>;
}

/// A section, after its check.
pub(super) fn checked<'de, T: CheckedSection, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let section = T::deserialize(deserializer)?;
    section.check().map_err(D::Error::custom)?;
    Ok(section)
}

/// A parsed text.
pub(super) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.trim().parse().map_err(D::Error::custom)
}

/// A parsed text for a key that may be absent.
pub(super) fn optional<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    parsed(deserializer).map(Some)
}

/// Parsed texts.
pub(super) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let parse = |text: String| {
        text.parse()
            .map_err(|error| D::Error::custom(format!("`{}`: {error}", text.escape_debug())))
    };
    Vec::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// An address with a port. Host names are refused, because they would have to be resolved.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let example = "must be an IP address with a port, such as `127.0.0.1:8080`";
    text.trim().parse().map_err(|_| D::Error::custom(format!("{example}, not `{text}`")))
}

/// One line of text without control characters, such as a password. No message quotes it.
fn line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().any(char::is_control) {
        return Err(D::Error::custom("must be one line without control characters"));
    }
    if text == super::render::MASK {
        return Err(D::Error::custom("is the mask that print-config shows, not a value"));
    }
    Ok(text)
}

/// A name. Surrounding blanks, as copied from a web page, are removed.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    line(deserializer).map(|text| text.trim().to_owned())
}

/// A name that may be absent.
pub(super) fn optional_name<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    name(deserializer).map(Some)
}

/// A secret, exactly as given.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    line(deserializer).map(SecretString::from)
}

/// A secret that may be absent, of at least `MIN` bytes.
pub(super) fn optional_secret<'de, const MIN: usize, D>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = line(deserializer)?;
    if text.len() < MIN {
        return Err(D::Error::custom(format!("must have at least {MIN} characters")));
    }
    Ok(Some(SecretString::from(text)))
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn number<'de, const MIN: u64, const MAX: u64, T, D>(
    deserializer: D,
) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let message = || D::Error::custom(format!("must be a whole number from {MIN} to {MAX}"));
    let number = u64::deserialize(deserializer).map_err(|_| message())?;
    T::try_from(within(MIN..=MAX, number).ok_or_else(message)?).map_err(|_| message())
}

/// A size from `MIN` to `MAX` bytes, as a number or with a unit.
pub(super) fn size<'de, const MIN: u64, const MAX: u64, T, D>(
    deserializer: D,
) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let size = ByteSize::deserialize(deserializer).map_err(|_| {
        D::Error::custom("must be a size such as `16 KiB` or a number of bytes such as 10240")
    })?;
    let found = within(MIN..=MAX, size.as_u64()).and_then(|size| T::try_from(size).ok());
    found.ok_or_else(|| {
        let [min, max] = [MIN, MAX].map(ByteSize::b);
        D::Error::custom(format!("must be from {min} to {max}, not {size}"))
    })
}

/// A duration with a unit, from `MIN` to `MAX` milliseconds.
pub(super) fn duration<'de, const MIN: u64, const MAX: u64, D>(
    deserializer: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    let example = "must be a duration with a unit, such as `5s` or `250ms`";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(example))?;
    let found = humantime::parse_duration(text.trim())
        .map_err(|error| D::Error::custom(format!("{example}, not `{text}`: {error}")))?;
    let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
    within(min..=max, found).ok_or_else(|| {
        let [min, max] = [min, max].map(humantime::format_duration);
        D::Error::custom(format!("must be from {min} to {max}, not {text}"))
    })
}

fn within<T: PartialOrd>(range: RangeInclusive<T>, found: T) -> Option<T> {
    range.contains(&found).then_some(found)
}
