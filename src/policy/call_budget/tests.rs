//! Decisions of the call budget as tables.

mod fairness;
mod properties;
mod simulation;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> MonoTime {
    SECOND * u32::try_from(seconds).expect("small")
}

/// A budget without ceilings, in windows of ten seconds.
fn budget(limit: u64) -> TokenBudget {
    TokenBudget::new(BudgetSettings { limit, window: at(10), ceilings: PriorityCeilings::NONE })
}

fn request(calls: u32, class: PriorityClass) -> CallRequest {
    CallRequest { calls, class, deadline: MonoTime::MAX, account: BudgetAccount::SHARED }
}

fn spend(limit: &mut TokenBudget, calls: u32, now: MonoTime) {
    // Committed calls have no pace.
    let admission = limit.request(request(calls, PriorityClass::Committed), now);
    assert_eq!(admission, CallAdmission::Granted(calls), "at {now:?}");
    (0..calls).for_each(|_| limit.finish_call(now));
}

fn queued(
    limit: &mut TokenBudget,
    request: CallRequest,
    now: MonoTime,
) -> (CallRequestId, MonoTime) {
    match limit.request(request, now) {
        CallAdmission::Queued(id, expected) => (id, expected),
        admission => panic!("{admission:?}"),
    }
}

fn refused(limit: &mut TokenBudget, calls: u32, now: MonoTime) -> CallRefusal {
    let request = CallRequest {
        calls,
        class: PriorityClass::Read,
        deadline: now + SECOND / 1000,
        account: BudgetAccount::SHARED,
    };
    match limit.request(request, now) {
        CallAdmission::Refused(refusal) => refusal,
        admission => panic!("{admission:?}"),
    }
}

#[test]
fn the_limit_is_the_share_of_the_minute_and_at_least_one() {
    let limit = |calls, millis| {
        BudgetSettings::per_minute(calls, Duration::from_millis(millis), PriorityCeilings::NONE)
            .limit
    };
    assert_eq!((limit(300, 60_000), limit(300, 10_000), limit(7, 30_000)), (300, 50, 3));
    assert_eq!((limit(1, 100), limit(u64::MAX, 60_000)), (1, u64::MAX));
    assert_eq!(limit(u64::MAX, 3_600_000), u64::MAX, "the largest number");
}

#[test]
fn a_call_occupies_the_window_until_one_window_after_its_end() {
    let mut limit = budget(2);
    assert_eq!(limit.request(request(2, PriorityClass::Write), at(0)), CallAdmission::Granted(2));
    assert_eq!(limit.room(at(100)), 0, "both calls are in flight");
    limit.finish_call(at(100));
    limit.return_calls(BudgetAccount::SHARED, 1);
    assert_eq!((limit.room(at(100)), limit.room(at(109)), limit.room(at(110))), (1, 1, 2));
}

#[test]
fn three_calls_are_not_starved_by_single_ones() {
    let mut limit = budget(10);
    spend(&mut limit, 10, at(0));
    limit.in_flight = 2; // two calls are still in flight
    let (large, _) = queued(&mut limit, request(10, PriorityClass::Write), at(0));
    let (small, _) = queued(&mut limit, request(1, PriorityClass::Write), at(0));
    assert_eq!(limit.grant(at(10)), None, "eight calls are free, and the first request needs ten");
    limit.return_calls(BudgetAccount::SHARED, 2);
    let granted = limit.grant(at(10)).map(|(id, request)| (id, request.calls));
    assert_eq!((granted, limit.grant(at(10))), (Some((large, 10)), None));
    assert!(limit.cancel(small).is_some());
}

#[test]
fn a_request_past_its_deadline_is_not_granted() {
    let mut limit = budget(1);
    spend(&mut limit, 1, at(0));
    let late = CallRequest {
        calls: 1,
        class: PriorityClass::Read,
        deadline: at(11),
        account: BudgetAccount::SHARED,
    };
    queued(&mut limit, late, at(0));
    assert_eq!((limit.grant(at(11)), limit.is_idle()), (None, true));
    assert!(matches!(limit.request(late, at(11)), CallAdmission::Refused(_)));
}

