//! Stand-ins for unit tests: a meter that counts nothing, an upstream that never answers.

use std::sync::Arc;
use std::time::Duration;

use super::{App, AppParts, AppSettings};
use crate::domain::{Conversation, Limits, ListPage, Outcome};
use crate::error::Error;
use crate::policy::Backoff;
use crate::ports::{
    Answer, BoxFuture, BreakerState, CallFailure, Conversations, Cycle, FindCall, Meter, Operation,
    PatchCall, ReadCall, Unlimited,
};
use crate::shutdown::Shutdown;

/// Counts nothing.
pub struct NoMeter;

impl Meter for NoMeter {
    fn attempt(&self, _: Operation, _: Answer, _: Duration) {}
    fn call(&self, _: Operation, _: Answer, _: Duration) {}
    fn retry(&self, _: Operation) {}
    fn retry_refused(&self, _: Operation) {}
    fn throttled(&self, _: Operation) {}
    fn rate_refused(&self) {}
    fn rate_window(&self, _: u64, _: bool) {}
    fn breaker(&self, _: &'static str, _: BreakerState) {}
    fn outcome(&self, _: Outcome) {}
    fn visibility_lag(&self, _: Duration) {}
    fn read_backs(&self, _: u32) {}
    fn repair(&self) {}
    fn writes_waiting(&self, _: i64) {}
    fn waited(&self, _: Duration) {}
    fn batch(&self, _: usize) {}
    fn write_calls(&self, _: u32) {}
    fn remembered(&self, _: usize, _: usize) {}
    fn writes_in_flight(&self, _: usize) {}
    fn participants_held(&self, _: usize) {}
}

/// Never answers.
struct Silence;

impl Conversations for Silence {
    fn reads_participants_singly(&self) -> bool {
        false
    }

    fn read<'a>(&'a self, _: ReadCall, _: &'a Cycle) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(std::future::pending())
    }

    fn find<'a>(&'a self, _: FindCall<'a>, _: &'a Cycle) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(std::future::pending())
    }

    fn patch<'a>(&'a self, _: PatchCall, _: &'a Cycle) -> BoxFuture<'a, Result<(), CallFailure>> {
        Box::pin(std::future::pending())
    }
}

/// Settings as they are by default.
pub fn settings() -> AppSettings {
    AppSettings {
        limits: Limits { total_bytes: 10_240 },
        patch_full: false,
        max_reads: 12,
        settle: Duration::from_secs(1),
        outstanding: Duration::from_secs(30),
        conflict_retries: 3,
        survival_watch: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        warm_for: Duration::from_secs(10),
        memory: 8 * 1024 * 1024,
        max_age: Duration::ZERO,
        waiting: 4096,
        waiting_per_participant: 256,
    }
}

impl App {
    /// An application for tests of requests that never reach it.
    pub(crate) fn for_tests() -> Self {
        Self::new(AppParts {
            conversations: Arc::new(Silence),
            pacing: Arc::new(Unlimited),
            meter: Arc::new(NoMeter),
            settings: settings(),
            shutdown: Shutdown::default(),
            random: Box::new(|| 0.5),
        })
    }
}
