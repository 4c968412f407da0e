//! The rate limit of one client: a number of requests a minute, of which a tenth may come at once.

use std::num::NonZeroU32;
use std::time::Duration;

use super::MonoTime;

const MINUTE_NANOS: u64 = 60_000_000_000;

/// One part in ten of the requests of a minute may come at once.
const BURST_ONE_IN: u32 = 10;

/// A rate limiter (GCRA). Each request moves the time at which the next one is due. A request that
/// comes too far ahead of that time is refused, and does not count.
#[derive(Clone, Debug)]
pub struct ClientRateLimiter {
    per_minute: NonZeroU32,
    /// When the next request is due, if all requests come evenly spaced.
    due: MonoTime,
    /// The earliest time at which the next refused request may return.
    next_return: MonoTime,
}

impl ClientRateLimiter {
    /// An unused limiter for this many requests a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { per_minute, due: MonoTime::ZERO, next_return: MonoTime::ZERO }
    }

    /// The same state with another rate.
    #[must_use]
    pub fn per_minute(&self, per_minute: NonZeroU32) -> Self {
        Self { per_minute, due: self.due, next_return: self.next_return }
    }

    /// Admits a request now.
    ///
    /// # Errors
    /// The time after which the request will be admitted, at most a minute. Refused requests get
    /// different times, one interval apart, so that all are admitted when they return.
    pub fn admit(&mut self, now: MonoTime) -> Result<(), Duration> {
        let due = self.due.max(now);
        let ahead = due.saturating_sub(now).saturating_sub(self.slack());
        if ahead > Duration::ZERO {
            let earliest = now + ahead;
            let returns = self.next_return.max(earliest);
            let is_far = returns > earliest.max(now + Duration::from_nanos(MINUTE_NANOS));
            let returns = if is_far { earliest } else { returns };
            self.next_return = returns + self.interval();
            return Err(returns.saturating_sub(now));
        }
        self.due = due + self.interval();
        Ok(())
    }

    /// Rounded up, so that the rate is never exceeded.
    fn interval(&self) -> Duration {
        Duration::from_nanos(MINUTE_NANOS.div_ceil(self.per_minute.get().into()))
    }

    /// How far ahead of its due time a request may come.
    fn slack(&self) -> Duration {
        self.interval() * (self.per_minute.get() / BURST_ONE_IN).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_minute: u32) -> ClientRateLimiter {
        ClientRateLimiter::new(NonZeroU32::new(per_minute).expect("not zero"))
    }

    fn at_once(rate: &mut ClientRateLimiter, now: MonoTime) -> usize {
        (0..1000).take_while(|_| rate.admit(now).is_ok()).count()
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_tenth_of_the_minute_comes_at_once_and_the_rest_evenly() {
        let mut rate = rate(600);
        let start = ms(5_000);
        assert_eq!(at_once(&mut rate, start), 60);
        // The first refused request returns after 100 ms, and each further one 100 ms later.
        assert_eq!(rate.admit(start), Err(ms(200)));
        assert_eq!(rate.admit(start + ms(99)), Err(ms(201)));
        assert_eq!(rate.admit(start + ms(100)), Ok(()));
        assert_eq!(at_once(&mut rate, start + ms(2_100)), 20);
        assert_eq!(at_once(&mut rate, start + ms(600_000)), 60, "the burst stays at a tenth");
    }

    #[test]
    fn a_low_rate_admits_one_request_at_a_time() {
        let mut rate = rate(6);
        assert_eq!(at_once(&mut rate, ms(0)), 1);
        assert_eq!(rate.admit(ms(1)), Err(ms(19_999)), "after the previously refused request");
        assert_eq!(at_once(&mut rate, ms(10_000)), 1);
    }

    #[test]
    fn refused_requests_are_admitted_when_they_return() {
        let mut rate = rate(60);
        let mut returning: Vec<_> =
            (0..66).filter_map(|_| rate.admit(ms(0)).err()).map(|wait| wait.as_secs()).collect();
        assert_eq!(returning, (1..=60).collect::<Vec<_>>());
        returning.retain(|second| rate.admit(Duration::from_secs(*second)).is_err());
        assert!(returning.is_empty(), "{returning:?}");
        // Beyond a minute the times start again.
        let waits: Vec<_> = (0..200).filter_map(|_| rate.admit(ms(60_000)).err()).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_mins(1)));
    }

    #[test]
    fn requests_still_count_after_a_change_of_the_rate() {
        let mut slow = rate(60);
        assert_eq!(at_once(&mut slow, ms(0)), 6);
        let mut fast = slow.per_minute(NonZeroU32::new(600).expect("not zero"));
        assert_eq!(at_once(&mut fast, ms(0)), 0, "six seconds ahead, which is the burst");
        assert_eq!(at_once(&mut fast, ms(1_000)), 10);
    }

    proptest! {
        #[test]
        fn any_minute_allows_the_rate_and_a_tenth_and_waits_hold(
            per_minute in 1_u32..2_000, steps in proptest::collection::vec(0_u64..3_000, 1..200),
        ) {
            let mut rate = rate(per_minute);
            let (mut now, mut made) = (MonoTime::ZERO, Vec::new());
            for step in steps {
                now += ms(step);
                match rate.clone().admit(now) {
                    Ok(()) => made.push(now),
                    Err(wait) => {
                        prop_assert!(rate.clone().admit(now + wait).is_ok());
                        prop_assert!(wait <= Duration::from_mins(1));
                    }
                }
                let _ = rate.admit(now);
                let minute = Duration::from_mins(1);
                let within = made.iter().filter(|at| now.saturating_sub(minute) < **at).count();
                let most = (per_minute + (per_minute / BURST_ONE_IN).max(1)) as usize;
                prop_assert!(within <= most, "{within} of {per_minute}");
            }
        }
    }
}
