//! The keys that exist, in the order in which `config/default.toml` explains them.
//!
//! That file is the only list of keys: what it does not hold is unknown in a file and in the
//! environment alike, and a key that a section needs but the file lacks fails the first load.

use std::sync::LazyLock;

use super::error::is_within;

/// The defaults layer, and the reference of all keys.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Keys whose values are shown to nobody.
const SECRETS: [&str; 5] = [
    "genesys.client_secret",
    "genesys.proxy",
    "audit.key",
    "tracing.headers",
    "simulator.client_secret",
];

/// Keys by which `genesys` reaches a real organisation.
const ACCOUNT: [&str; 7] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.environment",
    "genesys.api_url",
    "genesys.login_url",
    "genesys.ca_file",
    "genesys.proxy",
];

/// Keys that may also be read from a file which a variable with `_FILE` at its end names.
pub(super) const FROM_FILE: [&str; 5] =
    ["genesys.client_id", "genesys.client_secret", "genesys.proxy", "audit.key", "tracing.headers"];

/// One key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConfigKey {
    /// Section without brackets, such as `genesys.custom`.
    pub section: &'static str,
    /// Last part of the path.
    pub name: &'static str,
}

impl ConfigKey {
    /// The dotted path.
    pub fn path(self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable for the key.
    pub fn variable(self) -> String {
        format!("GATEWAY__{}", self.path().replace('.', "__").to_uppercase())
    }

    /// Whether the value must not be shown.
    pub fn is_secret(self) -> bool {
        SECRETS.contains(&self.path().as_str())
    }

    /// Whether the key belongs to a real organisation, and so not to a demonstration.
    pub fn is_account(self) -> bool {
        ACCOUNT.contains(&self.path().as_str())
    }
}

/// Read out of the defaults once: each key of a file is looked up more than once.
static KEYS: LazyLock<Vec<ConfigKey>> = LazyLock::new(|| {
    let mut section = "";
    let key = |line: &'static str| {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            return None;
        }
        let (name, _) = line.split_once(" = ").filter(|_| !line.starts_with('#'))?;
        Some(ConfigKey { section, name })
    };
    DEFAULTS.lines().filter_map(key).collect()
});

/// All keys, in the order of the defaults file.
pub(super) fn keys() -> impl Iterator<Item = ConfigKey> {
    KEYS.iter().copied()
}

/// The key with this dotted path.
pub(super) fn find(path: &str) -> Option<ConfigKey> {
    let (section, name) = path.rsplit_once('.')?;
    keys().find(|key| key.section == section && key.name == name)
}

/// Whether the path is a section, or holds one.
pub(super) fn is_section(path: &str) -> bool {
    keys().any(|key| !path.is_empty() && is_within(key.section, path))
}
