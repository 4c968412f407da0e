//! All keys, in the order of `config/default.toml`.
//!
//! That file is the only list of keys. A key that it lacks is unknown in every source, and if a
//! section needs such a key, the first load fails.

use std::sync::LazyLock;

use super::error::is_within;

/// The defaults layer, and the reference of all keys.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Keys whose values are never shown.
const SECRETS: [&str; 6] = [
    "genesys.client_secret",
    "genesys.proxy",
    "store.redis.url",
    "audit.key",
    "tracing.headers",
    "simulator.client_secret",
];

/// Keys that identify a real organisation.
const ACCOUNT: [&str; 7] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.environment",
    "genesys.api_url",
    "genesys.login_url",
    "genesys.ca_file",
    "genesys.proxy",
];

/// Keys whose value may also come from a file, named by a variable with the suffix `_FILE`.
pub(super) const FROM_FILE: [&str; 6] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.proxy",
    "store.redis.url",
    "audit.key",
    "tracing.headers",
];

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

    /// Whether the key identifies a real organisation, so that `demo` ignores it.
    pub fn is_account(self) -> bool {
        ACCOUNT.contains(&self.path().as_str())
    }
}

/// Parsed from the defaults once, because each key of a file is looked up more than once.
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

/// Whether the path is a section, or contains one.
pub(super) fn is_section(path: &str) -> bool {
    keys().any(|key| !path.is_empty() && is_within(key.section, path))
}
