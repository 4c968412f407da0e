//! One wish that waits.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Answer, Core};
use crate::policy::WishId;
use crate::ports::{Permits, Wish};

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

    /// The permits, if they have come.
    pub(super) fn ready(&mut self) -> Option<Permits> {
        self.receiver.try_recv().ok()?.ok()
    }

    /// Waits for the permits, or for the deadline of the wish.
    pub(super) async fn answer(mut self) -> Answer {
        match tokio::time::timeout_at(self.wish.deadline, &mut self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => self.give_up(),
        }
    }

    fn give_up(&mut self) -> Answer {
        let left =
            self.core.leave(self.id, |policy, now| policy.give_up(self.id, self.wish.calls, now));
        match left {
            Some(refusal) => {
                self.core.meter.rate_refused();
                Err(refusal)
            }
            // It has left the queue already: the answer came in the very moment.
            None => self.receiver.try_recv().expect("who leaves the queue is answered"),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.core.leave(self.id, |policy, _| policy.cancel(self.id));
    }
}
