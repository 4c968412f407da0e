//! The shutdown signal: first a drain, in which running work may finish, then the end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The state of the shutdown, shared by all parts of the service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ShutdownSignal {
    draining: CancellationToken,
    ends: Arc<OnceLock<Instant>>,
    tasks: TaskTracker,
}

impl ShutdownSignal {
    /// Begins the drain, which lasts `drain` at most. Further calls have no effect.
    pub fn begin(&self, drain: Duration) {
        self.ends.get_or_init(|| Instant::now() + drain);
        self.tasks.close();
        self.draining.cancel();
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether the time limit of the drain has passed.
    pub fn is_over(&self) -> bool {
        self.ends.get().is_some_and(|ends| *ends <= Instant::now())
    }

    /// Waits until the drain begins.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits until the time limit of the drain has passed; forever if no drain begins.
    pub async fn drain_over(&self) {
        self.draining().await;
        if let Some(ends) = self.ends.get() {
            tokio::time::sleep_until(*ends).await;
        }
    }

    /// Tracks the work that a drain waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Waits until all tracked work is done, or until `grace` after the time limit of the drain.
    pub async fn finished(&self, grace: Duration) {
        tokio::select! {
            () = self.tasks.wait() => {}
            () = async { self.drain_over().await; tokio::time::sleep(grace).await } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_work_or_at_its_limit() {
        let shutdown = ShutdownSignal::default();
        let start = Instant::now();
        shutdown.tasks().spawn(tokio::time::sleep(Duration::from_secs(3)));
        shutdown.begin(Duration::from_secs(10));
        assert!(shutdown.is_draining());
        shutdown.finished(Duration::from_secs(1)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));

        let shutdown = ShutdownSignal::default();
        shutdown.tasks().spawn(std::future::pending::<()>());
        shutdown.begin(Duration::from_secs(10));
        shutdown.begin(Duration::from_secs(100));
        shutdown.finished(Duration::from_secs(1)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(14));
    }
}
