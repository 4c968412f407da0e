//! Who may call, from the configuration; and the watch over the file that names more of them.
//!
//! The file is looked at every second and read whole: it is small, and neither its time nor its length
//! tells for certain that it is as it was. A change is taken at the second look that finds the same:
//! the file may be gone for a moment, and half of it may be as sound as the whole.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::client_weights::Shares;
use crate::app::{Callers, Enrolled, digest_of};
use crate::config::{self, Auth, CallersError, ClientEntry, Config};
use crate::domain::{Client, ClientName, Rights};
use crate::http::Check;
use crate::telemetry::Metrics;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Name of the check in `/readyz?verbose`.
const CHECK: &str = "auth.clients_file";

/// Marks a key as one of this gateway's, for people and for programs that look for leaked secrets.
const PREFIX: &str = "agk_";

/// Nobody finds one by trying: the entry may lie in a file that others can read.
const RANDOM_BYTES: usize = 32;

/// The key by which the lines that `demo` prints work: of no use where there is something to protect.
pub const DEMO_KEY: &str = "demo-key";

/// A fresh key for a caller. No `Debug`: the key is told once.
pub struct FreshKey {
    /// The caller.
    pub name: ClientName,
    /// The key.
    pub key: String,
    /// What the configuration holds of it.
    pub digest: String,
}

/// Makes a key for the caller of this name.
///
/// # Errors
/// If it is no name, or the system has no random numbers to give.
pub fn fresh_key(name: &str) -> anyhow::Result<FreshKey> {
    let name = name.parse().with_context(|| format!("`{}`", name.escape_debug()))?;
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no random numbers")?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let digest = digest_of(key.as_bytes()).to_hex();
    Ok(FreshKey { name, key, digest })
}

/// The caller of the lines that `demo` prints, with all rights.
///
/// # Panics
/// Never: its name is one.
pub fn demo_client() -> ClientEntry {
    let client = Client {
        name: "demo".parse().expect("it is a name"),
        rights: Rights::default(),
        share: NonZeroU32::MIN,
        requests_per_minute: None,
    };
    ClientEntry { client, keys: vec![digest_of(DEMO_KEY.as_bytes())], certificate: None }
}

/// Who may call, and the file that more of them stand in.
#[derive(Clone)]
pub struct KnownCallers {
    /// Who may call.
    pub callers: Callers,
    watched: Option<Arc<Watched>>,
}

struct Watched {
    auth: Auth,
    /// Whether the key that everybody knows may be that of a caller.
    takes_demo_key: bool,
    path: PathBuf,
    state: Mutex<State>,
    /// Told when the file is to be read at once.
    reload: Notify,
}

struct State {
    /// What was found at the last look.
    seen: Result<String, CallersError>,
    /// Whether that is what counts, or was found not to be usable; told in the log then.
    judged: bool,
    /// How many callers there are.
    callers: usize,
    /// Why the file counts for nothing as it is.
    trouble: Option<String>,
}

/// What came of a look at the file.
struct Heeded {
    /// Whether what counts is what the file says.
    usable: bool,
    /// Whether there are other callers now.
    replaced: bool,
}

impl KnownCallers {
    /// The callers that are configured; the file is read now.
    ///
    /// # Errors
    /// If the file cannot be used: a service does not start with fewer callers than it should know.
    /// And if one of them has a key that everybody knows, unless there is only a simulator to protect.
    pub fn of_service(config: &Config) -> Result<Self, CallersError> {
        Self::found(&config.auth, config.genesys.api_base().may_be_simulated())
    }

    /// The same where what is protected is known to be simulated.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn of(auth: &Auth) -> Result<Self, CallersError> {
        Self::found(auth, true)
    }

    fn found(auth: &Auth, takes_demo_key: bool) -> Result<Self, CallersError> {
        let Some(path) = auth.clients_file.clone() else {
            refuse_demo_key(takes_demo_key, None, &auth.clients)?;
            return Ok(Self { callers: callers(auth.clients.clone()), watched: None });
        };
        let text = config::read_clients(&path)?;
        let entries = auth.callers_with(&path, &text)?;
        refuse_demo_key(takes_demo_key, Some(&path), &entries)?;
        let state = State { seen: Ok(text), judged: true, callers: entries.len(), trouble: None };
        let (auth, state, reload) = (auth.clone(), Mutex::new(state), Notify::new());
        let watched = Watched { auth, takes_demo_key, path, state, reload };
        Ok(Self { callers: callers(entries), watched: Some(Arc::new(watched)) })
    }

    /// Anybody may call.
    pub fn anybody() -> Self {
        Self { callers: Callers::anybody(), watched: None }
    }

    /// What there is to tell of the file, if there is one.
    pub fn check(&self) -> Option<Check> {
        let state = self.watched.as_ref()?.state();
        let detail = match &state.trouble {
            None => format!("{} callers", state.callers),
            Some(trouble) => format!("the callers from before count: {trouble}"),
        };
        Some(Check { name: CHECK, ok: state.trouble.is_none(), detail })
    }

    /// Has the file read at once, also if it has not changed. False if there is none.
    pub fn reload(&self) -> bool {
        self.watched.iter().for_each(|watched| watched.reload.notify_one());
        self.watched.is_some()
    }

    /// Tells `shares` who they are, and watches the file until `stop`.
    pub fn watch(&self, metrics: &Metrics, stop: CancellationToken, shares: Shares) {
        shares.among(&self.callers.clients());
        let Some(watched) = self.watched.clone() else { return };
        let (callers, metrics) = (self.callers.clone(), metrics.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let asked = tokio::select! {
                    () = tokio::time::sleep(LOOK) => false,
                    () = watched.reload.notified() => true,
                };
                let path = watched.path.clone();
                // A file may lie on a disk that takes its time.
                let read = tokio::task::spawn_blocking(move || config::read_clients(&path));
                if let Ok(seen) = read.await {
                    let Heeded { usable, replaced } = watched.heed(seen, &callers, asked);
                    if replaced {
                        shares.among(&callers.clients());
                    }
                    metrics.clients_file_rejected(!usable);
                }
            }
        }));
    }
}

