//! The limiter under paused time.

use super::*;
use crate::policy::PriorityCeilings;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(limit: u64) -> CallLimiter {
    let settings = BudgetSettings { limit, window: 10 * SECOND, ceilings: PriorityCeilings::NONE };
    CallLimiter::new(settings, Arc::default(), MonotonicClock::start())
}

fn request(calls: u32, class: PriorityClass, within: Duration) -> ReservationRequest {
    ReservationRequest {
        calls,
        class,
        deadline: Instant::now() + within,
        account: BudgetAccount::SHARED,
    }
}

fn spend_all(mut permits: CallPermits) {
    while let Some(permit) = permits.take() {
        permit.spend();
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_granted_at_the_expected_time() {
    let (limiter, start) = (limiter(3), Instant::now());
    spend_all(
        limiter
            .reserve(request(3, PriorityClass::Write, SECOND))
            .expect("free")
            .granted()
            .await
            .expect("granted"),
    );
    tokio::time::sleep(SECOND).await;
    let reservation =
        limiter.reserve(request(2, PriorityClass::Write, 60 * SECOND)).expect("waits");
    assert_eq!(reservation.expected(), start + 10 * SECOND);
    let permits = reservation.granted().await.expect("granted");
    assert_eq!((start.elapsed(), permits.calls()), (10 * SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn a_returned_permit_goes_to_the_next_request_at_once() {
    let (limiter, start) = (limiter(1), Instant::now());
    let held =
        limiter.reserve(request(1, PriorityClass::Read, SECOND)).expect("free").granted().await;
    let waiting = limiter.reserve(request(1, PriorityClass::Read, 60 * SECOND)).expect("waits");
    let waiting = tokio::spawn(waiting.granted());
    tokio::time::sleep(SECOND).await;
    drop(held);
    waiting.await.expect("no panic").expect("granted");
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_reservation_leaves_the_queue() {
    let limiter = limiter(3);
    let held = limiter.reserve(request(2, PriorityClass::Write, SECOND)).expect("free");
    let large = limiter.reserve(request(3, PriorityClass::Write, 60 * SECOND)).expect("waits");
    let small =
        limiter.reserve(request(1, PriorityClass::Write, 60 * SECOND)).expect("waits behind it");
    let start = Instant::now();
    drop(large);
    small.granted().await.expect("granted");
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(held);
    assert_eq!(limiter.room(), 3, "all permits are back");
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_request_learns_when_to_retry() {
    let limiter = limiter(1);
    // The estimate cannot know that this call takes so long.
    let mut held = limiter
        .reserve(request(1, PriorityClass::Read, SECOND))
        .expect("free")
        .granted()
        .await
        .expect("granted");
    let waiting = limiter.reserve(request(1, PriorityClass::Read, 11 * SECOND)).expect("waits");
    let start = Instant::now();
    let refused = waiting.granted().await.expect_err("it never comes");
    assert_eq!(start.elapsed(), 11 * SECOND);
    assert_eq!(refused.retry_after(), Some(10 * SECOND));
    held.take().expect("one").spend();
    tokio::time::sleep(10 * SECOND).await;
    assert!(matches!(
        limiter.reserve(request(1, PriorityClass::Read, SECOND)),
        Ok(Reservation::Now(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn requests_too_late_are_refused_at_once_and_spread() {
    let limiter = limiter(2);
    for _ in 0..2 {
        spend_all(
            limiter
                .reserve(request(1, PriorityClass::Read, SECOND))
                .expect("free")
                .granted()
                .await
                .expect("granted"),
        );
        tokio::time::sleep(SECOND).await;
    }
    let refused = || {
        let refusal = limiter.reserve(request(1, PriorityClass::Read, SECOND));
        refusal.err().expect("used up").retry_after().expect("a time").as_millis().div_ceil(1000)
    };
    assert_eq!([refused(), refused(), refused()], [8, 9, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_long_throttle_also_refuses_waiting_requests() {
    let limiter = limiter(1);
    let held =
        limiter.reserve(request(1, PriorityClass::Read, SECOND)).expect("free").granted().await;
    let waiting = limiter.reserve(request(1, PriorityClass::Read, 60 * SECOND)).expect("waits");
    let start = limiter.start().expect("not throttled");
    let throttled = Some(Duration::from_hours(1));
    let headers = RateLimitHeaders::default();
    let (operation, limit) = (PlatformOperation::Read, "other");
    limiter.feedback(start, &CallFeedback { operation, throttled, limit, headers });
    let refused = waiting.granted().await.expect_err("refused");
    assert_eq!(refused.retry_after(), Some(60 * SECOND), "the next probe");
    assert!(refused.to_string().contains("throttles"));
    assert!(limiter.start().is_none(), "a call granted before may not start either");
    drop(held);
}

#[test]
fn permits_may_outlive_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let limiter = runtime.block_on(async { limiter(1) });
    let held = runtime.block_on(async { limiter.reserve(request(1, PriorityClass::Read, SECOND)) });
    drop(runtime);
    drop(held);
}
