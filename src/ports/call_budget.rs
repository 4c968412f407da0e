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
pub enum PriorityClass {
    /// Further calls of a write that has begun: retries, and the read that settles its fate.
    Committed,
    /// All that a write needs, booked together.
    Write,
    /// A read that somebody asked for.
    Read,
    /// Second and further read-backs: the first to be dropped.
    ReadBack,
}

pub use crate::policy::BudgetAccount;

impl From<&Client> for BudgetAccount {
    fn from(client: &Client) -> Self {
        let Some(name) = client.known_name() else { return Self::SHARED };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { id: hasher.finish(), weight: client.share }
    }
}

/// Calls that somebody would like to make.
#[derive(Clone, Copy, Debug)]
pub struct ReservationRequest {
    /// How many, together.
    pub calls: u32,
    /// How important they are.
    pub class: PriorityClass,
    /// From when on they are of no use.
    pub deadline: Instant,
    /// On whose account.
    pub account: BudgetAccount,
}

/// Grants calls within the budget of the token.
pub trait CallBudget: Send + Sync {
    /// Books calls, to be made at once or at a time before their deadline.
    ///
    /// # Errors
    /// At once, if they cannot be made before their deadline, with the time at which they could.
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error>;

    /// What to tell somebody who cannot wait for the calls that others have booked for him: when
    /// there will be as many again.
    fn refusal(&self, account: BudgetAccount, calls: u32) -> Error;
}

/// An answer to a [`ReservationRequest`].
pub enum Reservation {
    /// The calls can be made now.
    Now(CallPermits),
    /// They can be made later.
    Later {
        /// When, as far as can be told.
        expected: Instant,
        /// Ends when they can, or with an error at the deadline of the wish.
        granted: BoxFuture<'static, Result<CallPermits, Error>>,
    },
}

impl Reservation {
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
    pub async fn granted(self) -> Result<CallPermits, Error> {
        match self {
            Self::Now(permits) => Ok(permits),
            Self::Later { granted, .. } => granted.await,
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("expected", &self.expected()).finish_non_exhaustive()
    }
}

/// Where permits come from, and where they are accounted for.
pub trait PermitPool: Send + Sync {
    /// A permit was used: upstream has seen the call by now, if it ever does.
    fn spent(&self, account: BudgetAccount);
    /// Permits were not needed.
    fn returned(&self, account: BudgetAccount, calls: u32);
}

/// The right to make one call. Goes back when it is dropped unused.
#[derive(Debug)]
pub struct CallPermit(CallPermits);

/// The right to make some calls. What is left of it goes back when it is dropped.
pub struct CallPermits {
    permit_pool: Arc<dyn PermitPool>,
    account: BudgetAccount,
    calls: u32,
}

impl CallPermits {
    /// The right to make `calls` calls, which `permit_pool` has set aside on the account of `account`.
    pub fn new(permit_pool: Arc<dyn PermitPool>, account: BudgetAccount, calls: u32) -> Self {
        Self { permit_pool, account, calls }
    }

    /// How many calls may be made.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes one out.
    pub fn take(&mut self) -> Option<CallPermit> {
        self.calls = self.calls.checked_sub(1)?;
        Some(CallPermit(Self {
            permit_pool: Arc::clone(&self.permit_pool),
            account: self.account,
            calls: 1,
        }))
    }
}

impl From<CallPermit> for CallPermits {
    fn from(CallPermit(one): CallPermit) -> Self {
        one
    }
}

impl CallPermit {
    /// The call was made. To be told when it has ended: upstream counts it at some moment between
    /// its sending and its answer, and only the later of the two is never too early.
    pub fn spend(mut self) {
        self.0.calls = 0;
        self.0.permit_pool.spent(self.0.account);
    }
}

impl Drop for CallPermits {
    fn drop(&mut self) {
        if self.calls > 0 {
            self.permit_pool.returned(self.account, self.calls);
        }
    }
}

impl fmt::Debug for CallPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPermits").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// No budget at all: for tests of what stands above it.
#[derive(Clone, Copy, Debug)]
pub struct UnlimitedBudget;

impl CallBudget for UnlimitedBudget {
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error> {
        Ok(Reservation::Now(CallPermits::new(
            Arc::new(*self),
            reservation_request.account,
            reservation_request.calls,
        )))
    }

    fn refusal(&self, _: BudgetAccount, _: u32) -> Error {
        Error::UpstreamRateLimited { reason: "there is no budget", retry_after: Duration::ZERO }
    }
}

impl PermitPool for UnlimitedBudget {
    fn spent(&self, _: BudgetAccount) {}
    fn returned(&self, _: BudgetAccount, _: u32) {}
}
