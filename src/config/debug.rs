//! `[debug]`: aids that show what arrives and what was done.

use serde::Deserialize;

/// Aids for debugging, off unless asked for. The key is accepted so that scripts can set it today;
/// the aids come with a later release.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// Whether they are served.
    pub enabled: bool,
}
