//! How many requests are under way. One over the limit is refused at once: waiting would only add to
//! what there is too much of.
//!
//! Among several callers nobody keeps the others out (`policy::places`). Where anybody may call, they are
//! counted and no more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget_accounts::{on_account, turned_away};
use crate::domain::Client;
use crate::error::Error;
use crate::policy::{Parts, Places};
use crate::ports::Payer;

/// Where there are too many, if it is not one caller alone that has them.
const EVERYWHERE: &str = "in this gateway";

/// A request that counts until this is dropped.
#[derive(Debug)]
pub struct RequestSlot {
    requests: Arc<Requests>,
    client: Arc<Client>,
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.requests.leave(&self.client);
    }
}

/// The places for requests.
#[derive(Debug)]
pub struct Requests {
    most: usize,
    /// Of whoever calls where anybody may.
    anybodys: AtomicUsize,
    known: Mutex<(Places, Parts)>,
}

impl Requests {
    /// That many at once, and no more.
    pub fn at_most(most: usize) -> Self {
        Self { most, anybodys: AtomicUsize::new(0), known: Mutex::default() }
    }

    /// Sees to it that each of these has its part, whether it has called yet or not.
    pub fn expect(&self, payers: &[Payer]) {
        let payers: Vec<_> = payers.iter().copied().map(on_account).collect();
        self.known().1.expect(&payers);
    }

    /// Counts a request of this client until the slot is dropped.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn enter(self: &Arc<Self>, client: &Arc<Client>) -> Result<RequestSlot, Error> {
        self.count(client)?;
        Ok(RequestSlot { requests: Arc::clone(self), client: Arc::clone(client) })
    }

    fn count(&self, client: &Client) -> Result<(), Error> {
        if client.known_name().is_none() {
            if self.anybodys.fetch_add(1, Ordering::Relaxed) < self.most {
                return Ok(());
            }
            self.leave(client);
            return Err(Error::Overloaded(EVERYWHERE));
        }
        let payer = on_account(Payer::from(client));
        let mut known = self.known();
        let (places, parts) = &mut *known;
        parts.meet(payer);
        places.admits(payer, self.most, parts).map_err(|full| turned_away(full, EVERYWHERE))?;
        places.take(payer, parts);
        Ok(())
    }

    /// A request of this client is over.
    fn leave(&self, client: &Client) {
        if client.known_name().is_none() {
            self.anybodys.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.known().0.leave(on_account(Payer::from(client)));
        }
    }

    fn known(&self) -> MutexGuard<'_, (Places, Parts)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
