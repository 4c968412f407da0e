//! Who may call: the clients that are configured, known by a key or a certificate.
//!
//! The list can be replaced while requests are under way: each is judged by the list that stood when
//! it arrived, and what clients have used up of their own rates stays with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use crate::clock::MonotonicClock;
use crate::domain::{Client, KeyDigest};
use crate::policy::ClientRateLimiter;

/// The clients. Cheap to clone; clones are the same list.
#[derive(Clone)]
pub struct ClientRegistry(Arc<RegistryInner>);

struct RegistryInner {
    /// `None` where anybody may call.
    client_table: Option<RwLock<Arc<ClientTable>>>,
    clock: MonotonicClock,
}

/// A client, and how it is known.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// The client.
    pub client: Arc<Client>,
    /// Digests of its keys.
    pub keys: Vec<KeyDigest>,
    /// Subject of its certificate. Beside keys it has to be shown with one of them: an authority may
    /// give the same to many, and a key alone may have been copied.
    pub certificate: Option<String>,
}

/// A key, and the name that it was given with, if it was given with one.
pub type PresentedKey = (KeyDigest, Option<String>);

/// What a request shows of who makes it.
#[derive(Debug, Default)]
pub struct PresentedCredentials<'a> {
    /// The keys.
    pub keys: Vec<PresentedKey>,
    /// Subject of a certificate that was verified.
    pub certificate: Option<&'a str>,
}

/// Why a request is made by nobody that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// It shows nothing.
    Nothing,
    /// What it shows is nobody's. Which part of it was wrong is not told.
    Unknown,
    /// What it shows is not one client's.
    Contradicting,
    /// The key is that of a client who has to show its certificate as well.
    WithoutCertificate,
    /// The certificate is that of clients who have to show a key as well.
    WithoutKey,
}

/// The list as it stands at one moment.
#[derive(Debug)]
pub struct ClientTable(Vec<ClientTableEntry>);

#[derive(Debug)]
struct ClientTableEntry {
    registered: RegisteredClient,
    rate: Option<Arc<Mutex<ClientRateLimiter>>>,
}

/// What is kept of a key.
pub fn key_digest(key: &[u8]) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    KeyDigest::new(bytes)
}

impl ClientRegistry {
    /// Anybody may call.
    pub fn unauthenticated() -> Self {
        Self(Arc::new(RegistryInner { client_table: None, clock: MonotonicClock::start() }))
    }

    /// These may call, and nobody else.
    pub fn new(registered: Vec<RegisteredClient>) -> Self {
        let client_table = ClientTable::from_previous(registered, &ClientTable(Vec::new()));
        let client_table = Some(RwLock::new(Arc::new(client_table)));
        Self(Arc::new(RegistryInner { client_table, clock: MonotonicClock::start() }))
    }

