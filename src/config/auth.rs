//! `[auth]`: the clients and their rights.

mod clients;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::CheckedSection;

pub use clients::{ClientEntry, read_clients};

/// Which clients may send requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    pub mode: AuthMode,
    pub clients_file: Option<PathBuf>,
    pub clients: Vec<ClientEntry>,
}

/// Whether clients must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Clients,
    None,
}

impl CheckedSection for AuthConfig {
    fn check(&self) -> Result<(), String> {
        if self.mode == AuthMode::None && self.is_guarded() {
            return Err("mode: is \"none\" although clients are configured".to_owned());
        }
        clients::check_unique(&self.clients).map_err(|message| format!("clients: {message}"))
    }
}

impl AuthConfig {
    /// Whether only configured clients may send requests.
    pub fn is_guarded(&self) -> bool {
        !self.clients.is_empty() || self.clients_file.is_some()
    }

    /// Refuses an address that other machines can reach, unless clients are configured or
    /// `auth.mode` is `none`.
    pub fn check_exposure(&self, bind: SocketAddr) -> Result<(), UnprotectedAddress> {
        let is_intended = self.mode == AuthMode::None || self.is_guarded();
        if is_intended || bind.ip().is_loopback() { Ok(()) } else { Err(UnprotectedAddress(bind)) }
    }
}

/// Any program that reaches this address could read and write attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "server.bind is {0}, which other machines may reach, and no client is configured: any program \
     that reaches it could read and write attributes. Add a client (`attribute-gateway new-key NAME` \
     prints a key and its entry for [[auth.clients]] or the file in auth.clients_file), or bind to \
     127.0.0.1. If a proxy in front of the gateway authenticates clients, set auth.mode = \"none\" \
     (GATEWAY__AUTH__MODE=none)"
)]
pub struct UnprotectedAddress(SocketAddr);
