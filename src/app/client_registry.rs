//! Who may call: the callers that are configured, known by a key or a certificate.
//!
//! The list can be replaced while requests are under way: each is judged by the list that stood when
//! it arrived, and what callers have used up of their own rates stays with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use crate::clock::Monotonic;
use crate::domain::{Client, KeyDigest};
use crate::policy::OwnRate;

/// The callers. Cheap to clone; clones are the same list.
#[derive(Clone)]
pub struct Callers(Arc<Inner>);

struct Inner {
    /// `None` where anybody may call.
    roll: Option<RwLock<Arc<Roll>>>,
    clock: Monotonic,
}

/// A caller, and how it is known.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The caller.
    pub client: Arc<Client>,
    /// Digests of its keys.
    pub keys: Vec<KeyDigest>,
    /// Subject of its certificate. Beside keys it has to be shown with one of them: an authority may
    /// give the same to many, and a key alone may have been copied.
    pub certificate: Option<String>,
}

/// A key, and the name that it was given with, if it was given with one.
pub type Given = (KeyDigest, Option<String>);

/// What a request shows of who makes it.
#[derive(Debug, Default)]
pub struct Shown<'a> {
    /// The keys.
    pub keys: Vec<Given>,
    /// Subject of a certificate that was verified.
    pub certificate: Option<&'a str>,
}

/// Why a request is made by nobody that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It shows nothing.
    Nothing,
    /// What it shows is nobody's. Which part of it was wrong is not told.
    Unknown,
    /// What it shows is not one caller's.
    Contradicting,
    /// The key is that of a caller who has to show its certificate as well.
    WithoutCertificate,
    /// The certificate is that of callers who have to show a key as well.
    WithoutKey,
}

/// The list as it stands at one moment.
#[derive(Debug)]
pub struct Roll(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    enrolled: Enrolled,
    rate: Option<Arc<Mutex<OwnRate>>>,
}

/// What is kept of a key.
pub fn digest_of(key: &[u8]) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    KeyDigest::new(bytes)
}

impl Callers {
    /// Anybody may call.
    pub fn anybody() -> Self {
        Self(Arc::new(Inner { roll: None, clock: Monotonic::start() }))
    }

    /// These may call, and nobody else.
    pub fn known(enrolled: Vec<Enrolled>) -> Self {
        let roll = Roll::following(enrolled, &Roll(Vec::new()));
        let roll = Some(RwLock::new(Arc::new(roll)));
        Self(Arc::new(Inner { roll, clock: Monotonic::start() }))
    }

    /// From now on these may call, and nobody else. Means nothing where anybody may.
    pub fn replace(&self, enrolled: Vec<Enrolled>) {
        if let (Some(lock), Some(now)) = (&self.0.roll, self.roll()) {
            let next = Arc::new(Roll::following(enrolled, &now));
            *lock.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
    }

    /// The list as it stands; `None` where anybody may call.
    pub fn roll(&self) -> Option<Arc<Roll>> {
        let lock = self.0.roll.as_ref()?;
        Some(Arc::clone(&lock.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// All of them; none where anybody may call.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        let client = |entry: &Entry| Arc::clone(&entry.enrolled.client);
        self.roll().map(|roll| roll.0.iter().map(client).collect()).unwrap_or_default()
    }

    /// Counts a request of this caller of the list.
    ///
    /// # Errors
    /// If it is over its own rate, with the time after which it is not.
    pub fn pace(&self, caller: Known<'_>) -> Result<(), Duration> {
        let Some(rate) = &caller.0.rate else { return Ok(()) };
        rate.lock().unwrap_or_else(PoisonError::into_inner).admit(self.0.clock.now())
    }
}

/// A caller that was recognised.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a>(&'a Entry);

impl Known<'_> {
    /// The caller.
    pub fn client(self) -> Arc<Client> {
        Arc::clone(&self.0.enrolled.client)
    }
}

impl Entry {
    fn has(&self, subject: &str) -> bool {
        self.enrolled.certificate.as_deref() == Some(subject)
    }
}

impl Roll {
    fn following(enrolled: Vec<Enrolled>, before: &Self) -> Self {
        let rates = before.0.iter().map(|entry| (&entry.enrolled.client.name, entry.rate.as_ref()));
        let rates: HashMap<_, _> = rates.collect();
        let entry = |enrolled: Enrolled| {
            let kept = rates.get(&enrolled.client.name).copied().flatten();
            let rate = enrolled.client.requests_per_minute.map(|number| {
                let used = |kept: &Arc<Mutex<OwnRate>>| {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).at(number)
                };
                Arc::new(Mutex::new(kept.map_or_else(|| OwnRate::new(number), used)))
            });
            Entry { enrolled, rate }
        };
        Self(enrolled.into_iter().map(entry).collect())
    }

    /// Who shows this.
    ///
    /// # Errors
    /// If it is nobody, or not one caller alone.
    pub fn recognise(&self, shown: &Shown<'_>) -> Result<Known<'_>, Stranger> {
        let by_certificate = shown.certificate.and_then(|subject| self.certified(subject));
        let Some(((key, _), others)) = shown.keys.split_first() else {
            return by_certificate.ok_or_else(|| self.stranger(shown.certificate));
        };
        let found = self.holder_of_both(key, others)?;
        let Enrolled { client, certificate, .. } = &found.0.enrolled;
        let named =
            |(_, name): &Given| name.as_deref().is_none_or(|name| name == client.name.as_str());
        if !shown.keys.iter().all(named) {
            return Err(Stranger::Unknown);
        }
        if by_certificate.is_some() {
            return Err(Stranger::Contradicting);
        }
        match certificate.as_deref() {
            Some(subject) if shown.certificate != Some(subject) => {
                Err(Stranger::WithoutCertificate)
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Whom a certificate alone is enough for.
    fn certified(&self, subject: &str) -> Option<Known<'_>> {
        let bears = |entry: &&Entry| entry.has(subject) && entry.enrolled.keys.is_empty();
        self.0.iter().find(bears).map(Known)
    }

    /// Who shows no key, and no certificate that is enough.
    fn stranger(&self, certificate: Option<&str>) -> Stranger {
        match certificate {
            None => Stranger::Nothing,
            Some(subject) if self.0.iter().any(|entry| entry.has(subject)) => Stranger::WithoutKey,
            Some(_) => Stranger::Unknown,
        }
    }

    /// Whose these keys are. While a caller changes its key, the old one may stand in one header and the
    /// new one in another; more than two would only take our time.
    fn holder_of_both(&self, key: &KeyDigest, others: &[Given]) -> Result<Known<'_>, Stranger> {
        let mut different = others.iter().map(|(other, _)| other).filter(|other| !other.is(key));
        let found = self.holder(key);
        let Some(other) = different.next() else { return found.ok_or(Stranger::Unknown) };
        if !different.all(|third| third.is(other)) {
            return Err(Stranger::Contradicting);
        }
        match (found, self.holder(other)) {
            (Some(one), Some(same)) if std::ptr::eq(one.0, same.0) => Ok(one),
            _ => Err(Stranger::Contradicting),
        }
    }

    /// Looks at every key of every caller, whether one was found or not: the time that it takes does
    /// not tell whose it was.
    fn holder(&self, key: &KeyDigest) -> Option<Known<'_>> {
        let mut found = None;
        for entry in &self.0 {
            for one in &entry.enrolled.keys {
                if one.is(key) {
                    found = Some(Known(entry));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
