//! How long Genesys Cloud takes to show a write: measured by read-backs, used to time the next ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::MonotonicClock;
use crate::domain::SettleTime;
use crate::policy::{LagStatistics, MonoTime};

/// The measured lags of all writes.
pub struct LagTracker {
    clock: MonotonicClock,
    statistics: Mutex<LagStatistics>,
    /// The settle time until enough lags were measured.
    unmeasured: Duration,
    measured: watch::Sender<bool>,
    /// One write reads back to measure the first lag; the others wait for its result.
    exploring: AtomicBool,
}

impl LagTracker {
    pub fn new(unmeasured: Duration) -> Self {
        Self {
            clock: MonotonicClock::start(),
            statistics: Mutex::default(),
            unmeasured,
            measured: watch::Sender::new(false),
            exploring: AtomicBool::new(false),
        }
    }

    /// The current time, as the policies count it.
    pub fn now(&self) -> MonoTime {
        self.clock.now()
    }

    /// How long a third value has to stand before it counts as a later one.
    pub fn settle(&self) -> SettleTime {
        let measured = self.statistics.lock().settle(self.clock.now(), self.unmeasured);
        SettleTime { measured, longest: self.unmeasured.max(measured) }
    }

    /// How long the first read-back waits; `None` until a lag was measured.
    pub fn first_wait(&self) -> Option<Duration> {
        self.statistics.lock().first_wait()
    }

    /// Records a lag: how long the write `waited` to be shown, and the `lag` that counts for the
    /// next first read-back.
    pub fn record(&self, waited: Duration, lag: Duration) {
        self.statistics.lock().record(self.clock.now(), waited, lag);
        self.measured.send_if_modified(|known| !std::mem::replace(known, true));
    }

    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.measured.subscribe()
    }
}

/// The one write that measures the first lag.
pub struct LagProbe(Arc<LagTracker>);

impl LagProbe {
    /// `None` if a lag is known, or another write measures it.
    pub fn start(lags: &Arc<LagTracker>) -> Option<Self> {
        let is_known = *lags.measured.borrow();
        let explores = !is_known && !lags.exploring.swap(true, Ordering::Relaxed);
        explores.then(|| Self(Arc::clone(lags)))
    }
}

impl Drop for LagProbe {
    fn drop(&mut self) {
        self.0.exploring.store(false, Ordering::Relaxed);
    }
}
