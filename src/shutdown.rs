//! Going down in two steps: soft (no new work, running work may finish) and hard (end now).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The state of going down, shared by everything that has to notice. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ShutdownSignal {
    soft: CancellationToken,
    ends: Arc<OnceLock<Instant>>,
    tasks: TaskTracker,
}

impl ShutdownSignal {
    /// Begins to drain: running work has `drain` to finish. Further calls change nothing.
    pub fn begin(&self, drain: Duration) {
        self.ends.get_or_init(|| Instant::now() + drain);
        self.tasks.close();
        self.soft.cancel();
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Whether the time of the drain is over.
    pub fn is_over(&self) -> bool {
        self.ends.get().is_some_and(|ends| *ends <= Instant::now())
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until the time of the drain is over; for ever if it never begins.
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

    /// Waits until all tracked work is done, or the time of the drain and `grace` are over.
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
    async fn a_drain_ends_when_work_is_done_or_its_time_is_over() {
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
