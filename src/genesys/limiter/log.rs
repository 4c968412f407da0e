//! What the log says about a spent budget: a warning a minute at most, and one line when it is over.

use std::sync::Arc;
use std::time::Duration;

use super::{LimiterInner, LimiterState};
use crate::policy::BudgetSettings;

const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Requests since the last line that the budget could not serve at once.
pub(super) struct SpentLog {
    settings: BudgetSettings,
    is_spent: bool,
    pub(super) refused: u64,
    pub(super) waited: u64,
}

impl SpentLog {
    pub(super) fn new(settings: BudgetSettings) -> Self {
        Self { settings, is_spent: false, refused: 0, waited: 0 }
    }

    fn warn(&mut self) {
        let BudgetSettings { limit, window, .. } = self.settings;
        let (refused, waited) = (self.refused, self.waited);
        tracing::warn!(
            refused,
            waited,
            limit,
            ?window,
            "the call budget is spent: requests wait or are refused"
        );
        (self.refused, self.waited) = (0, 0);
    }
}

impl LimiterInner {
    /// Counts a request that was not served at once.
    pub(super) fn count(&self, state: &mut LimiterState, count: impl FnOnce(&mut SpentLog)) {
        if !self.is_budget {
            return;
        }
        count(&mut state.spent);
        if !state.spent.is_spent {
            state.spent.is_spent = true;
            state.spent.warn();
            tokio::spawn(follow(Arc::downgrade(&self.this())));
        }
    }
}

async fn follow(inner: std::sync::Weak<LimiterInner>) {
    loop {
        tokio::time::sleep(LOG_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut state = inner.state();
        if state.spent.refused + state.spent.waited == 0 {
            state.spent.is_spent = false;
            tracing::info!("the call budget suffices again: no request had to wait for a minute");
            return;
        }
        state.spent.warn();
    }
}
