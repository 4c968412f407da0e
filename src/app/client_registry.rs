//! The clients that may call, each known by a key or a certificate.
//!
//! The list can be replaced while requests are in flight. Each request is judged by the list in
//! force when it arrived. Clients keep what they have used of their own rate limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use crate::clock::MonotonicClock;
use crate::domain::{Client, KeyDigest};
use crate::policy::ClientRateLimiter;

/// The registered clients. Cheap to clone; clones share one list.
#[derive(Clone)]
pub struct ClientRegistry(Arc<RegistryInner>);

struct RegistryInner {
    /// `None` if authentication is off.
    client_table: Option<RwLock<Arc<ClientTable>>>,
    clock: MonotonicClock,
}

/// A client and its credentials.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    /// The client.
    pub client: Arc<Client>,
    /// Digests of its keys.
    pub keys: Vec<KeyDigest>,
    /// Subject of its certificate. A client that has keys too must show both: an authority may give
    /// the same subject to many, and a key alone may have been copied.
    pub certificate: Option<String>,
}

/// A key, and the client name sent with it, if any.
pub type PresentedKey = (KeyDigest, Option<String>);

/// The credentials that a request shows.
#[derive(Debug, Default)]
pub struct PresentedCredentials<'a> {
    /// The keys.
    pub keys: Vec<PresentedKey>,
    /// Subject of a verified certificate.
    pub certificate: Option<&'a str>,
}

/// Why a request could not be authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// It shows no credentials.
    Nothing,
    /// No client has these credentials. The error does not say which part was wrong.
    Unknown,
    /// The credentials belong to different clients.
    Contradicting,
    /// The client of the key must show its certificate as well.
    WithoutCertificate,
    /// The clients of the certificate must show a key as well.
    WithoutKey,
}

/// The list of clients at one moment.
#[derive(Debug)]
pub struct ClientTable(Vec<ClientTableEntry>);

#[derive(Debug)]
struct ClientTableEntry {
    registered: RegisteredClient,
    rate: Option<Arc<Mutex<ClientRateLimiter>>>,
}

/// The digest that is stored in place of a key.
pub fn key_digest(key: &[u8]) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    KeyDigest::new(bytes)
}

impl ClientRegistry {
    /// A registry without authentication: every client may call.
    pub fn unauthenticated() -> Self {
        Self(Arc::new(RegistryInner { client_table: None, clock: MonotonicClock::start() }))
    }

    /// A registry of these clients.
    pub fn new(registered: Vec<RegisteredClient>) -> Self {
        let client_table = ClientTable::from_previous(registered, &ClientTable(Vec::new()));
        let client_table = Some(RwLock::new(Arc::new(client_table)));
        Self(Arc::new(RegistryInner { client_table, clock: MonotonicClock::start() }))
    }

    /// Replaces the list. Has no effect if authentication is off.
    pub fn replace(&self, registered: Vec<RegisteredClient>) {
        if let (Some(lock), Some(now)) = (&self.0.client_table, self.table()) {
            let next = Arc::new(ClientTable::from_previous(registered, &now));
            *lock.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
    }

    /// The current list; `None` if authentication is off.
    pub fn table(&self) -> Option<Arc<ClientTable>> {
        let lock = self.0.client_table.as_ref()?;
        Some(Arc::clone(&lock.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// All clients; empty if authentication is off.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        let client = |entry: &ClientTableEntry| Arc::clone(&entry.registered.client);
        self.table()
            .map(|client_table| client_table.0.iter().map(client).collect())
            .unwrap_or_default()
    }

    /// Counts a request of this client against its own rate limit.
    ///
    /// # Errors
    /// If it is over the limit, with the time to wait.
    pub fn check_rate(&self, client: AuthenticatedClient<'_>) -> Result<(), Duration> {
        let Some(rate) = &client.0.rate else { return Ok(()) };
        rate.lock().unwrap_or_else(PoisonError::into_inner).admit(self.0.clock.now())
    }
}

/// A client that was authenticated.
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

    /// Finds the client of these credentials.
    ///
    /// # Errors
    /// If there is no such client, or more than one.
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

    /// The client that needs only this certificate.
    fn client_of_certificate(&self, read_target: &str) -> Option<AuthenticatedClient<'_>> {
        let bears =
            |entry: &&ClientTableEntry| entry.has(read_target) && entry.registered.keys.is_empty();
        self.0.iter().find(bears).map(AuthenticatedClient)
    }

    /// Why credentials without a valid key are not enough.
    fn auth_failure(&self, certificate: Option<&str>) -> AuthFailure {
        match certificate {
            None => AuthFailure::Nothing,
            Some(read_target) if self.0.iter().any(|entry| entry.has(read_target)) => {
                AuthFailure::WithoutKey
            }
            Some(_) => AuthFailure::Unknown,
        }
    }

    /// The client of these keys. During a key change the old key may stand in one header and the
    /// new one in another; more than two would only take time.
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

    /// Compares with every key of every client, even after a match, so that the time does not tell
    /// whose key it was.
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
