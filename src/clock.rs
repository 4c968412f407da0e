//! Time for the policies: moments on the tokio clock, so that paused time moves them.

use tokio::time::Instant;

use crate::policy::Moment;

/// Turns instants into the moments that policies calculate with. Clones share their origin.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    origin: Instant,
}

impl Monotonic {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.origin.elapsed()
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::start()
    }
}
