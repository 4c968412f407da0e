//! What operators write: the file of `--config`, and the environment.
//!
//! An input is a file in TOML; after a line `----`, variables as `NAME=value`, one a line.

use std::collections::BTreeMap;
use std::io::Write as _;

use attribute_gateway::config::{self, ConfigSource};

/// Stands for a secret, wherever an input has it.
const SECRET: &str = "hunter2";

/// Loads a configuration; what comes of it is shown without its secrets.
pub fn run(input: &[u8]) {
    let at = input.windows(6).position(|window| window == b"\n----\n");
    let (file, variables) = match at {
        Some(at) => (&input[..at], &input[at + 6..]),
        None => (input, &b""[..]),
    };
    let variables = String::from_utf8_lossy(variables);
    // Variables that name a file are left out: an input must not have files of this machine read.
    let env: BTreeMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.ends_with("_FILE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut toml = tempfile::NamedTempFile::new().expect("a file");
    toml.write_all(file).expect("written");
    let source = ConfigSource { file: Some(toml.path().to_owned()), env };
    let discreet = keeps_secrets_in_place(file, &source.env);
    match config::load(&source) {
        Ok(loaded) => {
            let (shown, debug) = (loaded.render().to_owned(), format!("{loaded:?}"));
            let secret = loaded.config.genesys.client_secret.is_some();
            assert!(!secret || shown.contains("client_secret = \"********\""), "{shown}");
            assert!(!discreet || !(shown + &debug).contains(SECRET), "a secret is shown");
        }
        Err(error) => {
            let message = format!("{error:?}{error}");
            assert!(!error.problems().is_empty(), "an error that says nothing");
            assert!(!discreet || !message.contains(SECRET), "{message}");
        }
    }
}

/// Whether the secret stands in the places for secrets alone, so that nothing may show it.
fn keeps_secrets_in_place(file: &[u8], env: &BTreeMap<String, String>) -> bool {
    let text = String::from_utf8_lossy(file);
    let of_secret = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("client_secret = ") || line.starts_with("key_sha256 = ")
    };
    text.matches(SECRET).count() == text.lines().filter(of_secret).count()
        && !env.iter().any(|(name, value)| {
            // The error names it, in small letters.
            name.to_lowercase().contains(SECRET) || value.contains(SECRET)
        })
}
