//! Jitter for retries and renewals: random in production, seeded in tests.

use std::sync::Arc;

use parking_lot::Mutex;

/// A shared source of random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct JitterSource(Arc<Mutex<fastrand::Rng>>);

impl JitterSource {
    /// A source with a random seed.
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A source that returns the same numbers every time.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A random number from 0 to 1, without 1.
    pub fn unit(&self) -> f64 {
        self.0.lock().f64()
    }
}
