//! Grants calls when places come free, and the task that looks at the queue then.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{GrantResult, LimiterInner, LimiterState};
use crate::policy::MonoTime;

/// The task that looks at the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeupTimer {
    /// There is none.
    Off,
    /// It sleeps until then, or until it is woken.
    On(Option<MonoTime>),
}

impl LimiterInner {
    /// The answers to requests that wait; the rest is looked at in time. Send them without the lock:
    /// permits that nobody takes come back at once.
    pub(super) fn settle(
        &self,
        state: &mut LimiterState,
        now: MonoTime,
    ) -> Vec<(oneshot::Sender<GrantResult>, GrantResult)> {
        let mut answers = Vec::new();
        if !state.policy.is_idle() {
            while let Some((id, refusal)) = state.policy.reject_next(now) {
                self.refused(state);
                answers.extend(state.waiters.remove(&id).map(|waiter| (waiter, Err(refusal))));
            }
            while let Some((id, request)) = state.policy.grant(now) {
                match state.waiters.remove(&id) {
                    Some(waiter) => {
                        answers.push((waiter, Ok(self.permits(request.account, request.calls))));
                    }
                    None => state.policy.returned(request.account, request.calls, now),
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
                tokio::spawn(self.this().keep_time());
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

    async fn keep_time(self: Arc<Self>) {
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
                answer(answers);
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
}

/// Answers requests that wait. Not under the lock: permits that nobody takes come back at once.
pub(super) fn answer(answers: Vec<(oneshot::Sender<GrantResult>, GrantResult)>) {
    for (waiter, answer) in answers {
        // Without a receiver the permits go back by being dropped.
        let _ = waiter.send(answer);
    }
}
