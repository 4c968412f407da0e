//! One request that waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::state::{GrantResult, LimiterInner};
use crate::policy::{CallRefusal, CallRequest, CallRequestId};

/// A request in the queue. Dropping it takes it out of the queue.
pub(super) struct LimiterWaiter {
    pub(super) inner: Arc<LimiterInner>,
    pub(super) id: CallRequestId,
    pub(super) request: CallRequest,
    pub(super) deadline: Instant,
    pub(super) receiver: oneshot::Receiver<GrantResult>,
}

impl LimiterWaiter {
    /// Waits for the permits, until the deadline of the request.
    pub(super) async fn answer(mut self) -> GrantResult {
        if let Ok(Ok(grant)) = tokio::time::timeout_at(self.deadline, &mut self.receiver).await {
            return grant;
        }
        let refusal = self
            .inner
            .leave(self.id, |policy, now| policy.reject(Some(self.id), &self.request, now));
        if let Some(refusal) = refusal {
            self.inner.record_refused(&mut self.inner.state());
            return Err(refusal);
        }
        // Another thread has just taken the request out of the queue, and sends its answer.
        let lost = Err(CallRefusal { retry_after: Duration::ZERO, throttled: false });
        (&mut self.receiver).await.unwrap_or(lost)
    }
}

impl Drop for LimiterWaiter {
    fn drop(&mut self) {
        self.inner.leave(self.id, |policy, _| policy.cancel(self.id));
    }
}
