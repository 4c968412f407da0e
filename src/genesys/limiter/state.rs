//! The lock around [`TokenBudget`], the requests that wait, and the task that grants them in time.
//!
//! The lock is never held across an await. The task runs while a request waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::clock::MonotonicClock;
use crate::policy::{
    BudgetAccount, BudgetSettings, CallRefusal, CallRequestId, MonoTime, TokenBudget,
};
use crate::ports::{CallPermits, MetricsRecorder, PermitPool};

/// The minimum time between two warnings that the budget is spent.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The final answer to a request that waits.
pub(super) type GrantResult = Result<CallPermits, CallRefusal>;

/// An answer, and where to send it.
type PendingAnswer = (oneshot::Sender<GrantResult>, GrantResult);

pub(super) struct LimiterInner {
    /// Permits hold this, and come back to it.
    this: Weak<Self>,
    state: Mutex<LimiterState>,
    /// Wakes the task when a request can be granted sooner than planned.
    kick: Notify,
    /// Tells that a request waits, or that upstream throttles.
    pub(super) shortage: Notify,
    pub(super) clock: MonotonicClock,
    pub(super) recorder: Arc<MetricsRecorder>,
    /// `false` for a lane, which is neither logged nor counted.
    pub(super) is_budget: bool,
}

pub(super) struct LimiterState {
    pub(super) policy: TokenBudget,
    pub(super) waiters: HashMap<CallRequestId, oneshot::Sender<GrantResult>>,
    wakeup: WakeupTimer,
    shortage: BudgetShortage,
}

/// Requests that the budget could not serve at once, since the last warning.
#[derive(Default)]
struct BudgetShortage {
    refused: u64,
    waited: u64,
    next_warning: MonoTime,
}

/// The task that grants requests in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WakeupTimer {
    /// It does not run.
    Off,
    /// It sleeps until this moment, or until it is woken.
    On(Option<MonoTime>),
}

impl LimiterInner {
    pub(super) fn new(
        settings: BudgetSettings,
        recorder: Arc<MetricsRecorder>,
        clock: MonotonicClock,
        is_budget: bool,
    ) -> Arc<Self> {
        let state = LimiterState {
            policy: TokenBudget::new(settings),
            waiters: HashMap::new(),
            wakeup: WakeupTimer::Off,
            shortage: BudgetShortage::default(),
        };
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            state: Mutex::new(state),
            kick: Notify::new(),
            shortage: Notify::new(),
            clock,
            recorder,
            is_budget,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("`&self` comes from a living `Arc`")
    }

    pub(super) fn permits(&self, account: BudgetAccount, calls: u32) -> CallPermits {
        CallPermits::new(self.this(), account, calls)
    }

    /// Applies a change, then grants what it makes possible.
    pub(super) fn act<T>(&self, change: impl FnOnce(&mut TokenBudget, MonoTime) -> T) -> T {
        let mut state = self.state();
        let now = self.clock.now();
        let result = change(&mut state.policy, now);
        let answers = self.settle(&mut state, now);
        drop(state);
        send_answers(answers);
        result
    }

    /// Applies a change to a request that still waits for its answer. `None` if the answer is on its
    /// way.
    pub(super) fn leave<T>(
        &self,
        id: CallRequestId,
        change: impl FnOnce(&mut TokenBudget, MonoTime) -> T,
    ) -> Option<T> {
        self.state().waiters.remove(&id)?;
        Some(self.act(change))
    }

    /// Collects the answers that are due, and plans the next wake-up. Send the answers after the lock
    /// is released: permits without a receiver come back at once, and need the lock.
    pub(super) fn settle(&self, state: &mut LimiterState, now: MonoTime) -> Vec<PendingAnswer> {
        let mut answers = Vec::new();
        if !state.policy.is_idle() {
            while let Some((id, refusal)) = state.policy.reject_next(now) {
                self.record_refused(state);
                answers.extend(state.waiters.remove(&id).map(|waiter| (waiter, Err(refusal))));
            }
            while let Some((id, request)) = state.policy.grant(now) {
                match state.waiters.remove(&id) {
                    Some(waiter) => {
                        answers.push((waiter, Ok(self.permits(request.account, request.calls))));
                    }
                    None => state.policy.return_calls(request.account, request.calls),
                }
            }
        }
        self.set_wakeup(state, now);
        answers
    }

    fn set_wakeup(&self, state: &mut LimiterState, now: MonoTime) {
        if state.policy.is_idle() {
            if state.wakeup != WakeupTimer::Off {
                self.kick.notify_one();
            }
            return;
        }
        let wakes = state.policy.next_wakeup(now);
        match state.wakeup {
            WakeupTimer::Off => {
                state.wakeup = WakeupTimer::On(wakes);
                tokio::spawn(self.this().run_wakeups());
            }
            WakeupTimer::On(set)
                if wakes.is_some_and(|wakes| set.is_none_or(|set| wakes < set)) =>
            {
                state.wakeup = WakeupTimer::On(wakes);
                self.kick.notify_one();
            }
            WakeupTimer::On(_) => {}
        }
    }

    async fn run_wakeups(self: Arc<Self>) {
        loop {
            let wakes = {
                let mut state = self.state();
                if state.policy.is_idle() {
                    state.wakeup = WakeupTimer::Off;
                    return;
                }
                let now = self.clock.now();
                let answers = self.settle(&mut state, now);
                let wakes = state.policy.next_wakeup(now);
                state.wakeup = WakeupTimer::On(wakes);
                drop(state);
                send_answers(answers);
                wakes
            };
            let kicked = self.kick.notified();
            match wakes {
                Some(wakes) => {
                    let _ = tokio::time::timeout_at(self.clock.instant(wakes), kicked).await;
                }
                None => kicked.await,
            }
        }
    }

    pub(super) fn record_refused(&self, state: &mut LimiterState) {
        self.recorder.budget.refused.inc();
        state.shortage.refused += 1;
        self.warn(state);
    }

    pub(super) fn record_waited(&self, state: &mut LimiterState) {
        state.shortage.waited += 1;
        self.warn(state);
    }

    /// Logs that the budget is spent, at most once a minute.
    fn warn(&self, state: &mut LimiterState) {
        let now = self.clock.now();
        let BudgetShortage { refused, waited, next_warning } = state.shortage;
        if self.is_budget && now >= next_warning {
            tracing::warn!(
                refused,
                waited,
                "the call budget is spent: requests wait or are refused"
            );
            state.shortage =
                BudgetShortage { next_warning: now + LOG_INTERVAL, ..BudgetShortage::default() };
        }
    }
}

/// Send answers without the lock: permits without a receiver come back at once, and need it.
pub(super) fn send_answers(answers: Vec<PendingAnswer>) {
    for (waiter, answer) in answers {
        // Without a receiver, dropping the permits gives them back.
        let _ = waiter.send(answer);
    }
}

impl PermitPool for LimiterInner {
    fn spent(&self, account: BudgetAccount) {
        if self.is_budget {
            self.recorder.budget.paid(account);
        }
        self.act(TokenBudget::finish_call);
    }

    fn returned(&self, account: BudgetAccount, calls: u32) {
        self.act(|policy, _| policy.return_calls(account, calls));
    }
}
