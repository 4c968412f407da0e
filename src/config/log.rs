//! What is recorded: `[log]`, `[audit]` and `[tracing]`.

use std::path::PathBuf;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;

use super::error::with_likely;
use super::url::BaseUrl;
use super::values::{self, CheckedSection, Count};
use crate::domain::closest_word;

/// What is logged, and in which format.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    #[serde(deserialize_with = "directives")]
    pub level: String,
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The log targets of this program.
const TARGETS: [&str; 2] = ["attribute_gateway", "access"];

fn directives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let directives = text.trim();
    // Span filters have their own syntax, which only `EnvFilter` checks.
    if !directives.contains('[') {
        directives.split(',').try_for_each(check).map_err(D::Error::custom)?;
    }
    match EnvFilter::builder().parse(directives) {
        Ok(_) => Ok(directives.to_owned()),
        Err(_) => Err(D::Error::custom(format!(
            "must be a level ({}) or a list such as `info,attribute_gateway=debug`, not `{text}`",
            LEVELS.join(", ")
        ))),
    }
}

/// Refuses words that the filter would take for the name of an unknown target. Such a filter
/// silences every other target.
fn check(directive: &str) -> Result<(), String> {
    let directive = directive.trim();
    let root = |target: &str| target.split("::").next().unwrap_or_default().to_owned();
    let (target, level) = match directive.rsplit_once('=') {
        Some((target, level)) => (root(target.trim()), level.trim()),
        None if TARGETS.contains(&&*root(directive)) => return Ok(()),
        None => (String::new(), directive),
    };
    let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
        || matches!(level.as_bytes(), [] | [b'0'..=b'5']);
    if !is_level {
        let message = with_likely(&format!("`{level}` is not a log level"), likely_level(level));
        let place = if level == directive { "" } else { &format!(" (in `{directive}`)") };
        return Err(format!("{message}{place}; the levels are {}", LEVELS.join(", ")));
    }
    match closest_word(&target, TARGETS).filter(|_| !TARGETS.contains(&&*target)) {
        None => Ok(()),
        likely => Err(with_likely(&format!("this program has no target `{target}`"), likely)),
    }
}

fn likely_level(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let begins_alike =
        |level: &&str| lower.len() >= 3 && (lower.starts_with(*level) || level.starts_with(&lower));
    LEVELS.into_iter().find(begins_alike).or_else(|| closest_word(&lower, LEVELS))
}

/// The audit log of writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    #[serde(deserialize_with = "values::parsed")]
    pub to: AuditDestination,
    /// What happens to a write that cannot be recorded.
    pub on_failure: AuditFailureMode,
    #[serde(default, deserialize_with = "values::secret::<16, _, _>")]
    pub key: Option<SecretString>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditDestination {
    Off,
    Stdout,
    File(PathBuf),
}

/// What happens to a write that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFailureMode {
    Block,
    Drop,
}

impl FromStr for AuditDestination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            // A misspelt word must not become a file of that name.
            path if path.contains('/') && !path.ends_with('/') => Ok(Self::File(path.into())),
            text => Err(format!(
                "must be `off`, `stdout` or the path of a file with a `/` in it, not `{text}`"
            )),
        }
    }
}

/// Where spans are exported to, and of which requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracingConfig {
    #[serde(default, deserialize_with = "values::optional")]
    pub endpoint: Option<BaseUrl>,
    #[serde(default, deserialize_with = "headers")]
    /// For the collector. `Debug` shows only their names.
    pub headers: HeaderMap,
    #[serde(deserialize_with = "values::name")]
    pub service_name: String,
    pub keep_one_in: Count<1, 1_000_000>,
}

impl CheckedSection for TracingConfig {
    fn check(&self) -> Result<(), String> {
        let has_headers = !self.headers.is_empty();
        match &self.endpoint {
            None if has_headers => Err("headers: are set, but tracing.endpoint is not".to_owned()),
            Some(url) if has_headers && url.leaves_unencrypted() => {
                let what = "need a tracing.endpoint with https, unless its host is this machine";
                Err(format!("headers: {what}"))
            }
            _ => Ok(()),
        }
    }
}

/// Headers as `name=value,name=value`. The messages leave the text out, because it may hold a key.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    let text: String = values::name(deserializer)?;
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| D::Error::custom("must be `name=value,name=value`"))?;
        let (name, value) =
            (HeaderName::try_from(name.trim()), HeaderValue::try_from(value.trim()));
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err(D::Error::custom("must hold valid header names and values"));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_with_the_likely_one() {
        for (text, named, likely) in [
            ("inof", "inof", "info"),
            ("warning", "warning", "warn"),
            ("WARNING", "WARNING", "warn"),
            ("information", "information", "info"),
            ("err", "err", "error"),
            ("dbug", "dbug", "debug"),
            ("info,wran", "wran", "warn"),
            ("attribute_gateway=inof", "inof", "info"),
            ("info, access = offf", "offf", "off"),
            ("atribute_gateway=debug", "atribute_gateway", "attribute_gateway"),
            ("attribute-gateway=debug", "attribute-gateway", "attribute_gateway"),
            ("info,acess=off", "acess", "access"),
            ("Attribute_Gateway::x=debug", "Attribute_Gateway", "attribute_gateway"),
        ] {
            let refused = text.split(',').find_map(|part| check(part).err()).expect(text);
            assert!(refused.contains(&format!("`{named}`")), "{refused}");
            assert!(refused.contains(&format!("did you mean `{likely}`?")), "{refused}");
        }
        let refused = check("banana").expect_err("no level");
        assert!(refused.starts_with("`banana` is not a log level; the levels are"), "{refused}");
    }

    #[test]
    fn levels_and_targets_are_taken_in_every_spelling_that_works() {
        for text in [
            "info",
            "INFO",
            "3",
            "off",
            "attribute_gateway",
            "access::x",
            "info,access::x=debug",
            "info, hyper=warn, access=off",
            "rustls=trace",
            "",
        ] {
            assert_eq!(text.split(',').try_for_each(check), Ok(()), "{text}");
        }
    }

    #[test]
    fn headers_are_a_list_and_never_shown() {
        let headers = |text: &str| super::headers(toml::Value::from(text));
        let found = headers(" x-key = hunter2==, b=2,").expect("headers");
        let read: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(read, [("x-key", &b"hunter2=="[..]), ("b", b"2")]);
        assert!(!format!("{found:?}").contains("hunter2"));
        assert!(headers("").expect("none").is_empty());
        for bad in ["hunter2", "a b=hunter2", "=hunter2", "a=hunter2\u{1}"] {
            let error = headers(bad).expect_err(bad).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
