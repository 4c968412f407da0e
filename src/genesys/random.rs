//! Jitter for retries and renewals: random in production, seeded in tests.

use std::sync::{Arc, Mutex, PoisonError};

/// A shared source of random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct JitterSource(Arc<Mutex<fastrand::Rng>>);

impl JitterSource {
    /// Seeded from the system.
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// The same numbers every time.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A number from 0 up to 1.
    pub fn unit(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}
