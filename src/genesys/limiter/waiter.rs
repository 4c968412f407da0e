//! One request that waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::inner::{GrantResult, LimiterInner};
use crate::policy::{CallRefusal, CallRequest, CallRequestId};

/// A request in the queue. Dropping it takes it out of the queue.
pub(super) struct LimiterWaiter {
    inner: Arc<LimiterInner>,
    id: CallRequestId,
    request: CallRequest,
    deadline: Instant,
    receiver: oneshot::Receiver<GrantResult>,
}

impl LimiterWaiter {
    pub(super) fn new(
        inner: Arc<LimiterInner>,
        id: CallRequestId,
        (request, deadline): (CallRequest, Instant),
        receiver: oneshot::Receiver<GrantResult>,
    ) -> Self {
        Self { inner, id, request, deadline, receiver }
    }

    /// The answer, if it has arrived.
    pub(super) fn ready(&mut self) -> Option<GrantResult> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the permits, until the deadline of the request.
    pub(super) async fn answer(mut self) -> GrantResult {
        match tokio::time::timeout_at(self.deadline, &mut self.receiver).await {
            Ok(Ok(grant)) => grant,
            Ok(Err(_)) | Err(_) => self.give_up().await,
        }
    }

    async fn give_up(&mut self) -> GrantResult {
        let CallRequest { account, priority, calls, .. } = self.request;
        let refused = (account, priority, calls);
        let left =
            self.inner.leave(self.id, |policy, now| policy.reject(Some(self.id), refused, now));
        match left {
            Some(refusal) => {
                self.inner.record_refused(&mut self.inner.state());
                Err(refusal)
            }
            // Another thread has just taken the request out of the queue, and sends its answer.
            None => match (&mut self.receiver).await {
                Ok(grant) => grant,
                Err(_) => Err(CallRefusal { retry_after: Duration::ZERO, throttled: false }),
            },
        }
    }
}

impl Drop for LimiterWaiter {
    fn drop(&mut self) {
        self.inner.leave(self.id, |policy, _| policy.cancel(self.id));
    }
}
