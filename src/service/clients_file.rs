//! The clients of the configuration and of the clients file, which is watched.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::client_weights::ClientWeightsPublisher;
use super::file_watcher::FileWatcher;
use crate::app::{ClientRegistry, RegisteredClient, key_digest};
use crate::config::{self, AuthConfig, ClientEntry, ClientsFileError, Config};
use crate::domain::{Client, ClientName, ClientRights};
use crate::http::HealthCheck;
use crate::telemetry::ServiceMetrics;

/// Name of the check in `/readyz?verbose`.
const CHECK: &str = "auth.clients_file";

/// Marks a key as one of this gateway, for people and for scanners that search for leaked secrets.
const PREFIX: &str = "agk_";

/// Too many to guess, because other users may be able to read the digests in the entries.
const RANDOM_BYTES: usize = 32;

/// The key in the examples that `demo` prints. It is accepted only in front of a simulator.
pub const DEMO_KEY: &str = "demo-key";

/// A new key for a client. It has no `Debug`, because the key is shown only once.
pub struct FreshKey {
    /// The client.
    pub name: ClientName,
    /// The key.
    pub key: String,
    /// The SHA-256 of the key, for the configuration.
    pub digest: String,
}

/// Creates a key for the client of this name.
pub fn fresh_key(name: &str) -> anyhow::Result<FreshKey> {
    let name = name.parse().with_context(|| format!("`{}`", name.escape_debug()))?;
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).ok().context("the system provides no random numbers")?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = key_digest(key.as_bytes()).to_hex();
    Ok(FreshKey { name, key, digest })
}

/// The client in the examples that `demo` prints, with all rights.
///
/// # Panics
/// Never: its name is valid.
pub fn demo_client() -> ClientEntry {
    let client = Client {
        name: "demo".parse().expect("a valid name"),
        rights: ClientRights::default(),
        share: NonZeroU32::MIN,
        requests_per_minute: None,
    };
    ClientEntry { client, keys: vec![key_digest(DEMO_KEY.as_bytes())], certificate: None }
}

/// The registry of clients, and the clients file that updates it.
#[derive(Clone)]
pub struct ClientSource {
    /// The registry of clients.
    pub client_registry: ClientRegistry,
    watched: Option<Arc<WatchedClients>>,
}

struct WatchedClients {
    auth: AuthConfig,
    /// Whether a client may have [`DEMO_KEY`].
    accepts_demo_key: bool,
    path: PathBuf,
    /// Taken when the watch begins.
    watcher: Mutex<Option<FileWatcher>>,
    reload_requests: Arc<Notify>,
    state: Mutex<ClientSourceState>,
}

struct ClientSourceState {
    /// Number of clients in force.
    clients: usize,
    /// Why the file as it is now was rejected.
    error: Option<ClientsFileError>,
}

impl ClientSource {
    /// The configured clients. Reads the clients file.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ClientsFileError> {
        Self::read(&config.auth, config.genesys.api_base().may_be_simulated())
    }

    /// The same in front of a simulator.
    pub fn from_auth(auth: &AuthConfig) -> Result<Self, ClientsFileError> {
        Self::read(auth, true)
    }

    fn read(auth: &AuthConfig, accepts_demo_key: bool) -> Result<Self, ClientsFileError> {
        let Some(path) = auth.clients_file.clone() else {
            refuse_demo_key(accepts_demo_key, None, &auth.clients)?;
            return Ok(Self { client_registry: registry(auth.clients.clone()), watched: None });
        };
        let watcher = FileWatcher::new(vec![path.clone()]);
        let watched = WatchedClients {
            auth: auth.clone(),
            accepts_demo_key,
            reload_requests: watcher.requests(),
            watcher: Mutex::new(Some(watcher)),
            state: Mutex::new(ClientSourceState { clients: 0, error: None }),
            path,
        };
        let entries = watched.validate(&config::read_clients(&watched.path)?)?;
        watched.state.lock().clients = entries.len();
        Ok(Self { client_registry: registry(entries), watched: Some(Arc::new(watched)) })
    }

    /// The health check of the file, if there is one.
    pub(super) fn check(&self) -> Option<HealthCheck> {
        let state = self.watched.as_ref()?.state.lock();
        let detail = match &state.error {
            None => format!("{} clients", state.clients),
            Some(error) => format!("the previous clients stay in force: {error}"),
        };
        Some(HealthCheck { name: CHECK, ok: state.error.is_none(), detail })
    }

    /// Reloads the file at once, changed or not. False if there is none.
    pub(super) fn reload(&self) -> bool {
        self.watched.iter().for_each(|watched| watched.reload_requests.notify_one());
        self.watched.is_some()
    }

    /// Publishes the clients to `weights`, and watches the file until `stop`.
    pub(super) fn watch(
        &self,
        metrics: &ServiceMetrics,
        stop: CancellationToken,
        weights: ClientWeightsPublisher,
    ) {
        weights.publish(&self.client_registry.clients());
        let Some(watched) = self.watched.clone() else { return };
        let Some(mut watcher) = watched.watcher.lock().take() else { return };
        let (client_registry, metrics) = (self.client_registry.clone(), metrics.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                watcher.changed().await;
                let path = watched.path.clone();
                let read = tokio::task::spawn_blocking(move || config::read_clients(&path)).await;
                let Ok(read) = read else { continue };
                let is_valid = watched.apply(read, &client_registry);
                if is_valid {
                    weights.publish(&client_registry.clients());
                }
                metrics.clients_file_rejected(!is_valid);
            }
        }));
    }
}

