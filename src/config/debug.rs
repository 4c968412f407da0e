//! `[debug]`: aids that show what arrives and what was done.

use serde::Deserialize;

/// Aids for debugging, off unless asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugConfig {
    /// Whether `/v1/debug/echo` and the traces of conversations are served.
    pub enabled: bool,
}