#[test]
fn at_most_half_of_the_time_left_is_reserved_for_calls() {
    let mut limit = budget(1);
    let start = limit.start(at(0)).expect("open");
    limit.record_answer(start, at(4));
    let soon = CallRequest {
        calls: 1,
        class: PriorityClass::Read,
        deadline: at(5),
        account: BudgetAccount::SHARED,
    };
    assert_eq!(
        limit.request(soon, at(4)),
        CallAdmission::Granted(1),
        "upstream may be faster this time"
    );
    limit.finish_call(at(4));
    let after = |seconds| CallRequest { deadline: at(seconds), ..soon };
    assert!(matches!(limit.clone().request(after(18), at(4)), CallAdmission::Refused(_)));
    assert!(matches!(limit.request(after(19), at(4)), CallAdmission::Queued(..)));
}

#[test]
fn classes_go_in_their_order() {
    let mut limit = budget(10);
    spend(&mut limit, 10, at(0));
    let [_, write, read, committed] = [
        PriorityClass::ReadBack,
        PriorityClass::Write,
        PriorityClass::Read,
        PriorityClass::Committed,
    ]
    .map(|class| queued(&mut limit, request(1, class), at(1)).0);
    assert_eq!(limit.grant(at(9)), None);
    let order: Vec<_> = std::iter::from_fn(|| limit.grant(at(10))).map(|(id, _)| id).collect();
    assert_eq!(&order[..2], [committed, write]);
    assert!(order.len() < 4 || order[2] == read);
}

#[test]
fn each_class_has_its_ceiling() {
    let ceilings = PriorityCeilings { committed: 100, writes: 95, reads: 75, read_backs: 60 };
    for (class, most) in [
        (PriorityClass::ReadBack, 60),
        (PriorityClass::Read, 75),
        (PriorityClass::Write, 95),
        (PriorityClass::Committed, 100),
    ] {
        let mut limit = TokenBudget::new(BudgetSettings { limit: 100, window: at(10), ceilings });
        let mut granted = 0;
        for step in 0..2_000 {
            let now = SECOND * step / 200;
            let deadline = now + SECOND / 1000;
            let admission = limit.request(CallRequest { deadline, ..request(1, class) }, now);
            granted += u32::from(admission == CallAdmission::Granted(1));
            granted += u32::from(limit.grant(now).is_some());
        }
        assert!(granted <= most && granted * 10 >= most * 9, "{granted} of {most}: {class:?}");
    }
}

#[test]
fn after_a_429_calls_stop_and_then_resume_one_by_one() {
    let mut limit = budget(10);
    limit.record_throttle(at(5), at(0));
    assert_eq!((limit.room(at(4)), limit.throttle_left(at(4))), (0, Some(at(1))));
    let ids =
        [1, 2, 1].map(|calls| queued(&mut limit, request(calls, PriorityClass::Write), at(0)).0);
    for (id, opens) in ids.into_iter().zip([5, 6, 8]) {
        let before = at(opens).saturating_sub(SECOND / 10);
        assert_eq!((limit.grant(before), limit.next_wakeup(before)), (None, Some(at(opens))));
        assert_eq!(limit.grant(at(opens)).map(|(id, _)| id), Some(id));
    }
}

#[test]
fn a_request_larger_than_the_window_is_cut_to_fit() {
    let mut limit = budget(3);
    let start = limit.start(at(0)).expect("open");
    spend(&mut limit, 3, at(0));
    let (large, _) = queued(&mut limit, request(3, PriorityClass::Write), at(0));
    let headers = RateLimitHeaders { allowed: Some(2), ..RateLimitHeaders::default() };
    limit.apply_headers(start, headers, at(1));
    assert_eq!(limit.grant(at(1)), None);
    assert_eq!(limit.grant(at(10)).map(|(id, request)| (id, request.calls)), Some((large, 2)));
}

