//! Limits the requests in flight. A request over the limit is refused at once: waiting would only
//! add to the overload.
//!
//! With several clients, none can keep the others out (`policy::concurrency`). Without
//! authentication, requests are only counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::budget_accounts::slots_exhausted_error;
use crate::domain::Client;
use crate::error::Error;
use crate::policy::{ClientWeights, WeightedSlots};
use crate::ports::BudgetAccount;

/// Names the limit that was reached, unless it is the client's own.
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

/// The slots for requests.
#[derive(Debug)]
pub struct RequestLimiter {
    max: usize,
    /// Requests in flight without authentication.
    anonymous: AtomicUsize,
    known: Mutex<(WeightedSlots, ClientWeights)>,
}

impl RequestLimiter {
    /// A limiter for at max `max` requests at once.
    pub fn new(max: usize) -> Self {
        Self { max, anonymous: AtomicUsize::new(0), known: Mutex::default() }
    }

    /// Reserves each of these clients its share, before its first request.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.known.lock().1.set_known_clients(accounts);
    }

    /// Counts a request of this client until the slot is dropped.
    ///
    /// # Errors
    /// If no slot is free.
    pub fn acquire(self: &Arc<Self>, client: &Arc<Client>) -> Result<RequestSlot, Error> {
        self.take(client)?;
        Ok(RequestSlot { requests: Arc::clone(self), client: Arc::clone(client) })
    }

    fn take(&self, client: &Client) -> Result<(), Error> {
        if client.known_name().is_none() {
            if self.anonymous.fetch_add(1, Ordering::Relaxed) < self.max {
                return Ok(());
            }
            self.release(client);
            return Err(Error::Overloaded(EVERYWHERE));
        }
        let account = BudgetAccount::from(client);
        let mut known = self.known.lock();
        let (slots, parts) = &mut *known;
        parts.register(account);
        slots
            .admits(account, self.max, parts)
            .map_err(|full| slots_exhausted_error(full, EVERYWHERE))?;
        slots.take(account, parts);
        Ok(())
    }

    /// Ends the count of a request of this client.
    fn release(&self, client: &Client) {
        if client.known_name().is_none() {
            self.anonymous.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.known.lock().0.leave(BudgetAccount::from(client));
        }
    }
}
