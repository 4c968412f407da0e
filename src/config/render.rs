//! Renders the effective configuration as TOML, with the origin of each value and without secrets.

use std::fmt::Write as _;

use toml::Value;

use super::Config;
use super::keys::{self, ConfigKey};
use super::sources::Settings;

/// The text that is shown instead of a secret.
pub(super) const MASK: &str = "********";

/// All keys, with a header before each section.
pub(super) fn render(settings: &Settings, config: &Config) -> String {
    let defaults = Settings::new();
    let mut text = String::new();
    let mut section = "";
    for key in keys::all() {
        if key.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = &key.section;
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let setting = settings.get(key);
        let is_unset = setting.value.as_str().is_some_and(str::is_empty);
        // A default is public, and a masked one could not be loaded again.
        let is_hidden = key.is_secret() && setting.value != defaults.get(key).value;
        let value = if is_hidden { MASK.into() } else { without_keys(setting.value.clone()) };
        let unset = if is_unset { ", not set" } else { "" };
        let origin = host_of_region(key, config)
            .filter(|_| is_unset)
            .unwrap_or_else(|| format!("{}{unset}", setting.origin));
        let _ = writeln!(text, "{} = {value}  # from {origin}", key.name);
    }
    text
}

/// The URL that follows from the region. It is a comment: as a value in a file, it would survive a
/// change of the region.
fn host_of_region(key: &ConfigKey, config: &Config) -> Option<String> {
    let url = match key.path.as_str() {
        "genesys.api_url" => config.genesys.api_base(),
        "genesys.login_url" => config.genesys.login_base(),
        _ => return None,
    };
    Some(format!("genesys.environment: {url}"))
}

/// The value with the digests of client keys masked.
fn without_keys(mut value: Value) -> Value {
    for client in value.as_array_mut().into_iter().flatten() {
        if let Some(digest) = client.get_mut("key_sha256") {
            *digest = MASK.into();
        }
    }
    value
}
