//! `new-key`: a fresh key for a client, shown once, and the entry by which the gateway knows it.

use std::io::Write as _;

use anyhow::Context as _;

use crate::service::{self, FreshKey};

/// Prints a fresh key for this client, and its entry.
pub fn new_key(name: &str) -> anyhow::Result<()> {
    let (describe, mut output) = (describe(&service::fresh_key(name)?), std::io::stdout());
    // Shown once: whoever did not get it has to be told.
    let shown = output.write_all(describe.as_bytes()).and_then(|()| output.flush());
    shown.context("the key could not be printed in full, and is of no use; make another")
}

fn describe(FreshKey { name, key, digest }: &FreshKey) -> String {
    format!(
        "Key of `{name}`, shown this once; give it to the caller, and keep it nowhere else:\n\n  \
         {key}\n\n\
         It is sent as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or by HTTP Basic with \
         `{name}`\nas the user. The entry for the configuration, or for the file in \
         auth.clients_file:\n\n\
         [[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n\
         access = \"write\"                 # or \"read\"\n\
         #allow = [\"crm_*\"]               # keys it may read and write; default all\n\
         #deny = [\"crm_secret_*\"]         # keys it may not, although they are allowed\n\
         #hide = [\"national_id\"]          # keys that are not shown to it\n\
         #participants = [\"customer\"]     # selectors it may use; default all\n\
         #requests_per_minute = 600       # its own rate; default no limit of its own\n\
         #share = 2                       # its weight in the upstream budget; default 1\n"
    )
}
