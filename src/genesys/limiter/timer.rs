//! Who is granted calls when a place comes free, and the task that looks at the queue then.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Answer, Core, State};
use crate::policy::Moment;

/// The task that looks at the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// There is none.
    Off,
    /// It sleeps until then, or until it is woken.
    On(Option<Moment>),
}

impl Core {
    /// What can be told to those who wait, and sees to it that the rest is looked at in time. To be
    /// sent without the lock: permits that nobody takes come back at once.
    pub(super) fn settle(
        &self,
        state: &mut State,
        now: Moment,
    ) -> Vec<(oneshot::Sender<Answer>, Answer)> {
        let mut answers = Vec::new();
        if !state.policy.is_idle() {
            while let Some((id, refusal)) = state.policy.turn_away(now) {
                self.meter.rate_refused();
                answers.extend(state.waiters.remove(&id).map(|(_, waiter)| (waiter, Err(refusal))));
            }
            while let Some((id, calls)) = state.policy.grant(now) {
                match state.waiters.remove(&id) {
                    Some((payer, waiter)) => {
                        answers.push((waiter, Ok(self.permits(payer, calls))));
                    }
                    None => state.policy.forsaken(id, calls),
                }
            }
        }
        self.set_timer(state, now);
        answers
    }

    fn set_timer(&self, state: &mut State, now: Moment) {
        if state.policy.is_idle() {
            if state.timer != Timer::Off {
                self.kick.notify_one();
            }
            return;
        }
        let wakes = state.policy.wakes(now);
        match state.timer {
            Timer::Off => {
                state.timer = Timer::On(wakes);
                tokio::spawn(self.this().keep_time());
            }
            Timer::On(set) if wakes.is_some_and(|wakes| set.is_none_or(|set| wakes < set)) => {
                state.timer = Timer::On(wakes);
                self.kick.notify_one();
            }
            Timer::On(_) => {}
        }
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let wakes = {
                let mut state = self.state();
                if state.policy.is_idle() {
                    state.timer = Timer::Off;
                    return;
                }
                let now = self.clock.now();
                let answers = self.settle(&mut state, now);
                let wakes = state.policy.wakes(now);
                state.timer = Timer::On(wakes);
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

/// Tells those who wait. Not under the lock: permits that nobody takes come back at once.
pub(super) fn answer(answers: Vec<(oneshot::Sender<Answer>, Answer)>) {
    for (waiter, answer) in answers {
        // Whoever waits no more gives its permits back by dropping them.
        let _ = waiter.send(answer);
    }
}
