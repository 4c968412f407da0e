//! Exponential backoff with full jitter: spreads the retries of many clients over the whole wait.

use std::time::Duration;

/// The waits between the attempts of one call.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Waits up to `base` after the first failure, and doubles the wait up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait after failure number `failures` (1 for the first): the part `unit` of the longest
    /// wait. `unit` is a random number from 0 to 1.
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        self.ceiling(failures).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// The longest wait after failure number `failures`.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<_> = (1..=7).map(|n| BACKOFF.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    proptest! {
        #[test]
        fn a_delay_stays_below_its_ceiling_and_jitter_covers_it(
            failures in 0_u32..1000, unit in 0.0_f64..1.0
        ) {
            let delay = BACKOFF.delay(failures, unit);
            prop_assert!(delay <= BACKOFF.ceiling(failures));
            prop_assert!(BACKOFF.ceiling(failures) <= Duration::from_secs(2));
            prop_assert_eq!(BACKOFF.delay(failures, 0.0), Duration::ZERO);
            prop_assert_eq!(BACKOFF.delay(failures, 1.0), BACKOFF.ceiling(failures));
        }
    }
}
