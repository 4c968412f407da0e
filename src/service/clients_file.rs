//! The clients of the configuration and of the clients file, which is watched.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::reloaded::Reloaded;
use crate::app::{App, ClientRegistry, RegisteredClient, RequestLimiter, key_digest};
use crate::config::{self, AuthConfig, ClientEntry, Config};
use crate::domain::{Client, ClientName, ClientRights};
use crate::genesys::CallLimiter;
use crate::http::HealthCheck;
use crate::ports::BudgetAccount;
use crate::telemetry::ServiceMetrics;

/// The setting of the file, and the name of its check.
const SETTING: &str = "auth.clients_file";

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
    watched: Option<Arc<Reloaded<Vec<ClientEntry>>>>,
}

impl ClientSource {
    /// The configured clients. Reads the clients file.
    pub(crate) fn from_config(config: &Config) -> anyhow::Result<Self> {
        Self::read(&config.auth, config.genesys.api_base().may_be_simulated())
    }

    /// The same in front of a simulator.
    pub fn from_auth(auth: &AuthConfig) -> anyhow::Result<Self> {
        Self::read(auth, true)
    }

    fn read(auth: &AuthConfig, accepts_demo_key: bool) -> anyhow::Result<Self> {
        let Some(path) = auth.clients_file.clone() else {
            refuse_demo_key(accepts_demo_key, &auth.clients)
                .map_err(|reason| anyhow!("auth.clients: {reason}"))?;
            return Ok(Self { client_registry: registry(auth.clients.clone()), watched: None });
        };
        let (auth, files) = (auth.clone(), vec![path.clone()]);
        let load = move |old: Option<&Vec<ClientEntry>>| {
            let load = || {
                let entries = auth.all_clients_with(&config::read_clients(&path)?)?;
                let own = auth.clients.len();
                if entries.len() == own && old.is_some_and(|old| old.len() > own) {
                    // The file is more likely half-written than emptied on purpose.
                    let message = "names no client any more; to remove the last one, restart without \
                                   auth.clients_file";
                    return Err(message.to_owned());
                }
                refuse_demo_key(accepts_demo_key, &entries).map(|()| entries)
            };
            load().map_err(|reason| anyhow!("{} ({SETTING}): {reason}", path.display()))
        };
        let watched = Reloaded::new(files, load)?;
        let client_registry = registry(watched.get().to_vec());
        Ok(Self { client_registry, watched: Some(Arc::new(watched)) })
    }

    /// The health check of the file, if there is one.
    pub(super) fn check(&self) -> Option<HealthCheck> {
        let watched = self.watched.as_ref()?;
        let fault = watched.fault();
        let (ok, detail) = match fault {
            None => (true, format!("{} clients", watched.get().len())),
            Some(fault) => (false, format!("the previous clients stay in force: {fault}")),
        };
        Some(HealthCheck { name: SETTING, ok, detail })
    }

    /// Requests a reload of the file, if there is one.
    pub(super) fn requests(&self) -> Option<(&'static str, Arc<Notify>)> {
        self.watched.as_ref().map(|watched| (SETTING, watched.requests()))
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
        let (client_registry, metrics) = (self.client_registry.clone(), metrics.clone());
        let report = move |reload: Result<(&Vec<ClientEntry>, &Vec<ClientEntry>), &str>| {
            match reload {
                Ok((_, entries)) => {
                    tracing::info!(callers = entries.len(), "clients file reloaded");
                    client_registry.replace(registered_clients(entries.clone()));
                    weights.publish(&client_registry.clients());
                }
                Err(error) => tracing::error!(
                    error,
                    "the clients file is invalid; the previous clients stay in force"
                ),
            }
            metrics.clients_file_rejected(reload.is_err());
        };
        tokio::spawn(stop.run_until_cancelled_owned(watched.watch(report)));
    }
}

/// The resources that clients share.
#[derive(Clone)]
pub struct ClientWeightsPublisher {
    /// The use cases, with the limits of concurrent writes.
    pub app: App,
    limiter: CallLimiter,
    metrics: ServiceMetrics,
    /// The limit of concurrent requests.
    pub requests: Arc<RequestLimiter>,
}

impl ClientWeightsPublisher {
    /// A publisher to these parts, with `requests` concurrent requests at most.
    pub fn new(
        app: &App,
        limiter: &CallLimiter,
        requests: NonZeroUsize,
        metrics: &ServiceMetrics,
    ) -> Self {
        let (app, limiter, metrics) = (app.clone(), limiter.clone(), metrics.clone());
        Self { app, limiter, metrics, requests: Arc::new(RequestLimiter::new(requests.get())) }
    }

    /// Gives each of these clients its share, even if it has sent no request yet.
    pub fn publish(&self, clients: &[Arc<Client>]) {
        self.metrics.know_clients(clients);
        let accounts: Vec<_> =
            clients.iter().map(|client| BudgetAccount::from(&**client)).collect();
        self.limiter.set_known_clients(&accounts);
        self.app.set_known_clients(&accounts);
        self.requests.set_known_clients(&accounts);
    }
}

/// Refuses a client with [`DEMO_KEY`], unless upstream is a simulator.
fn refuse_demo_key(is_accepted: bool, entries: &[ClientEntry]) -> Result<(), String> {
    let digest = key_digest(DEMO_KEY.as_bytes());
    let has_it = |entry: &&ClientEntry| entry.keys.iter().any(|key| key.is(&digest));
    let Some(entry) = entries.iter().find(has_it).filter(|_| !is_accepted) else { return Ok(()) };
    let client = &entry.client.name;
    Err(format!(
        "client `{client}` has the public key `{DEMO_KEY}` of the examples, which is accepted only in \
         front of a simulator (genesys.api_url); create another key with `attribute-gateway new-key \
         {client}`"
    ))
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
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(&entry("ivr"));
        let auth = AuthConfig {
            mode: config::AuthMode::Clients,
            clients_file: Some(path.clone()),
            clients: vec![demo_client()],
        };
        let known = ClientSource::from_auth(&auth).expect("valid");
        let watched = known.watched.clone().expect("a file");
        let reload = |text: &str| {
            write(text);
            (watched.reload().is_ok(), watched.get().len())
        };
        for empty in ["", "# nothing yet\n"] {
            assert_eq!(reload(empty), (false, 2));
        }
        assert!(known.check().expect("a file").detail.contains("names no client any more"));
        assert_eq!(reload(&entry("ivr")), (true, 2), "even if it is the same");
        assert_eq!(reload(&[entry("ivr"), entry("bot")].concat()), (true, 3));
    }
}
