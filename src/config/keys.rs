//! All keys, in the order of `config/default.toml`.
//!
//! That file is the only list of keys. A key that it lacks is unknown in every source, and if a
//! section needs such a key, the first load fails.

use std::sync::LazyLock;

/// The defaults, and the reference of all keys.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

const SECRETS: [&str; 6] = [
    "genesys.client_secret",
    "genesys.proxy",
    "store.redis.url",
    "audit.key",
    "tracing.headers",
    "simulator.client_secret",
];

const ACCOUNT: [&str; 7] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.environment",
    "genesys.api_url",
    "genesys.login_url",
    "genesys.ca_file",
    "genesys.proxy",
];

const FROM_FILE: [&str; 6] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.proxy",
    "store.redis.url",
    "audit.key",
    "tracing.headers",
];

/// The variables that the vendor's tutorials and SDKs use.
const PLAIN: [(&str, &str); 3] = [
    ("GENESYS_CLIENT_ID", "genesys.client_id"),
    ("GENESYS_CLIENT_SECRET", "genesys.client_secret"),
    ("GENESYS_ENVIRONMENT", "genesys.environment"),
];

/// One key of the configuration.
pub(super) struct ConfigKey {
    /// Section without brackets, such as `genesys.custom`.
    pub section: String,
    pub name: String,
    /// Section and name.
    pub path: String,
}

impl ConfigKey {
    pub fn variable(&self) -> String {
        format!("GATEWAY__{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Whether the value is never shown.
    pub fn is_secret(&self) -> bool {
        SECRETS.contains(&self.path.as_str())
    }

    /// Whether the key identifies a real organisation, so that `demo` ignores it.
    pub fn is_account(&self) -> bool {
        ACCOUNT.contains(&self.path.as_str())
    }

    /// Whether the value may come from a file, named by a variable with the suffix `_FILE`.
    pub fn is_from_file(&self) -> bool {
        FROM_FILE.contains(&self.path.as_str())
    }
}

static KEYS: LazyLock<Vec<ConfigKey>> =
    LazyLock::new(|| scan(DEFAULTS).into_iter().map(|(_, key)| key).collect());

pub(super) fn all() -> impl Iterator<Item = &'static ConfigKey> {
    KEYS.iter()
}

pub(super) fn find(path: &str) -> Option<&'static ConfigKey> {
    all().find(|key| key.path == path)
}

/// Whether the path is a section, or contains one.
pub(super) fn is_section(path: &str) -> bool {
    all().any(|key| is_within(&key.section, path))
}

/// Whether the path of the key is equal to `path` or below it.
pub(super) fn is_within(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Every variable with its key. Later ones win.
pub(super) fn variables() -> impl Iterator<Item = (String, &'static ConfigKey)> {
    let named = |(name, path): (&str, &str)| Some((name.to_owned(), find(path)?));
    let own = all().map(|key| (key.variable(), key));
    PLAIN.into_iter().filter_map(named).chain(own).chain(named(("RUST_LOG", "log.level")))
}

/// The keys of a file in TOML as it is usually written, each with the number of its line.
pub(super) fn scan(text: &str) -> Vec<(usize, ConfigKey)> {
    let mut section = "";
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let path = if let Some(list) = line.strip_prefix("[[") {
            list.trim_end_matches(']').to_owned()
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        } else {
            let name = line.split_once('=').map_or("#", |(name, _)| name.trim());
            format!("{section}.{name}")
        };
        if let Some((section, name)) = path.rsplit_once('.').filter(|_| !path.contains('#')) {
            let (section, name) = (section.to_owned(), name.to_owned());
            keys.push((number, ConfigKey { section, name, path }));
        }
    }
    keys
}