impl WatchedClients {
    /// Puts the clients of the file in force. False if it is invalid.
    fn apply(
        &self,
        read: Result<String, ClientsFileError>,
        client_registry: &ClientRegistry,
    ) -> bool {
        match read.and_then(|text| self.validate(&text)) {
            Ok(entries) => {
                tracing::info!(callers = entries.len(), "clients file reloaded");
                *self.state.lock() = ClientSourceState { clients: entries.len(), error: None };
                client_registry.replace(registered_clients(entries));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the clients file is invalid; the previous clients stay in force");
                self.state.lock().error = Some(error);
                false
            }
        }
    }

    /// All clients with those of the file, if they may replace the current ones.
    fn validate(&self, text: &str) -> Result<Vec<ClientEntry>, ClientsFileError> {
        let entries = self.auth.all_clients_with(&self.path, text)?;
        let own = self.auth.clients.len();
        if entries.len() == own && self.state.lock().clients > own {
            // The file is more likely half-written than emptied on purpose.
            return Err(ClientsFileError::emptied(&self.path));
        }
        refuse_demo_key(self.accepts_demo_key, Some(&self.path), &entries)?;
        Ok(entries)
    }
}

/// Refuses a client with [`DEMO_KEY`], unless upstream is a simulator.
fn refuse_demo_key(
    is_accepted: bool,
    path: Option<&Path>,
    entries: &[ClientEntry],
) -> Result<(), ClientsFileError> {
    let digest = key_digest(DEMO_KEY.as_bytes());
    let has_it = |entry: &&ClientEntry| entry.keys.iter().any(|key| key.is(&digest));
    match entries.iter().find(has_it).filter(|_| !is_accepted) {
        Some(entry) => Err(ClientsFileError::public_key(path, &entry.client.name, DEMO_KEY)),
        None => Ok(()),
    }
}

fn registry(entries: Vec<ClientEntry>) -> ClientRegistry {
    if entries.is_empty() {
        ClientRegistry::unauthenticated()
    } else {
        ClientRegistry::new(registered_clients(entries))
    }
}

fn registered_clients(entries: Vec<ClientEntry>) -> Vec<RegisteredClient> {
    let one = |ClientEntry { client, keys, certificate }: ClientEntry| RegisteredClient {
        client: Arc::new(client),
        keys,
        certificate,
    };
    entries.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_have_a_prefix() {
        let key = || fresh_key("crm").expect("a key");
        let (one, other) = (key(), key());
        assert_ne!(one.key, other.key);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let FreshKey { key, digest, .. } = one;
        assert!(key.starts_with(PREFIX) && key.len() == 47 && key.chars().all(plain), "{key}");
        assert_eq!(digest, key_digest(key.as_bytes()).to_hex());
        assert!(fresh_key("a b").is_err() && fresh_key("").is_err());
    }

    #[test]
    fn an_emptied_clients_file_is_invalid() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.toml");
        let entry = |name: &str| {
            let digest = key_digest(name.as_bytes()).to_hex();
            format!("[[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n")
        };
        std::fs::write(&path, entry("ivr")).expect("written");
        let auth = AuthConfig {
            mode: config::AuthMode::Clients,
            clients_file: Some(path),
            clients: vec![demo_client()],
        };
        let known = ClientSource::from_auth(&auth).expect("valid");
        let watched = known.watched.clone().expect("a file");
        let reload = |text: &str| {
            let is_valid = watched.apply(Ok(text.to_owned()), &known.client_registry);
            (is_valid, known.client_registry.clients().len())
        };
        for empty in ["", "# nothing yet\n"] {
            assert_eq!(reload(empty), (false, 2));
        }
        assert!(known.check().expect("a file").detail.contains("names no client any more"));
        assert_eq!(reload(&entry("ivr")), (true, 2), "even if it is the same");
        assert_eq!(reload(&[entry("ivr"), entry("bot")].concat()), (true, 3));
    }
}
