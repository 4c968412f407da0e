//! Who may call, from the configuration; and the watch over the file that names more of them.
//!
//! The file is looked at every second and read whole: it is small, and neither its time nor its length
//! tells for certain that it is as it was. It may be replaced by renaming, or be gone for a moment.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio_util::sync::CancellationToken;

use super::shares::Shares;
use crate::app::{Callers, Enrolled, digest_of};
use crate::config::{self, Auth, CallersError, ClientEntry};
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
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// What was found at the last look, told in the log already.
    seen: Result<String, CallersError>,
    /// How many callers there are.
    callers: usize,
    /// Why the file counts for nothing as it is.
    trouble: Option<String>,
}

impl KnownCallers {
    /// The callers that are configured; the file is read now.
    ///
    /// # Errors
    /// If the file cannot be used: a service does not start with fewer callers than it should know.
    pub fn of(auth: &Auth) -> Result<Self, CallersError> {
        let Some(path) = auth.clients_file.clone() else {
            return Ok(Self { callers: callers(auth.clients.clone()), watched: None });
        };
        let text = config::read_clients(&path)?;
        let entries = auth.callers_with(&path, &text)?;
        let state = State { seen: Ok(text), callers: entries.len(), trouble: None };
        let watched = Watched { auth: auth.clone(), path, state: Mutex::new(state) };
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

    /// Tells `shares` who they are, and watches the file until `stop`.
    pub fn watch(&self, metrics: &Metrics, stop: CancellationToken, shares: Shares) {
        shares.among(&self.callers.clients());
        let Some(watched) = self.watched.clone() else { return };
        let (callers, metrics) = (self.callers.clone(), metrics.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let path = watched.path.clone();
                // A file may lie on a disk that takes its time.
                let read = tokio::task::spawn_blocking(move || config::read_clients(&path));
                if let Ok(seen) = read.await {
                    let usable = watched.heed(seen, &callers);
                    shares.among(&callers.clients());
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

    /// Has the callers replaced if the file is not as it was. Whether it can be used.
    fn heed(&self, seen: Result<String, CallersError>, callers: &Callers) -> bool {
        let mut state = self.state();
        if seen == state.seen {
            return state.trouble.is_none();
        }
        let entries = match &seen {
            Ok(text) => self.auth.callers_with(&self.path, text),
            Err(error) => Err(error.clone()),
        };
        state.seen = seen;
        match entries {
            Ok(entries) => {
                tracing::info!(callers = entries.len(), "the callers were read anew");
                (state.callers, state.trouble) = (entries.len(), None);
                callers.replace(enrolled(entries));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the callers from before still count");
                state.trouble = Some(error.to_string());
                false
            }
        }
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
}
