//! `[log]`: what is logged and in which form.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;

use super::values::{self, Choice};

/// What is logged and in which form.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of a line.
    #[serde(deserialize_with = "values::choice")]
    pub format: LogFormat,
    /// Filter directives, known to parse as an [`EnvFilter`].
    #[serde(deserialize_with = "directives")]
    pub level: String,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];
}

fn directives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = values::text(deserializer)?;
    let directives = text.trim();
    // An empty filter parses, and then silently logs errors alone.
    let found = Some(directives).filter(|directives| !directives.is_empty());
    match found.map(|directives| EnvFilter::builder().parse(directives)) {
        Some(Ok(_)) => Ok(directives.to_owned()),
        _ => Err(D::Error::custom(format!(
            "must be a level (error, warn, info, debug, trace, off) or a list such as \
             `info,attribute_gateway=debug`, not `{text}`"
        ))),
    }
}
