//! `[participants]`: the participant that a request means by default.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values;

/// Longest purpose that is accepted, far above those of Genesys Cloud.
const MAX_PURPOSE_LETTERS: usize = 40;

/// The participant of requests that name none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantsConfig {
    /// Purpose of that participant; 1 to 40 ASCII letters.
    #[serde(deserialize_with = "purpose")]
    pub default: String,
}

fn purpose<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = values::text(deserializer)?;
    let word = text.trim();
    let letters = word.chars().all(|c| c.is_ascii_alphabetic());
    if word.eq_ignore_ascii_case("all") {
        return Err(D::Error::custom("must select one participant, not `all`"));
    }
    if letters && (1..=MAX_PURPOSE_LETTERS).contains(&word.len()) {
        return Ok(word.to_owned());
    }
    Err(D::Error::custom(format!(
        "must be a word of 1 to {MAX_PURPOSE_LETTERS} letters such as `customer`, not `{text}`"
    )))
}
