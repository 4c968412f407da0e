//! `[log]`: what is logged, and in which format.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;

use super::error::with_likely;
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
    let (target, level) = match directive.rsplit_once('=') {
        Some((target, level)) => (Some(target.trim()), Some(level.trim())),
        None if is_level(directive) || directive.is_empty() => return Ok(()),
        None if is_own_target(directive) => (Some(directive), None),
        None => (None, Some(directive)),
    };
    if let Some(level) = level.filter(|level| !is_level(level)) {
        let near_target = closest_word(level, TARGETS).filter(|_| target.is_none());
        let likely = near_target.or_else(|| likely_level(level));
        let message = with_likely(&format!("`{level}` is not a log level"), likely);
        let place = if target.is_some() { format!(" (in `{directive}`)") } else { String::new() };
        return Err(format!("{message}{place}; the levels are {}", LEVELS.join(", ")));
    }
    let root = target.and_then(|target| target.split("::").next()).unwrap_or_default();
    match closest_word(root, TARGETS).filter(|_| !TARGETS.contains(&root)) {
        Some(likely) => {
            Err(format!("this program has no target `{root}`; did you mean `{likely}`?"))
        }
        None => Ok(()),
    }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
        || matches!(word.as_bytes(), [b'0'..=b'5'])
}

fn is_own_target(word: &str) -> bool {
    word.split("::").next().is_some_and(|root| TARGETS.contains(&root))
}

fn likely_level(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let begins_alike =
        |level: &&str| lower.len() >= 3 && (lower.starts_with(*level) || level.starts_with(&lower));
    LEVELS.into_iter().find(begins_alike).or_else(|| closest_word(&lower, LEVELS))
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
            ("attribute-gateway", "attribute-gateway", "attribute_gateway"),
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
}
