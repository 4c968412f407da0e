//! The call budget, as a port: calls to upstream are scarce, so they are reserved beforehand.
//!
//! A write reserves all its calls together, so that it cannot get stuck between its PATCH and the
//! read that verifies it. Unused calls are returned.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tokio::time::Instant;

use super::BoxFuture;
use crate::domain::Client;
use crate::error::Error;

pub use crate::policy::{BudgetAccount, PriorityClass};

impl From<&Client> for BudgetAccount {
    fn from(client: &Client) -> Self {
        let Some(name) = client.known_name() else { return Self::SHARED };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { id: hasher.finish(), weight: client.share }
    }
}

/// A request for calls.
#[derive(Clone, Copy, Debug)]
pub struct ReservationRequest {
    /// How many, reserved together.
    pub calls: u32,
    /// Their priority.
    pub class: PriorityClass,
    /// After this moment they are of no use.
    pub deadline: Instant,
    /// The account that pays for them.
    pub account: BudgetAccount,
}

/// Grants calls within the budget of the token.
pub trait CallBudget: Send + Sync {
    /// Reserves calls for a time before their deadline. The error says when they could be made.
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error>;

    /// The error for a request that cannot wait. It says when so many calls are available again.
    fn refusal(&self, account: BudgetAccount, calls: u32) -> Error;
}

/// The answer to a [`ReservationRequest`].
pub enum Reservation {
    /// The calls can be made now.
    Now(CallPermits),
    /// They can be made later.
    Later {
        /// The expected time.
        expected: Instant,
        /// Ends when the calls can be made, or with an error at the deadline.
        granted: BoxFuture<'static, Result<CallPermits, Error>>,
    },
}

impl Reservation {
    /// The expected time of the calls.
    pub fn expected(&self) -> Instant {
        match self {
            Self::Now(_) => Instant::now(),
            Self::Later { expected, .. } => *expected,
        }
    }

    /// Waits for the calls, at most until the deadline.
    pub async fn granted(self) -> Result<CallPermits, Error> {
        match self {
            Self::Now(permits) => Ok(permits),
            Self::Later { granted, .. } => granted.await,
        }
    }
}

/// Issues permits and takes them back.
pub trait PermitPool: Send + Sync {
    /// A permit was used: the call has ended.
    fn spent(&self, account: BudgetAccount);
    /// Permits were not needed.
    fn returned(&self, account: BudgetAccount, calls: u32);
}

/// The right to make one call. It is returned when it is dropped unused.
#[derive(Debug)]
pub struct CallPermit(CallPermits);

/// The right to make some calls. Unused ones are returned when it is dropped.
pub struct CallPermits {
    permit_pool: Arc<dyn PermitPool>,
    account: BudgetAccount,
    calls: u32,
}

impl CallPermits {
    /// `calls` permits that `permit_pool` has reserved on `account`.
    pub fn new(permit_pool: Arc<dyn PermitPool>, account: BudgetAccount, calls: u32) -> Self {
        Self { permit_pool, account, calls }
    }

    /// The number of calls left.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes one permit out.
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
    /// Marks the permit as used. Call it when the exchange has ended: upstream counts a call at
    /// some moment between request and response, and only the end is never too early.
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

#[cfg(test)]
pub mod unlimited {
    use super::*;

    /// An unlimited budget, for tests of what builds on a budget.
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
            Error::Overloaded("there is no budget")
        }
    }

    impl PermitPool for UnlimitedBudget {
        fn spent(&self, _: BudgetAccount) {}
        fn returned(&self, _: BudgetAccount, _: u32) {}
    }
}
