//! `[auth]`: the clients and their rights.

mod clients;
mod entry;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::{self, WordSetting};

pub use clients::{ClientsFileError, read_clients};
pub use entry::ClientEntry;

/// Which clients may send requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawAuth")]
pub struct AuthConfig {
    /// Whether clients must authenticate.
    pub mode: AuthMode,
    /// A file with more clients, which the service watches.
    pub clients_file: Option<PathBuf>,
    /// The clients of the configuration itself; their credentials are unique.
    pub clients: Vec<ClientEntry>,
}

/// Whether clients must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Only the configured clients. If there are none, any program on this machine.
    Clients,
    /// Any program may send requests.
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

/// The problems of the section, one per line, each after the name of its key.
#[derive(Debug)]
pub struct AuthProblems(Vec<String>);

impl fmt::Display for AuthProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl AuthConfig {
    /// Whether only configured clients may send requests.
    pub fn is_guarded(&self) -> bool {
        !self.clients.is_empty() || self.clients_file.is_some()
    }

    /// Refuses an address that other machines can reach, unless clients are configured or
    /// `auth.mode` is `none`.
    ///
    /// # Errors
    /// With what the operator can do.
    pub fn check_exposure(&self, bind: SocketAddr) -> Result<(), UnprotectedAddress> {
        let is_intended = self.mode == AuthMode::None || self.is_guarded();
        if is_intended || bind.ip().is_loopback() { Ok(()) } else { Err(UnprotectedAddress(bind)) }
    }
}

/// Any program that reaches this address could read and write attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnprotectedAddress(SocketAddr);

impl fmt::Display for UnprotectedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "server.bind is {}, which other machines may reach, and no client is configured: \
             any program that reaches it could read and write attributes. Add a client \
             (`attribute-gateway new-key NAME` prints a key and its entry for [[auth.clients]] or \
             the file in auth.clients_file), or bind to 127.0.0.1. If a proxy in front of the \
             gateway authenticates clients, set auth.mode = \"none\" (GATEWAY__AUTH__MODE=none)",
            self.0
        )
    }
}

impl std::error::Error for UnprotectedAddress {}
