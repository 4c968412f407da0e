//! A budget that always has calls.

use std::sync::Arc;

use attribute_gateway::error::Error;
use attribute_gateway::ports::{
    BudgetAccount, CallBudget, CallPermits, PermitPool, Reservation, ReservationRequest,
};

/// Grants every call at once.
#[derive(Clone, Copy, Debug)]
pub struct UnlimitedBudget;

impl CallBudget for UnlimitedBudget {
    fn reserve(&self, request: ReservationRequest) -> Result<Reservation, Error> {
        Ok(Reservation::Now(CallPermits::new(Arc::new(*self), request.account, request.calls)))
    }

    fn refusal(&self, _: BudgetAccount, _: u32) -> Error {
        Error::Overloaded("there is no budget")
    }
}

impl PermitPool for UnlimitedBudget {
    fn spent(&self, _: BudgetAccount) {}
    fn returned(&self, _: BudgetAccount, _: u32) {}
}