impl Watched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of another look at the file, and has the callers replaced if it is not as it was, and
    /// was the same at the look before: until then somebody may still be writing it. If an operator
    /// asked for it, the file counts as it is now.
    fn heed(&self, seen: Result<String, CallersError>, callers: &Callers, asked: bool) -> Heeded {
        let mut state = self.state();
        if asked {
            (state.seen, state.judged) = (seen, true);
            return self.take(&mut state, callers);
        }
        if seen != state.seen {
            (state.seen, state.judged) = (seen, false);
        } else if !std::mem::replace(&mut state.judged, true) {
            return self.take(&mut state, callers);
        }
        Heeded { usable: state.trouble.is_none(), replaced: false }
    }

    fn take(&self, state: &mut State, callers: &Callers) -> Heeded {
        match self.judged(state) {
            Ok(entries) => {
                tracing::info!(callers = entries.len(), "the callers were read anew");
                (state.callers, state.trouble) = (entries.len(), None);
                callers.replace(enrolled(entries));
                Heeded { usable: true, replaced: true }
            }
            Err(error) => {
                tracing::error!(%error, "the callers from before still count");
                state.trouble = Some(error.to_string());
                Heeded { usable: false, replaced: false }
            }
        }
    }

    /// The callers of the file as it was seen, if they can be taken for those of before.
    fn judged(&self, state: &State) -> Result<Vec<ClientEntry>, CallersError> {
        let entries =
            self.auth.callers_with(&self.path, state.seen.as_ref().map_err(Clone::clone)?)?;
        let own = self.auth.clients.len();
        if entries.len() == own && state.callers > own {
            // Rather half a file than one that was emptied on purpose.
            return Err(CallersError::emptied(&self.path));
        }
        refuse_demo_key(self.takes_demo_key, Some(&self.path), &entries)?;
        Ok(entries)
    }
}

/// Refuses a caller whom everybody could pass for, where there is something to protect.
fn refuse_demo_key(
    taken: bool,
    path: Option<&Path>,
    entries: &[ClientEntry],
) -> Result<(), CallersError> {
    let digest = digest_of(DEMO_KEY.as_bytes());
    let has_it = |entry: &&ClientEntry| entry.keys.iter().any(|key| key.is(&digest));
    match entries.iter().find(has_it).filter(|_| !taken) {
        Some(entry) => Err(CallersError::public_key(path, &entry.client.name, DEMO_KEY)),
        None => Ok(()),
    }
}

fn callers(entries: Vec<ClientEntry>) -> Callers {
    if entries.is_empty() { Callers::anybody() } else { Callers::known(enrolled(entries)) }
}

fn enrolled(entries: Vec<ClientEntry>) -> Vec<Enrolled> {
    let one = |ClientEntry { client, keys, certificate }: ClientEntry| Enrolled {
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
        assert_eq!(digest, digest_of(key.as_bytes()).to_hex());
        assert!(fresh_key("a b").is_err() && fresh_key("").is_err());
    }

    #[test]
    fn an_emptied_file_is_a_bad_one_also_where_the_configuration_has_callers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.toml");
        let entry = |name: &str| {
            let digest = digest_of(name.as_bytes()).to_hex();
            format!("[[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n")
        };
        std::fs::write(&path, entry("ivr")).expect("written");
        let auth = Auth {
            mode: config::AuthMode::Clients,
            clients_file: Some(path),
            clients: vec![demo_client()],
        };
        let known = KnownCallers::of(&auth).expect("sound");
        let watched = known.watched.clone().expect("a file");
        let look = |text: &str| {
            let look = || watched.heed(Ok(text.to_owned()), &known.callers, false);
            let first = look();
            assert!(!first.replaced);
            let Heeded { usable, replaced } = look();
            (usable, replaced, known.callers.clients().len())
        };
        for empty in ["", "# nothing yet\n"] {
            assert_eq!(look(empty), (false, false, 2));
        }
        assert!(known.check().expect("a file").detail.contains("names no client, and named some"));
        assert_eq!(look(&entry("ivr")), (true, true, 2), "whether it is the same or not");
        assert_eq!(look(&[entry("ivr"), entry("bot")].concat()), (true, true, 3));
    }
}
