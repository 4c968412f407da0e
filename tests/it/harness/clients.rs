//! Clients of a service that knows its clients.

use std::path::Path;

use attribute_gateway::app::key_digest;

/// A table of a client with this key; `rights` is more of it.
pub fn client(name: &str, key: &str, rights: &str) -> String {
    let digest = key_digest(key.as_bytes()).to_hex();
    format!("[[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n{rights}\n")
}

/// Replaces a file in one step, so that no reader sees half of it.
pub fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, text).expect("written");
    std::fs::rename(&fresh, file).expect("renamed");
}

/// The header that shows a key.
pub fn shown(key: &str) -> (&'static str, &str) {
    ("x-api-key", key)
}
