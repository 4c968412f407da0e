//! Renders the effective configuration as TOML, with the origin of each value and without secrets.

use std::fmt::Write as _;

use toml::Value;

use super::Config;
use super::keys;
use super::sources::Settings;

/// The text that is shown instead of a secret.
pub(super) const MASK: &str = "********";

/// All keys, with a header before each section.
pub(super) fn render(settings: &Settings, config: &Config) -> String {
    let (mut text, mut current) = (String::new(), "");
    for key in keys::all() {
        let (section, name) = key.split();
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            current = section;
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let (value, origin) = (settings.value(key), settings.origin(&key.path));
        // A default is public, and a masked one could not be loaded again.
        let is_hidden = key.is_secret() && *value != key.default;
        let shown = if is_hidden { MASK.into() } else { without_keys(value.clone()) };
        let _ = write!(text, "{name} = {shown}  # from ");
        // As values in a file, the URLs of a region would survive a change of the region.
        let _ = match (value.as_str(), key.path.as_str()) {
            (Some(""), "genesys.api_url") => {
                writeln!(text, "genesys.environment: {}", config.genesys.api_base())
            }
            (Some(""), "genesys.login_url") => {
                writeln!(text, "genesys.environment: {}", config.genesys.login_base())
            }
            (Some(""), _) => writeln!(text, "{origin}, not set"),
            _ => writeln!(text, "{origin}"),
        };
    }
    text
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
