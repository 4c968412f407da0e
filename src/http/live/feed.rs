//! Sends the state of the gateway to its viewers, once a second while there are any.
//!
//! Nothing waits for a viewer: each has a short queue, and a viewer whose queue is full is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use super::status::{LiveOperation, LiveStatus};
use crate::error::Error;

/// Most viewers at a time.
const MAX_VIEWERS: usize = 64;

/// Most events that a viewer may leave unread.
const MAX_UNREAD: usize = 16;

/// Most operations in an event.
const MAX_OPERATIONS: usize = 20;

/// Time between two events.
const INTERVAL: Duration = Duration::from_secs(1);

/// The feed. Cheap to clone.
#[derive(Clone)]
pub struct LiveFeed(Arc<FeedInner>);

struct FeedInner {
    /// Reports the present state, without operations.
    source: Box<dyn Fn() -> LiveStatus + Send + Sync>,
    operations: Mutex<VecDeque<LiveOperation>>,
    viewers: Mutex<Viewers>,
}

#[derive(Default)]
struct Viewers {
    senders: Vec<Sender<Arc<str>>>,
    /// Whether a task sends events.
    is_running: bool,
    is_closed: bool,
}

impl LiveFeed {
    /// A feed of this source, without viewers.
    pub fn new(source: impl Fn() -> LiveStatus + Send + Sync + 'static) -> Self {
        let (operations, viewers) = (Mutex::default(), Mutex::default());
        Self(Arc::new(FeedInner { source: Box::new(source), operations, viewers }))
    }

    /// Adds an operation to those that are shown.
    pub fn record(&self, operation: LiveOperation) {
        let mut operations = self.0.operations.lock();
        if operations.len() == MAX_OPERATIONS {
            operations.pop_back();
        }
        operations.push_front(operation);
    }

    /// Adds a viewer. Its first event is there at once.
    ///
    /// # Errors
    /// If there are too many viewers, or the gateway drains.
    pub fn join(&self) -> Result<Receiver<Arc<str>>, Error> {
        let (sender, receiver) = channel(MAX_UNREAD);
        // A new queue has room.
        let _ = sender.try_send(self.frame());
        let mut viewers = self.0.viewers.lock();
        if viewers.is_closed {
            return Err(Error::ShuttingDown);
        }
        viewers.senders.retain(|viewer| !viewer.is_closed());
        if viewers.senders.len() >= MAX_VIEWERS {
            return Err(Error::Overloaded("on the live view"));
        }
        viewers.senders.push(sender);
        if !std::mem::replace(&mut viewers.is_running, true) {
            tokio::spawn(self.clone().send_events());
        }
        Ok(receiver)
    }

    /// How many viewers there are.
    pub fn viewers(&self) -> usize {
        self.0.viewers.lock().senders.iter().filter(|viewer| !viewer.is_closed()).count()
    }

    /// Ends all streams, and accepts no more viewers.
    pub fn close(&self) {
        let mut viewers = self.0.viewers.lock();
        viewers.is_closed = true;
        viewers.senders.clear();
    }

    /// Runs until there are no viewers.
    async fn send_events(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is immediate, and each viewer has its first event.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let frame = self.frame();
            let mut viewers = self.0.viewers.lock();
            viewers.senders.retain(|viewer| viewer.try_send(Arc::clone(&frame)).is_ok());
            if viewers.senders.is_empty() {
                viewers.is_running = false;
                return;
            }
        }
    }

    fn frame(&self) -> Arc<str> {
        let mut status = (self.0.source)();
        status.operations = self.0.operations.lock().iter().cloned().collect();
        // Serialisation cannot fail: the status holds only strings, numbers and lists.
        serde_json::to_string(&status).unwrap_or_default().into()
    }
}
