//! One wish that waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Answer, Core};
use crate::policy::{Refusal, WishId};
use crate::ports::Wish;

/// The place of a wish in the queue. Dropping it leaves the queue.
pub(super) struct Waiter {
    core: Arc<Core>,
    id: WishId,
    wish: Wish,
    receiver: oneshot::Receiver<Answer>,
}

impl Waiter {
    pub(super) fn new(
        core: Arc<Core>,
        id: WishId,
        wish: Wish,
        receiver: oneshot::Receiver<Answer>,
    ) -> Self {
        Self { core, id, wish, receiver }
    }

    /// The answer, if it has come.
    pub(super) fn ready(&mut self) -> Option<Answer> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the permits, or for the deadline of the wish.
    pub(super) async fn answer(mut self) -> Answer {
        match tokio::time::timeout_at(self.wish.deadline, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => self.give_up().await,
        }
    }

    async fn give_up(&mut self) -> Answer {
        let left =
            self.core.leave(self.id, |policy, now| policy.give_up(self.id, self.wish.calls, now));
        match left {
            Some(refusal) => {
                self.core.meter.rate_refused();
                Err(refusal)
            }
            // Another thread has taken it out of the queue, and answers in this very moment.
            None => match (&mut self.receiver).await {
                Ok(answer) => answer,
                Err(_) => Err(Refusal { retry_after: Duration::ZERO, throttled: false }),
            },
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.core.leave(self.id, |policy, _| policy.cancel(self.id));
    }
}
