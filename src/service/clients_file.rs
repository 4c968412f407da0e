//! Who may call, from the configuration; and the watch over the file that names more of them.
//!
//! The file is looked at every second and read whole: it is small, and neither its time nor its length
//! tells for certain that it is as it was. A change is taken at the second look that finds the same:
//! the file may be gone for a moment, and half of it may be as sound as the whole.

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

/// How often the file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Name of the check in `/readyz?verbose`.
const CHECK: &str = "auth.clients_file";

/// Marks a key as one of this gateway's, for people and for programs that look for leaked secrets.
const PREFIX: &str = "agk_";

/// Nobody finds one by trying: the entry may lie in a file that others can read.
const RANDOM_BYTES: usize = 32;

/// The key by which the lines that `demo` prints work: of no use where there is something to protect.
pub const DEMO_KEY: &str = "demo-key";

/// A fresh key for a client. No `Debug`: the key is told once.
pub struct FreshKey {
    /// The client.
    pub name: ClientName,
    /// The key.
    pub key: String,
    /// What the configuration holds of it.
    pub digest: String,
}

/// Makes a key for the client of this name.
///
/// # Errors
/// If it is no name, or the system has no random numbers to give.
pub fn fresh_key(name: &str) -> anyhow::Result<FreshKey> {
    let name = name.parse().with_context(|| format!("`{}`", name.escape_debug()))?;
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no random numbers")?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = key_digest(key.as_bytes()).to_hex();
    Ok(FreshKey { name, key, digest })
}

/// The client of the lines that `demo` prints, with all rights.
///
/// # Panics
/// Never: its name is one.
pub fn demo_client() -> ClientEntry {
    let client = Client {
        name: "demo".parse().expect("it is a name"),
        rights: ClientRights::default(),
        share: NonZeroU32::MIN,
        requests_per_minute: None,
    };
    ClientEntry { client, keys: vec![key_digest(DEMO_KEY.as_bytes())], certificate: None }
}

/// Who may call, and the file that more of them stand in.
#[derive(Clone)]
pub struct ClientSource {
    /// Who may call.
    pub client_registry: ClientRegistry,
    watched: Option<Arc<WatchedClients>>,
}

struct WatchedClients {
    auth: AuthConfig,
    /// Whether the key that everybody knows may be that of a client.
    takes_demo_key: bool,
    path: PathBuf,
    state: Mutex<ClientSourceState>,
    /// Told when the file is to be read at once.
    reload: Notify,
}

struct ClientSourceState {
    /// What was found at the last look.
    seen: Result<String, ClientsFileError>,
    /// Whether that is what counts, or was found not to be usable; told in the log then.
    judged: bool,
    /// How many clients there are.
    client_registry: usize,
    /// Why the file counts for nothing as it is.
    trouble: Option<String>,
}

/// What came of a look at the file.
struct ReloadOutcome {
    /// Whether what counts is what the file says.
    usable: bool,
    /// Whether there are other clients now.
    replaced: bool,
}

impl ClientSource {
    /// The clients that are configured; the file is read now.
    ///
    /// # Errors
    /// If the file cannot be used: a service does not start with fewer clients than it should know.
    /// And if one of them has a key that everybody knows, unless there is only a simulator to protect.
    pub fn from_config(config: &Config) -> Result<Self, ClientsFileError> {
        Self::read(&config.auth, config.genesys.api_base().may_be_simulated())
    }

    /// The same where what is protected is known to be simulated.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn from_auth(auth: &AuthConfig) -> Result<Self, ClientsFileError> {
        Self::read(auth, true)
    }

    fn read(auth: &AuthConfig, takes_demo_key: bool) -> Result<Self, ClientsFileError> {
        let Some(path) = auth.clients_file.clone() else {
            refuse_demo_key(takes_demo_key, None, &auth.clients)?;
            return Ok(Self { client_registry: registry(auth.clients.clone()), watched: None });
        };
        let text = config::read_clients(&path)?;
        let entries = auth.callers_with(&path, &text)?;
        refuse_demo_key(takes_demo_key, Some(&path), &entries)?;
        let state = ClientSourceState {
            seen: Ok(text),
            judged: true,
            client_registry: entries.len(),
            trouble: None,
        };
        let (auth, state, reload) = (auth.clone(), Mutex::new(state), Notify::new());
        let watched = WatchedClients { auth, takes_demo_key, path, state, reload };
        Ok(Self { client_registry: registry(entries), watched: Some(Arc::new(watched)) })
    }

    /// Anybody may call.
    pub fn unauthenticated() -> Self {
        Self { client_registry: ClientRegistry::unauthenticated(), watched: None }
    }

    /// What there is to tell of the file, if there is one.
    pub fn check(&self) -> Option<HealthCheck> {
        let state = self.watched.as_ref()?.state.lock();
        let detail = match &state.trouble {
            None => format!("{} callers", state.client_registry),
            Some(trouble) => format!("the callers from before count: {trouble}"),
        };
        Some(HealthCheck { name: CHECK, ok: state.trouble.is_none(), detail })
    }

    /// Has the file read at once, also if it has not changed. False if there is none.
    pub fn reload(&self) -> bool {
        self.watched.iter().for_each(|watched| watched.reload.notify_one());
        self.watched.is_some()
    }

    /// Tells `shares` who they are, and watches the file until `stop`.
    pub fn watch(
        &self,
        metrics: &ServiceMetrics,
        stop: CancellationToken,
        shares: ClientWeightsPublisher,
    ) {
        shares.publish(&self.client_registry.clients());
        let Some(watched) = self.watched.clone() else { return };
        let (client_registry, metrics) = (self.client_registry.clone(), metrics.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let asked = tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => false,
                    () = watched.reload.notified() => true,
                };
                let path = watched.path.clone();
                // A file may lie on a disk that takes its time.
                let read = tokio::task::spawn_blocking(move || config::read_clients(&path));
                if let Ok(seen) = read.await {
                    let ReloadOutcome { usable, replaced } =
                        watched.reload(seen, &client_registry, asked);
                    if replaced {
                        shares.publish(&client_registry.clients());
                    }
                    metrics.clients_file_rejected(!usable);
                }
            }
        }));
    }
}

