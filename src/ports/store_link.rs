//! Whether the store that replicas share answers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::StoreError;

/// Whether the shared store answers. While it does not, only the heartbeat asks it.
#[derive(Debug)]
pub struct StoreLink {
    state: Mutex<LinkState>,
    changed: Notify,
}

#[derive(Debug)]
struct LinkState {
    fault: Option<StoreError>,
    /// Until then, replicas may have sent values that the store does not know of.
    unproved_until: Option<Instant>,
}

impl StoreLink {
    /// A link that works, or has this fault.
    pub fn new(fault: Option<StoreError>) -> Self {
        let state = LinkState { fault, unproved_until: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Why the store is not used at the moment.
    pub fn fault(&self) -> Option<StoreError> {
        self.state.lock().fault.clone()
    }

    /// Whether the store is used.
    pub fn is_up(&self) -> bool {
        self.state.lock().fault.is_none()
    }

    /// Whether other replicas may have sent values that this one cannot know of.
    pub fn is_unproved(&self) -> bool {
        let state = self.state.lock();
        state.fault.is_some() || state.unproved_until.is_some_and(|until| Instant::now() < until)
    }

    /// The store did not do what it was asked.
    pub fn failed(&self, error: &StoreError) {
        let before = self.state.lock().fault.replace(error.clone());
        if before.is_none() {
            tracing::error!(%error, "the shared store is not used until it answers again");
            self.changed.notify_one();
        }
    }

    /// The store answers. What was sent while it did not is unproved for `outstanding`, and so is
    /// everything if it `has_forgotten`.
    pub fn answered(&self, has_forgotten: bool, outstanding: Duration) {
        let mut state = self.state.lock();
        let was_down = state.fault.take().is_some();
        if was_down || has_forgotten {
            state.unproved_until = Some(Instant::now() + outstanding);
        }
        if was_down {
            tracing::info!("the shared store answers again");
        }
    }

    /// Waits until the store fails.
    pub async fn lost(&self) {
        self.changed.notified().await;
    }
}
