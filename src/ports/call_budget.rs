//! The right to call upstream, as a port: calls are scarce, so they are booked before they are made.
//!
//! A write books everything it needs together, so that it is not stranded between its PATCH and the
//! read that proves it; what it does not use goes back.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::BoxFuture;
use crate::domain::Client;
use crate::error::Error;

/// Who goes first when calls are scarce, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Further calls of a write that has begun: retries, and the read that settles its fate.
    Admitted,
    /// All that a write needs, booked together.
    Write,
    /// A read that somebody asked for.
    Read,
    /// Second and further read-backs: the first to be dropped.
    Extra,
}

pub use crate::policy::BudgetAccount as Payer;

impl From<&Client> for Payer {
    fn from(client: &Client) -> Self {
        let Some(name) = client.known_name() else { return Self::NOBODY };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { id: hasher.finish(), weight: client.share }
    }
}

/// Calls that somebody would like to make.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How many, together.
    pub calls: u32,
    /// How important they are.
    pub class: Class,
    /// From when on they are of no use.
    pub deadline: Instant,
    /// On whose account.
    pub payer: Payer,
}

/// Grants calls within the budget of the token.
pub trait Pacing: Send + Sync {
    /// Books calls, to be made at once or at a time before their deadline.
    ///
    /// # Errors
    /// At once, if they cannot be made before their deadline, with the time at which they could.
    fn book(&self, wish: Wish) -> Result<Booking, Error>;

    /// What to tell somebody who cannot wait for the calls that others have booked for him: when
    /// there will be as many again.
    fn refusal(&self, payer: Payer, calls: u32) -> Error;
}

/// An answer to a [`Wish`].
pub enum Booking {
    /// The calls can be made now.
    Now(Permits),
    /// They can be made later.
    Later {
        /// When, as far as can be told.
        expected: Instant,
        /// Ends when they can, or with an error at the deadline of the wish.
        granted: BoxFuture<'static, Result<Permits, Error>>,
    },
}

impl Booking {
    /// When the calls can be made, as far as can be told.
    pub fn expected(&self) -> Instant {
        match self {
            Self::Now(_) => Instant::now(),
            Self::Later { expected, .. } => *expected,
        }
    }

    /// Waits for the calls.
    ///
    /// # Errors
    /// If the deadline of the wish comes first.
    pub async fn granted(self) -> Result<Permits, Error> {
        match self {
            Self::Now(permits) => Ok(permits),
            Self::Later { granted, .. } => granted.await,
        }
    }
}

impl fmt::Debug for Booking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Booking").field("expected", &self.expected()).finish_non_exhaustive()
    }
}

/// Where permits come from, and where they are accounted for.
pub trait Purse: Send + Sync {
    /// A permit was used: upstream has seen the call by now, if it ever does.
    fn spent(&self, payer: Payer);
    /// Permits were not needed.
    fn returned(&self, payer: Payer, calls: u32);
}

/// The right to make one call. Goes back when it is dropped unused.
#[derive(Debug)]
pub struct Permit(Permits);

/// The right to make some calls. What is left of it goes back when it is dropped.
pub struct Permits {
    purse: Arc<dyn Purse>,
    payer: Payer,
    calls: u32,
}

impl Permits {
    /// The right to make `calls` calls, which `purse` has set aside on the account of `payer`.
    pub fn new(purse: Arc<dyn Purse>, payer: Payer, calls: u32) -> Self {
        Self { purse, payer, calls }
    }

    /// How many calls may be made.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes one out.
    pub fn take(&mut self) -> Option<Permit> {
        self.calls = self.calls.checked_sub(1)?;
        Some(Permit(Self { purse: Arc::clone(&self.purse), payer: self.payer, calls: 1 }))
    }
}

impl From<Permit> for Permits {
    fn from(Permit(one): Permit) -> Self {
        one
    }
}

impl Permit {
    /// The call was made. To be told when it has ended: upstream counts it at some moment between
    /// its sending and its answer, and only the later of the two is never too early.
    pub fn spend(mut self) {
        self.0.calls = 0;
        self.0.purse.spent(self.0.payer);
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        if self.calls > 0 {
            self.purse.returned(self.payer, self.calls);
        }
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// No budget at all: for tests of what stands above it.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl Pacing for Unlimited {
    fn book(&self, wish: Wish) -> Result<Booking, Error> {
        Ok(Booking::Now(Permits::new(Arc::new(*self), wish.payer, wish.calls)))
    }

    fn refusal(&self, _: Payer, _: u32) -> Error {
        Error::UpstreamRateLimited { reason: "there is no budget", retry_after: Duration::ZERO }
    }
}

impl Purse for Unlimited {
    fn spent(&self, _: Payer) {}
    fn returned(&self, _: Payer, _: u32) {}
}