    /// From now on these may call, and nobody else. Means nothing where anybody may.
    pub fn replace(&self, registered: Vec<RegisteredClient>) {
        if let (Some(lock), Some(now)) = (&self.0.client_table, self.table()) {
            let next = Arc::new(ClientTable::from_previous(registered, &now));
            *lock.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
    }

    /// The list as it stands; `None` where anybody may call.
    pub fn table(&self) -> Option<Arc<ClientTable>> {
        let lock = self.0.client_table.as_ref()?;
        Some(Arc::clone(&lock.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// All of them; none where anybody may call.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        let client = |entry: &ClientTableEntry| Arc::clone(&entry.registered.client);
        self.table()
            .map(|client_table| client_table.0.iter().map(client).collect())
            .unwrap_or_default()
    }

    /// Counts a request of this client of the list.
    ///
    /// # Errors
    /// If it is over its own rate, with the time after which it is not.
    pub fn check_rate(&self, client: AuthenticatedClient<'_>) -> Result<(), Duration> {
        let Some(rate) = &client.0.rate else { return Ok(()) };
        rate.lock().unwrap_or_else(PoisonError::into_inner).admit(self.0.clock.now())
    }
}

/// A client that was recognised.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticatedClient<'a>(&'a ClientTableEntry);

impl AuthenticatedClient<'_> {
    /// The client.
    pub fn client(self) -> Arc<Client> {
        Arc::clone(&self.0.registered.client)
    }
}

impl ClientTableEntry {
    fn has(&self, read_target: &str) -> bool {
        self.registered.certificate.as_deref() == Some(read_target)
    }
}

impl ClientTable {
    fn from_previous(registered: Vec<RegisteredClient>, before: &Self) -> Self {
        let rates =
            before.0.iter().map(|entry| (&entry.registered.client.name, entry.rate.as_ref()));
        let rates: HashMap<_, _> = rates.collect();
        let entry = |registered: RegisteredClient| {
            let kept = rates.get(&registered.client.name).copied().flatten();
            let rate = registered.client.requests_per_minute.map(|number| {
                let used = |kept: &Arc<Mutex<ClientRateLimiter>>| {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).per_minute(number)
                };
                Arc::new(Mutex::new(kept.map_or_else(|| ClientRateLimiter::new(number), used)))
            });
            ClientTableEntry { registered, rate }
        };
        Self(registered.into_iter().map(entry).collect())
    }

    /// Who shows this.
    ///
    /// # Errors
    /// If it is nobody, or not one client alone.
    pub fn authenticate(
        &self,
        shown: &PresentedCredentials<'_>,
    ) -> Result<AuthenticatedClient<'_>, AuthFailure> {
        let by_certificate =
            shown.certificate.and_then(|read_target| self.client_of_certificate(read_target));
        let Some(((key, _), others)) = shown.keys.split_first() else {
            return by_certificate.ok_or_else(|| self.auth_failure(shown.certificate));
        };
        let found = self.holder_of_both(key, others)?;
        let RegisteredClient { client, certificate, .. } = &found.0.registered;
        let named = |(_, name): &PresentedKey| {
            name.as_deref().is_none_or(|name| name == client.name.as_str())
        };
        if !shown.keys.iter().all(named) {
            return Err(AuthFailure::Unknown);
        }
        if by_certificate.is_some() {
            return Err(AuthFailure::Contradicting);
        }
        match certificate.as_deref() {
            Some(read_target) if shown.certificate != Some(read_target) => {
                Err(AuthFailure::WithoutCertificate)
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Whom a certificate alone is enough for.
    fn client_of_certificate(&self, read_target: &str) -> Option<AuthenticatedClient<'_>> {
        let bears =
            |entry: &&ClientTableEntry| entry.has(read_target) && entry.registered.keys.is_empty();
        self.0.iter().find(bears).map(AuthenticatedClient)
    }

    /// Who shows no key, and no certificate that is enough.
    fn auth_failure(&self, certificate: Option<&str>) -> AuthFailure {
        match certificate {
            None => AuthFailure::Nothing,
            Some(read_target) if self.0.iter().any(|entry| entry.has(read_target)) => {
                AuthFailure::WithoutKey
            }
            Some(_) => AuthFailure::Unknown,
        }
    }

    /// Whose these keys are. While a client changes its key, the old one may stand in one header and the
    /// new one in another; more than two would only take our time.
    fn holder_of_both(
        &self,
        key: &KeyDigest,
        others: &[PresentedKey],
    ) -> Result<AuthenticatedClient<'_>, AuthFailure> {
        let mut different = others.iter().map(|(other, _)| other).filter(|other| !other.is(key));
        let found = self.holder(key);
        let Some(other) = different.next() else { return found.ok_or(AuthFailure::Unknown) };
        if !different.all(|third| third.is(other)) {
            return Err(AuthFailure::Contradicting);
        }
        match (found, self.holder(other)) {
            (Some(one), Some(same)) if std::ptr::eq(one.0, same.0) => Ok(one),
            _ => Err(AuthFailure::Contradicting),
        }
    }

    /// Looks at every key of every client, whether one was found or not: the time that it takes does
    /// not tell whose it was.
    fn holder(&self, key: &KeyDigest) -> Option<AuthenticatedClient<'_>> {
        let mut found = None;
        for entry in &self.0 {
            for one in &entry.registered.keys {
                if one.is(key) {
                    found = Some(AuthenticatedClient(entry));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
