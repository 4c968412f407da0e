//! All keys, in the order of `config/default.toml`.
//!
//! That file is the only list of keys. A key that it lacks is unknown in every source, and if a
//! section needs such a key, the first load fails.

use std::sync::LazyLock;

use serde::Deserialize as _;
use toml::Value;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

/// The defaults, and the reference of all keys.
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

/// Keys that identify a real organisation, so that `demo` ignores them.
const ACCOUNT: [&str; 7] = [
    "genesys.client_id",
    "genesys.client_secret",
    "genesys.environment",
    "genesys.api_url",
    "genesys.login_url",
    "genesys.ca_file",
    "genesys.proxy",
];

/// The variables that the vendor's tutorials and SDKs use.
pub(super) const PLAIN: [(&str, &str); 5] = [
    ("GENESYS_CLIENT_ID", "genesys.client_id"),
    ("GENESYS_CLIENT_ID_FILE", "genesys.client_id_file"),
    ("GENESYS_CLIENT_SECRET", "genesys.client_secret"),
    ("GENESYS_CLIENT_SECRET_FILE", "genesys.client_secret_file"),
    ("GENESYS_ENVIRONMENT", "genesys.environment"),
];

/// One key of the configuration.
pub(super) struct ConfigKey {
    pub path: String,
    pub default: Value,
}

impl ConfigKey {
    /// Section without brackets, such as `genesys.custom`, and name.
    pub fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('.').expect("a test loads the defaults, whose keys have sections")
    }

    pub fn variable(&self) -> String {
        format!("GATEWAY__{}", self.path.replace('.', "__").to_uppercase())
    }

    pub fn is_secret(&self) -> bool {
        SECRETS.contains(&self.path.as_str())
    }

    pub fn is_account(&self) -> bool {
        ACCOUNT.contains(&self.path.as_str())
    }

    /// Whether the value may come from a file, named by a variable with the suffix `_FILE`.
    pub fn is_from_file(&self) -> bool {
        let is_public = self.path.starts_with("simulator.");
        self.path == "genesys.client_id" || (self.is_secret() && !is_public)
    }
}

static KEYS: LazyLock<Vec<ConfigKey>> = LazyLock::new(|| {
    let found = leaves(DEFAULTS, |_| true).expect("a test loads the defaults");
    found.into_iter().map(|Leaf { path, value, .. }| ConfigKey { path, default: value }).collect()
});

pub(super) fn all() -> impl Iterator<Item = &'static ConfigKey> {
    KEYS.iter()
}

pub(super) fn find(path: &str) -> Option<&'static ConfigKey> {
    all().find(|key| key.path == path)
}

/// Whether the path is a section, or contains one.
pub(super) fn is_section(path: &str) -> bool {
    all().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// A value of a file, with its dotted path and its line.
pub(super) struct Leaf {
    pub path: String,
    pub line: usize,
    pub value: Value,
}

/// The number of the line at this byte.
pub(super) fn line(text: &str, start: usize) -> usize {
    text.get(..start).unwrap_or_default().matches('\n').count() + 1
}

/// The values of a TOML file by line. Tables are entered if they are sections.
pub(super) fn leaves(text: &str, is_section: impl Fn(&str) -> bool) -> Result<Vec<Leaf>, Error> {
    let mut open = vec![(String::new(), DeTable::parse(text)?.into_inner())];
    let mut found = Vec::new();
    while let Some((section, table)) = open.pop() {
        for (name, value) in table {
            let line = line(text, name.span().start);
            let name = name.into_inner();
            // A quoted "server.bind" is not the key `bind` in `[server]`.
            let name = if name.contains('.') { format!("\"{name}\"").into() } else { name };
            let path = if section.is_empty() { name.into() } else { format!("{section}.{name}") };
            if value.get_ref().is_table() && is_section(&path) {
                if let DeValue::Table(inner) = value.into_inner() {
                    open.push((path, inner));
                }
                continue;
            }
            let value = Value::deserialize(ValueDeserializer::from(value))?;
            found.push(Leaf { path, line, value });
        }
    }
    found.sort_by_key(|leaf| leaf.line);
    Ok(found)
}
