//! What the log says about a spent budget: at most one warning a minute, and one line when it is
//! over.

use std::time::Duration;

use crate::policy::BudgetSettings;

/// The time between two lines.
pub(super) const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Counts requests that the budget could not serve at once, since the last line.
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

    /// Logs the first request of a shortage. Returns `true` for it: call [`Self::is_over`] from then
    /// on, once each [`LOG_INTERVAL`].
    pub(super) fn begin(&mut self) -> bool {
        if self.is_spent {
            return false;
        }
        self.is_spent = true;
        self.warn();
        true
    }

    /// Logs the requests since the last line, or that there were none. Returns whether the shortage
    /// is over.
    pub(super) fn is_over(&mut self) -> bool {
        if self.refused + self.waited > 0 {
            self.warn();
            return false;
        }
        self.is_spent = false;
        tracing::info!("the call budget suffices again: no request had to wait for a minute");
        true
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