#[test]
fn a_removed_client_has_no_share() {
    let account = |id| simulation::account(id, 3);
    let mut limit = budget(300);
    limit.set_known_clients(&[1, 2, 3].map(account), at(0));
    assert_eq!(limit.clients.weights(), 9);
    limit.set_known_clients(&[1].map(account), at(1));
    limit.room(Duration::from_hours(2));
    assert_eq!(limit.clients.weights(), 3);
}

#[test]
fn a_long_throttle_admits_one_probe_a_minute() {
    let mut limit = budget(10);
    limit.record_throttle(at(181), at(0));
    let refusal = refused(&mut limit, 1, at(1));
    assert_eq!((refusal.retry_after, refusal.throttled), (at(59), true), "the next probe");
    assert_eq!(refused(&mut limit, 1, at(59)).retry_after, at(1));
    assert_eq!(limit.request(request(3, PriorityClass::Write), at(60)), CallAdmission::Granted(3));
    let start = limit.start(at(60)).expect("the probe may start");
    refused(&mut limit, 1, at(61));
    limit.record_answer(start, at(61));
    assert_eq!((limit.throttle_left(at(61)), limit.room(at(61))), (None, 7));
}

#[test]
fn calls_of_others_with_the_same_token_count() {
    let mut limit = budget(10);
    let start = limit.start(at(0)).expect("open");
    spend(&mut limit, 2, at(0));
    let headers = RateLimitHeaders { count: Some(6), allowed: Some(100), reset: Some(at(7)) };
    limit.apply_headers(start, headers, at(0));
    limit.apply_headers(start, headers, at(0));
    assert_eq!(limit.room(at(0)), 4, "reported twice, counted once");
    assert_eq!((limit.room(at(6)), limit.room(at(7)), limit.room(at(10))), (4, 8, 10));
}

#[test]
fn upstreams_limit_lowers_ours_and_never_raises_it() {
    let mut limit = budget(10);
    let start = limit.start(at(0)).expect("open");
    let mut room = |allowed| {
        limit.apply_headers(
            start,
            RateLimitHeaders { allowed, ..RateLimitHeaders::default() },
            at(0),
        );
        limit.room(at(0))
    };
    assert_eq!([room(Some(4)), room(None), room(Some(0))], [4, 4, 4], "no header, no change");
    assert_eq!([room(Some(6)), room(Some(1000))], [6, 10]);
    let absurd =
        RateLimitHeaders { count: Some(u64::MAX), allowed: None, reset: Some(Duration::MAX) };
    limit.apply_headers(start, absurd, at(0));
    assert_eq!((limit.room(at(0)), limit.room(at(20))), (0, 10));
}

#[test]
fn the_credits_can_change_at_any_time() {
    let credits = |held| CreditLease { held, spend: held, can_grow: false };
    let mut limit = budget(10);
    spend(&mut limit, 6, at(0));
    limit.set_credits(credits(4));
    assert_eq!((limit.room(at(1)), limit.room(at(10))), (0, 4));
    limit.set_credits(credits(0));
    let (id, _) = queued(&mut limit, request(1, PriorityClass::Committed), at(10));
    assert_eq!(limit.grant(at(60)), None, "no credits grant nothing");
    limit.set_credits(credits(10));
    assert_eq!(limit.grant(at(60)).map(|(granted, _)| granted), Some(id));
}

#[test]
fn an_unlimited_budget_grants_everything() {
    let settings =
        BudgetSettings::per_minute(u64::MAX, Duration::from_mins(1), PriorityCeilings::NONE);
    let mut limit = TokenBudget::new(settings);
    for step in 0..100_000 {
        let now = Duration::from_millis(step);
        assert_eq!(limit.request(request(3, PriorityClass::Read), now), CallAdmission::Granted(3));
        limit.finish_call(now);
        limit.return_calls(BudgetAccount::SHARED, 2);
    }
}