impl WatchedClients {
    /// Takes note of another look at the file, and has the clients replaced if it is not as it was, and
    /// was the same at the look before: until then somebody may still be writing it. If an operator
    /// asked for it, the file counts as it is now.
    fn reload(
        &self,
        seen: Result<String, ClientsFileError>,
        client_registry: &ClientRegistry,
        asked: bool,
    ) -> ReloadOutcome {
        let mut state = self.state.lock();
        if asked {
            (state.seen, state.judged) = (seen, true);
            return self.take(&mut state, client_registry);
        }
        if seen != state.seen {
            (state.seen, state.judged) = (seen, false);
        } else if !std::mem::replace(&mut state.judged, true) {
            return self.take(&mut state, client_registry);
        }
        ReloadOutcome { usable: state.trouble.is_none(), replaced: false }
    }

    fn take(
        &self,
        state: &mut ClientSourceState,
        client_registry: &ClientRegistry,
    ) -> ReloadOutcome {
        match self.judged(state) {
            Ok(entries) => {
                tracing::info!(callers = entries.len(), "the callers were read anew");
                (state.client_registry, state.trouble) = (entries.len(), None);
                client_registry.replace(registered_clients(entries));
                ReloadOutcome { usable: true, replaced: true }
            }
            Err(error) => {
                tracing::error!(%error, "the callers from before still count");
                state.trouble = Some(error.to_string());
                ReloadOutcome { usable: false, replaced: false }
            }
        }
    }

    /// The clients of the file as it was seen, if they can be taken for those of before.
    fn judged(&self, state: &ClientSourceState) -> Result<Vec<ClientEntry>, ClientsFileError> {
        let entries =
            self.auth.callers_with(&self.path, state.seen.as_ref().map_err(Clone::clone)?)?;
        let own = self.auth.clients.len();
        if entries.len() == own && state.client_registry > own {
            // Rather half a file than one that was emptied on purpose.
            return Err(ClientsFileError::emptied(&self.path));
        }
        refuse_demo_key(self.takes_demo_key, Some(&self.path), &entries)?;
        Ok(entries)
    }
}

/// Refuses a client whom everybody could pass for, where there is something to protect.
fn refuse_demo_key(
    taken: bool,
    path: Option<&Path>,
    entries: &[ClientEntry],
) -> Result<(), ClientsFileError> {
    let digest = key_digest(DEMO_KEY.as_bytes());
    let has_it = |entry: &&ClientEntry| entry.keys.iter().any(|key| key.is(&digest));
    match entries.iter().find(has_it).filter(|_| !taken) {
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
    fn no_two_keys_are_alike_and_each_can_be_told_by_its_prefix() {
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
        let known = ClientSource::from_auth(&auth).expect("sound");
        let watched = known.watched.clone().expect("a file");
        let look = |text: &str| {
            let look = || watched.reload(Ok(text.to_owned()), &known.client_registry, false);
            let first = look();
            assert!(!first.replaced);
            let ReloadOutcome { usable, replaced } = look();
            (usable, replaced, known.client_registry.clients().len())
        };
        for empty in ["", "# nothing yet\n"] {
            assert_eq!(look(empty), (false, false, 2));
        }
        assert!(known.check().expect("a file").detail.contains("names no client, and named some"));
        assert_eq!(look(&entry("ivr")), (true, true, 2), "whether it is the same or not");
        assert_eq!(look(&[entry("ivr"), entry("bot")].concat()), (true, true, 3));
    }
}
