//! `[audit]`: the audit log of writes.

use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;

use super::values;

/// The audit log of writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    #[serde(deserialize_with = "values::parsed")]
    pub to: AuditDestination,
    /// What happens to a write that cannot be recorded.
    pub on_failure: AuditFailureMode,
    #[serde(default, deserialize_with = "values::optional_secret::<16, _>")]
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
