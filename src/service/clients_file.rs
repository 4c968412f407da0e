//! The clients of the configuration and of the clients file, which is watched.
//!
//! The service reads the whole file every second: it is small, and neither its time nor its length
//! shows reliably that it has not changed. A change takes effect when two polls find the same content,
//! because a half-written file can be valid and a file can be missing for a moment.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::client_weights::ClientWeightsPublisher;
use crate::app::{ClientRegistry, RegisteredClient, key_digest};
use crate::config::{self, AuthConfig, ClientEntry, ClientsFileError, Config};
use crate::domain::{Client, ClientName, ClientRights};
use crate::http::HealthCheck;
use crate::telemetry::ServiceMetrics;

/// Time between two polls of the file.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

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
///
/// # Errors
/// If the name is invalid, or the system provides no random numbers.
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
        rights: ClientRights { operate: true, ..ClientRights::default() },
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
    state: Mutex<ClientSourceState>,
    /// Notified when the file should be read at once.
    reload: Notify,
}

struct ClientSourceState {
    /// The content at the last poll.
    seen: Result<String, ClientsFileError>,
    /// Whether that content was applied, or was rejected and logged.
    is_handled: bool,
    /// Number of clients in force.
    clients: usize,
    /// Why the file as it is now was rejected.
    error: Option<String>,
}

/// The result of a poll of the file.
struct ReloadOutcome {
    /// Whether the clients in force are those of the file.
    is_valid: bool,
    /// Whether the registry was updated.
    is_replaced: bool,
}

impl ClientSource {
    /// The configured clients. Reads the clients file.
    ///
    /// # Errors
    /// If the file is invalid, or if a client has [`DEMO_KEY`] and upstream is not a simulator.
    pub fn from_config(config: &Config) -> Result<Self, ClientsFileError> {
        Self::read(&config.auth, config.genesys.api_base().may_be_simulated())
    }

    /// The same in front of a simulator.
    ///
    /// # Errors
    /// If the file is invalid.
    pub fn from_auth(auth: &AuthConfig) -> Result<Self, ClientsFileError> {
        Self::read(auth, true)
    }

    fn read(auth: &AuthConfig, accepts_demo_key: bool) -> Result<Self, ClientsFileError> {
        let Some(path) = auth.clients_file.clone() else {
            refuse_demo_key(accepts_demo_key, None, &auth.clients)?;
            return Ok(Self { client_registry: registry(auth.clients.clone()), watched: None });
        };
        let text = config::read_clients(&path)?;
        let entries = auth.all_clients_with(&path, &text)?;
        refuse_demo_key(accepts_demo_key, Some(&path), &entries)?;
        let state = ClientSourceState {
            seen: Ok(text),
            is_handled: true,
            clients: entries.len(),
            error: None,
        };
        let (auth, state, reload) = (auth.clone(), Mutex::new(state), Notify::new());
        let watched = WatchedClients { auth, accepts_demo_key, path, state, reload };
        Ok(Self { client_registry: registry(entries), watched: Some(Arc::new(watched)) })
    }

    /// No authentication: any program may send requests.
    pub fn unauthenticated() -> Self {
        Self { client_registry: ClientRegistry::unauthenticated(), watched: None }
    }

    /// The health check of the file, if there is one.
    pub fn check(&self) -> Option<HealthCheck> {
        let state = self.watched.as_ref()?.state.lock();
        let detail = match &state.error {
            None => format!("{} clients", state.clients),
            Some(error) => format!("the previous clients stay in force: {error}"),
        };
        Some(HealthCheck { name: CHECK, ok: state.error.is_none(), detail })
    }

    /// Reloads the file at once, changed or not. False if there is none.
    pub fn reload(&self) -> bool {
        self.watched.iter().for_each(|watched| watched.reload.notify_one());
        self.watched.is_some()
    }

    /// Publishes the clients to `weights`, and watches the file until `stop`.
    pub fn watch(
        &self,
        metrics: &ServiceMetrics,
        stop: CancellationToken,
        weights: ClientWeightsPublisher,
    ) {
        weights.publish(&self.client_registry.clients());
        let Some(watched) = self.watched.clone() else { return };
        let (client_registry, metrics) = (self.client_registry.clone(), metrics.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let is_forced = tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => false,
                    () = watched.reload.notified() => true,
                };
                let path = watched.path.clone();
                // The disk may be slow.
                let read = tokio::task::spawn_blocking(move || config::read_clients(&path));
                if let Ok(seen) = read.await {
                    let ReloadOutcome { is_valid, is_replaced } =
                        watched.reload(seen, &client_registry, is_forced);
                    if is_replaced {
                        weights.publish(&client_registry.clients());
                    }
                    metrics.clients_file_rejected(!is_valid);
                }
            }
        }));
    }
}

impl WatchedClients {
    /// Handles a poll of the file. Changed content is applied once two polls in a row find it, because
    /// a program may still be writing the file. With `is_forced`, it is applied at once.
    fn reload(
        &self,
        seen: Result<String, ClientsFileError>,
        client_registry: &ClientRegistry,
        is_forced: bool,
    ) -> ReloadOutcome {
        let mut state = self.state.lock();
        if is_forced {
            (state.seen, state.is_handled) = (seen, true);
            return self.apply(&mut state, client_registry);
        }
        if seen != state.seen {
            (state.seen, state.is_handled) = (seen, false);
        } else if !std::mem::replace(&mut state.is_handled, true) {
            return self.apply(&mut state, client_registry);
        }
        ReloadOutcome { is_valid: state.error.is_none(), is_replaced: false }
    }

    fn apply(
        &self,
        state: &mut ClientSourceState,
        client_registry: &ClientRegistry,
    ) -> ReloadOutcome {
        match self.validate(state) {
            Ok(entries) => {
                tracing::info!(callers = entries.len(), "clients file reloaded");
                (state.clients, state.error) = (entries.len(), None);
                client_registry.replace(registered_clients(entries));
                ReloadOutcome { is_valid: true, is_replaced: true }
            }
            Err(error) => {
                tracing::error!(%error, "the clients file is invalid; the previous clients stay in force");
                state.error = Some(error.to_string());
                ReloadOutcome { is_valid: false, is_replaced: false }
            }
        }
    }

    /// All clients with those of the file as last read, if they may replace the current ones.
    fn validate(&self, state: &ClientSourceState) -> Result<Vec<ClientEntry>, ClientsFileError> {
        let entries =
            self.auth.all_clients_with(&self.path, state.seen.as_ref().map_err(Clone::clone)?)?;
        let own = self.auth.clients.len();
        if entries.len() == own && state.clients > own {
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
            let poll = || watched.reload(Ok(text.to_owned()), &known.client_registry, false);
            let first = poll();
            assert!(!first.is_replaced);
            let ReloadOutcome { is_valid, is_replaced } = poll();
            (is_valid, is_replaced, known.client_registry.clients().len())
        };
        for empty in ["", "# nothing yet\n"] {
            assert_eq!(reload(empty), (false, false, 2));
        }
        assert!(known.check().expect("a file").detail.contains("names no client any more"));
        assert_eq!(reload(&entry("ivr")), (true, true, 2), "even if it is the same");
        assert_eq!(reload(&[entry("ivr"), entry("bot")].concat()), (true, true, 3));
    }
}
