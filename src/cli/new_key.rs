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
         access = \"write\"                 # or \"read\"\n\
         #allow = [\"crm_*\"]               # keys it may read and write; default all\n\
         #deny = [\"crm_secret_*\"]         # keys it may not, although they are allowed\n\
         #hide = [\"national_id\"]          # keys that it does not see\n\
         #participants = [\"customer\"]     # selectors it may use; default all\n\
         #requests_per_minute = 600       # its own rate; default no limit\n\
         #share = 2                       # its weight in the call budget; default 1\n"
    )
}
