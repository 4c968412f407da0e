//! `[audit]`: the audit log of writes.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::{self, WordSetting};

/// Shortest key that is accepted: a key that can be guessed lets an attacker test values.
const MIN_KEY_BYTES: usize = 16;

/// The audit log of writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Where records go.
    #[serde(deserialize_with = "destination")]
    pub to: AuditDestination,
    /// What happens to a write that cannot be recorded.
    #[serde(deserialize_with = "values::choice")]
    pub on_failure: AuditFailureMode,
    /// The key for fingerprints; `None` uses the client secret.
    #[serde(deserialize_with = "key")]
    pub key: Option<SecretString>,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditDestination {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To this file.
    File(PathBuf),
}

/// What happens to a write that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailureMode {
    /// The gateway refuses it.
    Block,
    /// The gateway carries it out, and the record is lost.
    Drop,
}

impl WordSetting for AuditFailureMode {
    const WORDS: &'static [(&'static str, Self)] = &[("block", Self::Block), ("drop", Self::Drop)];
}

fn destination<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AuditDestination, D::Error> {
    let text = values::text(deserializer)?;
    match text.trim() {
        "off" => Ok(AuditDestination::Off),
        "stdout" => Ok(AuditDestination::Stdout),
        // A misspelt word must not become a file of that name.
        path if path.contains('/') && !path.ends_with('/') => {
            Ok(AuditDestination::File(path.into()))
        }
        text => Err(D::Error::custom(format!(
            "must be `off`, `stdout` or the path of a file with a `/` in it, not `{text}`"
        ))),
    }
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let key = values::optional_secret(deserializer)?;
    match &key {
        Some(key) if key.expose_secret().len() < MIN_KEY_BYTES => {
            Err(D::Error::custom(format!("must have at least {MIN_KEY_BYTES} characters")))
        }
        _ => Ok(key),
    }
}
