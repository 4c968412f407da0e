//! `[auth]`: who may call, and what each client may do.

mod clients;
mod entry;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::{self, WordSetting};

pub use clients::{ClientsFileError, read_clients};
pub use entry::ClientEntry;

/// Who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawAuth")]
pub struct AuthConfig {
    /// Whether clients have to be known.
    pub mode: AuthMode,
    /// A file with more clients, which is watched.
    pub clients_file: Option<PathBuf>,
    /// The clients of the configuration itself; no name, key or certificate stands twice.
    pub clients: Vec<ClientEntry>,
}

/// Whether clients have to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Known clients only. Where none is configured, those on this machine.
    Clients,
    /// Anybody.
    None,
}

impl WordSetting for AuthMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("clients", Self::Clients), ("none", Self::None)];
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuth {
    #[serde(deserialize_with = "values::choice")]
    mode: AuthMode,
    #[serde(deserialize_with = "values::optional")]
    clients_file: Option<PathBuf>,
    clients: ::config::Value,
}

impl TryFrom<RawAuth> for AuthConfig {
    type Error = AuthProblems;

    fn try_from(raw: RawAuth) -> Result<Self, AuthProblems> {
        let RawAuth { mode, clients_file, clients } = raw;
        let mut mistakes = Vec::new();
        let clients = clients::of_list(clients, &mut mistakes);
        let mut mistakes: Vec<_> =
            mistakes.into_iter().map(|mistake| format!("clients: {mistake}")).collect();
        let any = !clients.is_empty() || clients_file.is_some();
        if mode == AuthMode::None && any {
            mistakes.push("mode: is \"none\" although clients are configured".to_owned());
        }
        if mistakes.is_empty() {
            Ok(Self { mode, clients_file, clients })
        } else {
            Err(AuthProblems(mistakes))
        }
    }
}

/// What is wrong with the section, a line each that begins with the name of its key.
#[derive(Debug)]
pub struct AuthProblems(Vec<String>);

impl fmt::Display for AuthProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl AuthConfig {
    /// Whether clients are known, and nobody else may call.
    pub fn is_guarded(&self) -> bool {
        !self.clients.is_empty() || self.clients_file.is_some()
    }

    /// Refuses an address that other machines can reach where anybody may call and nobody has said so.
    ///
    /// # Errors
    /// With what can be done.
    pub fn check_exposure(&self, bind: SocketAddr) -> Result<(), UnprotectedAddress> {
        let meant = self.mode == AuthMode::None || self.is_guarded();
        if meant || bind.ip().is_loopback() { Ok(()) } else { Err(UnprotectedAddress(bind)) }
    }
}

/// Anybody who reaches this address could read and write attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnprotectedAddress(SocketAddr);

impl fmt::Display for UnprotectedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "server.bind is {}, which other machines may reach, and no caller is configured: \
             whoever gets there could read and write attributes. Either add a caller \
             (`attribute-gateway new-key NAME` prints a key and its entry for [[auth.clients]] or \
             the file in auth.clients_file), or bind to 127.0.0.1, or, where something in front \
             authenticates callers, write auth.mode = \"none\" (GATEWAY__AUTH__MODE=none)",
            self.0
        )
    }
}

impl std::error::Error for UnprotectedAddress {}
