//! Who shares the budget of calls and the places for writes: told to both whenever it changes.

use std::sync::Arc;

use crate::app::App;
use crate::domain::Client;
use crate::genesys::Limiter;
use crate::ports::Payer;

/// What callers share.
#[derive(Clone)]
pub struct Shares {
    /// The use cases, with the places for writes.
    pub app: App,
    /// The budget.
    pub limiter: Limiter,
}

impl Shares {
    /// Sees to it that each of these callers has its part, whether it has called yet or not.
    pub fn among(&self, callers: &[Arc<Client>]) {
        let payers: Vec<_> = callers.iter().map(|caller| Payer::from(&**caller)).collect();
        self.limiter.expect(&payers);
        self.app.expect(&payers);
    }
}
