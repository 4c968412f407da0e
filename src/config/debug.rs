//! `[debug]`: endpoints for debugging.

use serde::Deserialize;

/// Endpoints for debugging, off by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugConfig {
    /// Whether `/v1/debug/echo` and the traces of conversations are served.
    pub enabled: bool,
}
