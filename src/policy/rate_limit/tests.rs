use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Moment {
    SECOND * u32::try_from(seconds).expect("small")
}

/// A budget without a reserve, in windows of ten seconds.
fn budget(limit: u64) -> RateLimit {
    RateLimit::new(RateSettings { limit, window: at(10), reserve: 0 })
}

fn want(calls: u32, priority: Priority) -> Want {
    Want { calls, priority, deadline: Moment::MAX, payer: Payer::NOBODY }
}

fn spend(limit: &mut RateLimit, calls: u32, now: Moment) {
    let verdict = limit.book(want(calls, Priority::Write), now);
    assert_eq!(verdict, Verdict::Granted(calls), "at {now:?}");
    (0..calls).for_each(|_| limit.spent(Payer::NOBODY, now));
}

fn queued(limit: &mut RateLimit, want: Want, now: Moment) -> (WishId, Moment) {
    match limit.book(want, now) {
        Verdict::Queued(id, expected) => (id, expected),
        verdict => panic!("{verdict:?}"),
    }
}

fn refused(limit: &mut RateLimit, calls: u32, now: Moment) -> Refusal {
    let want = Want {
        calls,
        priority: Priority::Read,
        deadline: now + SECOND / 1000,
        payer: Payer::NOBODY,
    };
    match limit.book(want, now) {
        Verdict::Refused(refusal) => refusal,
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn the_limit_is_the_share_of_the_minute_and_at_least_one() {
    let limit =
        |calls, millis| RateSettings::per_minute(calls, Duration::from_millis(millis), 2).limit;
    assert_eq!((limit(300, 60_000), limit(300, 10_000), limit(7, 30_000)), (300, 50, 3));
    assert_eq!((limit(1, 100), limit(u64::MAX, 60_000)), (1, u64::MAX));
    assert_eq!(limit(u64::MAX, 3_600_000), u64::MAX, "as many as can be counted");
}

#[test]
fn the_reserve_is_rounded_up_and_leaves_something() {
    let room = |limit, reserve| {
        RateLimit::new(RateSettings { limit, window: SECOND, reserve }).room(Moment::ZERO)
    };
    assert_eq!((room(300, 2), room(50, 2), room(50, 0), room(10, 50)), (294, 49, 50, 5));
    assert_eq!((room(1, 2), room(2, 2)), (1, 1));
}

#[test]
fn a_call_occupies_the_window_until_one_window_after_its_end() {
    let mut limit = budget(2);
    assert_eq!(limit.book(want(2, Priority::Write), at(0)), Verdict::Granted(2));
    assert_eq!(limit.room(at(100)), 0, "under way");
    limit.spent(Payer::NOBODY, at(100));
    limit.returned(Payer::NOBODY, 1);
    assert_eq!((limit.room(at(100)), limit.room(at(109)), limit.room(at(110))), (1, 1, 2));
}

#[test]
fn classes_go_in_their_order_and_a_line_in_the_order_of_arrival() {
    let mut limit = budget(10);
    spend(&mut limit, 10, at(0));
    let [extra, write, read, admitted] =
        [Priority::Extra, Priority::Write, Priority::Read, Priority::Admitted]
            .map(|priority| queued(&mut limit, want(1, priority), at(1)).0);
    let second = queued(&mut limit, want(1, Priority::Write), at(1)).0;
    assert_eq!((limit.grant(at(9)), limit.wakes(at(9))), (None, Some(at(10))));
    let order: Vec<_> = std::iter::from_fn(|| limit.grant(at(10))).map(|(id, _)| id).collect();
    assert_eq!(order, [admitted, read, write, second, extra], "a read goes first by its share");
}

#[test]
fn who_has_begun_may_use_the_reserve() {
    let mut limit = RateLimit::new(RateSettings { limit: 10, window: at(10), reserve: 20 });
    spend(&mut limit, 8, at(0));
    let (read, _) = queued(&mut limit, want(1, Priority::Read), at(0));
    let (retry, _) = queued(&mut limit, want(1, Priority::Admitted), at(0));
    assert_eq!((limit.grant(at(0)), limit.grant(at(0))), (Some((retry, 1)), None));
    assert!(limit.cancel(read).is_some() && limit.is_idle());
}

#[test]
fn three_calls_are_not_starved_by_single_ones() {
    let mut limit = budget(10);
    spend(&mut limit, 10, at(0));
    limit.held = 2; // two of them are still under way
    let (large, _) = queued(&mut limit, want(10, Priority::Write), at(0));
    let (small, _) = queued(&mut limit, want(1, Priority::Write), at(0));
    assert_eq!(limit.grant(at(10)), None, "eight places are free, and wait for ten");
    limit.returned(Payer::NOBODY, 2);
    assert_eq!((limit.grant(at(10)), limit.grant(at(10))), (Some((large, 10)), None));
    assert!(limit.cancel(small).is_some());
}

#[test]
fn a_wish_beyond_the_window_gets_what_there_is() {
    let mut limit = budget(2);
    assert_eq!(limit.book(want(3, Priority::Write), at(0)), Verdict::Granted(2));
    let mut limit = budget(1);
    assert_eq!(limit.book(want(3, Priority::Write), at(0)), Verdict::Granted(1));
}

#[test]
fn in_a_small_window_reads_and_writes_take_turns() {
    let mut limit = budget(2);
    spend(&mut limit, 2, at(0));
    let (write, _) = queued(&mut limit, want(3, Priority::Write), at(0));
    let (read, _) = queued(&mut limit, want(1, Priority::Read), at(0));
    assert_eq!(limit.grant(at(10)), Some((write, 2)));
    assert_eq!(limit.grant(at(10)), None);
    limit.returned(Payer::NOBODY, 2);
    assert_eq!(limit.grant(at(10)), Some((read, 1)));
}

#[test]
fn what_is_of_no_use_any_more_is_not_granted() {
    let mut limit = budget(1);
    spend(&mut limit, 1, at(0));
    let late = Want { calls: 1, priority: Priority::Read, deadline: at(11), payer: Payer::NOBODY };
    queued(&mut limit, late, at(0));
    assert_eq!((limit.grant(at(11)), limit.is_idle()), (None, true));
    assert!(matches!(limit.book(late, at(11)), Verdict::Refused(_)));
}

#[test]
fn far_places_recur_with_the_window() {
    let mut limit = budget(3);
    for second in 0..3 {
        spend(&mut limit, 1, at(second));
    }
    let waits: Vec<_> =
        (0..7).map(|_| refused(&mut limit, 1, at(5)).retry_after.as_secs()).collect();
    assert_eq!(waits, [5, 6, 7, 15, 16, 17, 25]);
    // The first has not come back in time: nobody has to wait for it.
    spend(&mut limit, 1, at(11));
}

#[test]
fn half_of_the_time_left_at_most_is_kept_for_the_calls_themselves() {
    let mut limit = budget(1);
    let start = limit.start(at(0)).expect("open");
    limit.answered(start, at(4));
    let soon = Want { calls: 1, priority: Priority::Read, deadline: at(5), payer: Payer::NOBODY };
    assert_eq!(limit.book(soon, at(4)), Verdict::Granted(1), "upstream may be faster this time");
    limit.spent(Payer::NOBODY, at(4));
    let after = |seconds| Want { deadline: at(seconds), ..soon };
    assert!(matches!(limit.book(after(18), at(4)), Verdict::Refused(_)));
    assert!(matches!(limit.book(after(19), at(4)), Verdict::Queued(..)));
}

#[test]
fn after_a_429_nobody_goes_and_then_one_by_one() {
    let mut limit = budget(10);
    limit.throttled(at(5), at(0));
    assert_eq!((limit.room(at(4)), limit.throttle_left(at(4))), (0, Some(at(1))));
    let wishes = [1, 3, 1].map(|calls| queued(&mut limit, want(calls, Priority::Write), at(0)));
    assert_eq!(wishes.map(|(_, expected)| expected), [at(5), at(6), at(9)]);
    for (id, expected) in wishes {
        let before = expected.saturating_sub(SECOND / 10);
        assert_eq!((limit.grant(before), limit.wakes(before)), (None, Some(expected)));
        assert_eq!(limit.grant(expected).map(|(id, _)| id), Some(id));
    }
    assert_eq!(refused(&mut limit, 1, at(9)).retry_after, at(1), "the next in the pace");
    assert_eq!(limit.book(want(5, Priority::Write), at(15)), Verdict::Granted(5), "one window on");
}

#[test]
fn a_long_throttle_refuses_all_but_one_wish_a_minute() {
    let mut limit = budget(10);
    limit.throttled(at(181), at(0));
    let told = refused(&mut limit, 1, at(1));
    assert_eq!((told.retry_after, told.throttled), (at(180), true));
    assert_eq!(refused(&mut limit, 1, at(59)).retry_after, at(123), "one gap after the first");
    assert_eq!(limit.book(want(3, Priority::Write), at(60)), Verdict::Granted(3));
    let start = limit.start(at(60)).expect("it was let through");
    refused(&mut limit, 1, at(61));
    limit.answered(start, at(61));
    assert_eq!((limit.throttle_left(at(61)), limit.room(at(61))), (None, 7));
}

#[test]
fn calls_of_others_with_the_same_token_count() {
    let mut limit = budget(10);
    let start = limit.start(at(0)).expect("open");
    spend(&mut limit, 2, at(0));
    let told = Told { count: Some(6), allowed: Some(100), reset: Some(at(7)) };
    limit.corrected(start, told, at(0));
    limit.corrected(start, told, at(0));
    assert_eq!(limit.room(at(0)), 4, "told twice, counted once");
    assert_eq!((limit.room(at(6)), limit.room(at(7)), limit.room(at(10))), (4, 8, 10));
}

#[test]
fn what_upstream_grants_lowers_the_limit_and_never_raises_it() {
    let mut limit = budget(10);
    let start = limit.start(at(0)).expect("open");
    let mut room = |allowed| {
        limit.corrected(start, Told { allowed, ..Told::default() }, at(0));
        limit.room(at(0))
    };
    assert_eq!([room(Some(4)), room(None), room(Some(0))], [4, 4, 4], "no header, no change");
    assert_eq!([room(Some(6)), room(Some(1000))], [6, 10]);
    let absurd = Told { count: Some(u64::MAX), allowed: None, reset: Some(Duration::MAX) };
    limit.corrected(start, absurd, at(0));
    assert_eq!((limit.room(at(0)), limit.room(at(20))), (0, 10));
}

#[test]
fn a_wish_that_the_window_cannot_hold_any_more_wakes_in_time_for_what_it_can() {
    let mut limit = budget(3);
    let start = limit.start(at(0)).expect("open");
    spend(&mut limit, 3, at(0));
    let (large, _) = queued(&mut limit, want(3, Priority::Write), at(0));
    limit.corrected(start, Told { allowed: Some(2), ..Told::default() }, at(1));
    assert_eq!((limit.grant(at(1)), limit.wakes(at(1))), (None, Some(at(10))));
    assert_eq!(limit.grant(at(10)), Some((large, 2)));
}

#[test]
fn a_limit_without_bound_costs_nothing() {
    let settings = RateSettings::per_minute(u64::MAX, Duration::from_mins(1), 2);
    let mut limit = RateLimit::new(settings);
    for step in 0..100_000 {
        let now = Duration::from_millis(step);
        assert_eq!(limit.book(want(3, Priority::Read), now), Verdict::Granted(3));
        limit.spent(Payer::NOBODY, now);
        limit.returned(Payer::NOBODY, 2);
    }
    limit.throttled(at(5), at(100));
    let wishes = [(); 3].map(|()| queued(&mut limit, want(3, Priority::Write), at(100)).1);
    assert!(wishes.iter().all(|expected| expected.abs_diff(at(105)) < Duration::from_micros(1)));
}
