//! Values within limits, and deserializers that the sections share.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::SecretString;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use toml::Value;

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

/// A duration with a unit, of `MIN` to `MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Value")]
pub struct Millis<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Millis<MIN, MAX> {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<Value> for Millis<MIN, MAX> {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
        let found = humantime::parse_duration(&text).map_err(|error| {
            format!(
                "must be a duration with a unit, such as `5s` or `250ms`, not `{text}`: {error}"
            )
        })?;
        let [min, max] = [MIN, MAX].map(Duration::from_millis);
        if (min..=max).contains(&found) {
            return Ok(Self(found));
        }
        let [min, max] = [min, max].map(humantime::format_duration);
        Err(format!("must be from {min} to {max}, not {text}"))
    }
}

/// A size of `MIN` to `MAX` bytes, as a number or with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "ByteSize")]
pub struct ByteCount<const MIN: u64, const MAX: u64>(usize);

impl<const MIN: u64, const MAX: u64> ByteCount<MIN, MAX> {
    /// The bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<ByteSize> for ByteCount<MIN, MAX> {
    type Error = String;

    fn try_from(size: ByteSize) -> Result<Self, String> {
        let bytes = Some(size.as_u64()).filter(|bytes| (MIN..=MAX).contains(bytes));
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            let [min, max] = [MIN, MAX].map(ByteSize::b);
            format!("must be from {min} to {max}, not {size}")
        })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, serde::Deserialize)]
#[serde(try_from = "Value")]
pub struct Count<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<Value> for Count<MIN, MAX> {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = value.as_integer().and_then(|number| number.try_into().ok());
        let number = number.filter(|number| (MIN..=MAX).contains(number)).map(Self);
        number.ok_or_else(|| format!("must be a whole number from {MIN} to {MAX}"))
    }
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

/// Parsed texts, as a list or as one that may be absent.
pub(super) fn list<'de, T, L, D>(deserializer: D) -> Result<L, D::Error>
where
    T: FromStr<Err: Display>,
    L: From<Vec<T>>,
    D: Deserializer<'de>,
{
    let parse = |text: String| {
        text.parse()
            .map_err(|error| D::Error::custom(format!("`{}`: {error}", text.escape_debug())))
    };
    let texts = Vec::deserialize(deserializer)?.into_iter();
    texts.map(parse).collect::<Result<Vec<T>, _>>().map(L::from)
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

/// A name, also one that may be absent. Surrounding blanks, as copied from a web page, are removed.
pub(super) fn name<'de, T: From<String>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    line(deserializer).map(|text| text.trim().to_owned().into())
}

/// A secret of at least `MIN` bytes, exactly as given; also one that may be absent.
pub(super) fn secret<'de, const MIN: usize, T: From<SecretString>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = line(deserializer)?;
    if text.len() < MIN {
        return Err(D::Error::custom(format!("must have at least {MIN} characters")));
    }
    Ok(SecretString::from(text).into())
}
