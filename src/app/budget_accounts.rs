//! Which client pays for a call that several clients share: the one that gets the permits first.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::policy::SlotsExhausted;
use crate::ports::{
    BudgetAccount, CallBudget, CallPermit, CallPermits, Reservation, ReservationRequest,
};

/// Permits for further calls, shared by the requests that reserved them together.
#[derive(Clone, Debug, Default)]
pub struct ReservedCalls(Option<Arc<Mutex<CallPermits>>>);

impl ReservedCalls {
    /// Shares these permits.
    pub fn new(permits: CallPermits) -> Self {
        Self((permits.calls() > 0).then(|| Arc::new(Mutex::new(permits))))
    }

    /// Takes a permit out, if one is left.
    pub fn take(&self) -> Option<CallPermit> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reserves calls on the one of `accounts` that gets them first.
pub fn reserve(
    call_budget: &dyn CallBudget,
    reservation_request: ReservationRequest,
    accounts: &[BudgetAccount],
) -> Result<Reservation, Error> {
    let mut best = call_budget.reserve(ReservationRequest {
        account: accounts.first().copied().unwrap_or(reservation_request.account),
        ..reservation_request
    });
    for account in accounts.iter().skip(1) {
        if matches!(best, Ok(Reservation::Now(_))) {
            break;
        }
        let other =
            call_budget.reserve(ReservationRequest { account: *account, ..reservation_request });
        let sooner = match (&other, &best) {
            (Ok(other), Ok(best)) => other.expected() < best.expected(),
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        };
        if sooner {
            best = other;
        }
    }
    best
}

/// Adds an account, unless it is in the list.
pub fn add_account(accounts: &mut Vec<BudgetAccount>, account: BudgetAccount) {
    if !accounts.contains(&account) {
        accounts.push(account);
    }
}

/// The error for a client without a free slot; `which` names the slots.
pub fn slots_exhausted_error(full: SlotsExhausted, which: &'static str) -> Error {
    Error::Overloaded(match full {
        SlotsExhausted::ForAll => which,
        SlotsExhausted::ForThisOne => "for this caller",
    })
}
