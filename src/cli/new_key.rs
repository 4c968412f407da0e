//! `new-key`: a new key for a client, and its entry for the configuration.

use std::io::Write as _;

use anyhow::Context as _;

use crate::service::{self, FreshKey};

/// Prints a new key for this client, and its entry.
pub fn new_key(name: &str) -> anyhow::Result<()> {
    let (text, mut output) = (describe(&service::fresh_key(name)?), std::io::stdout());
    // The key is not stored, so a failure to print it must be visible.
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    printed.context("the key could not be printed in full; it is of no use; make another")
}

fn describe(FreshKey { name, key, digest }: &FreshKey) -> String {
    format!(
        "Key of `{name}`. It is shown only now; give it to the client and store it nowhere else:\n\n  \
         {key}\n\n\
         The client sends it as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or by HTTP \
         Basic with\n`{name}` as the user. Put this entry into the configuration, or into the file \
         in\nauth.clients_file:\n\n\
         [[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n\
         # access = \"read\", allow = [\"crm_*\"] and more: see docs/clients-and-rights.md\n"
    )
}
