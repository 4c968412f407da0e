//! How many requests are under way. One over the limit is refused at once: waiting would only add to
//! what there is too much of.
//!
//! Among several clients nobody keeps the others out (`policy::places`). Where anybody may call, they are
//! counted and no more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget_accounts::{slots_exhausted_error, to_policy_account};
use crate::domain::Client;
use crate::error::Error;
use crate::policy::{ClientWeights, WeightedSlots};
use crate::ports::BudgetAccount;

/// Where there are too many, if it is not one client alone that has them.
const EVERYWHERE: &str = "in this gateway";

/// A request that counts until this is dropped.
#[derive(Debug)]
pub struct RequestSlot {
    requests: Arc<RequestLimiter>,
    client: Arc<Client>,
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        self.requests.release(&self.client);
    }
}

/// The places for requests.
#[derive(Debug)]
pub struct RequestLimiter {
    most: usize,
    /// Of whoever calls where anybody may.
    anybodys: AtomicUsize,
    known: Mutex<(WeightedSlots, ClientWeights)>,
}

impl RequestLimiter {
    /// That many at once, and no more.
    pub fn new(most: usize) -> Self {
        Self { most, anybodys: AtomicUsize::new(0), known: Mutex::default() }
    }

    /// Sees to it that each of these has its part, whether it has called yet or not.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        let accounts: Vec<_> = accounts.iter().copied().map(to_policy_account).collect();
        self.known().1.set_known_clients(&accounts);
    }

    /// Counts a request of this client until the slot is dropped.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn acquire(self: &Arc<Self>, client: &Arc<Client>) -> Result<RequestSlot, Error> {
        self.count(client)?;
        Ok(RequestSlot { requests: Arc::clone(self), client: Arc::clone(client) })
    }

    fn count(&self, client: &Client) -> Result<(), Error> {
        if client.known_name().is_none() {
            if self.anybodys.fetch_add(1, Ordering::Relaxed) < self.most {
                return Ok(());
            }
            self.release(client);
            return Err(Error::Overloaded(EVERYWHERE));
        }
        let account = to_policy_account(BudgetAccount::from(client));
        let mut known = self.known();
        let (slots, parts) = &mut *known;
        parts.register(account);
        slots
            .admits(account, self.most, parts)
            .map_err(|full| slots_exhausted_error(full, EVERYWHERE))?;
        slots.take(account, parts);
        Ok(())
    }

    /// A request of this client is over.
    fn release(&self, client: &Client) {
        if client.known_name().is_none() {
            self.anybodys.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.known().0.leave(to_policy_account(BudgetAccount::from(client)));
        }
    }

    fn known(&self) -> MutexGuard<'_, (WeightedSlots, ClientWeights)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
