//! Decisions of the throttle as tables and runs of calls, with given times and random numbers.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NEVER: f64 = 1.0;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Makes a call that ends at once. Returns whether the throttle allowed it.
fn call(
    throttle: &mut AdaptiveThrottle,
    source: u128,
    chance: f64,
    (fails, now): (bool, MonoTime),
) -> bool {
    let Ok(permit) = throttle.ask(Some(source), || chance, now) else {
        return false;
    };
    let result = if fails { CallResult::Failed } else { CallResult::Accepted };
    throttle.record(permit, result, now);
    true
}

/// A throttle whose upstream has just failed for twenty conversations.
fn in_trouble(now: MonoTime) -> AdaptiveThrottle {
    let mut throttle = AdaptiveThrottle::default();
    for source in 0..20 {
        assert!(call(&mut throttle, source, NEVER, (true, now)));
    }
    throttle
}

#[test]
fn a_quarter_of_failures_refuses_nothing_for_any_seed() {
    for seed in 0..40 {
        for (sources, every) in [(1, 300), (1, 20), (5, 150), (200, 20), (200, 2)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut throttle = AdaptiveThrottle::default();
            for number in 0..1500 {
                let now = ms(number * every);
                let fails = random.f64() < 0.25;
                let source = random.u128(0..sources);
                let made = call(&mut throttle, source, random.f64(), (fails, now));
                assert!(made, "seed {seed}, {sources} conversations, call {number}");
            }
        }
    }
}

#[test]
fn one_broken_conversation_affects_no_other_at_any_rate() {
    for broken_every in [2, 10, 100, 1000] {
        for healthy_every in [50, 400, 1500, 7000] {
            let mut throttle = AdaptiveThrottle::default();
            for millis in 0..25_000 {
                if millis % broken_every == 0 {
                    call(&mut throttle, 0, 0.0, (true, ms(millis)));
                }
                if millis % healthy_every == 0 {
                    let made = call(&mut throttle, 1, 0.0, (false, ms(millis)));
                    assert!(made, "every {broken_every} and {healthy_every} ms, at {millis}");
                }
            }
        }
    }
}

#[test]
fn two_broken_conversations_affect_no_other() {
    let mut throttle = AdaptiveThrottle::default();
    for millis in 0..60_000 {
        call(&mut throttle, u128::from(millis % 2), 0.0, (true, ms(millis)));
        if millis % 900 == 0 {
            assert!(call(&mut throttle, 2, 0.0, (false, ms(millis))), "at {millis}");
        }
    }
}

#[test]
fn when_all_calls_fail_one_call_a_second_passes() {
    for (sources, every) in [(1, 5), (1, 100), (2, 50), (3, 100), (500, 2), (500, 100)] {
        let mut throttle = AdaptiveThrottle::default();
        let mut made = Vec::new();
        for number in 0..20_000 / every {
            let (source, now) = (u128::from(number % sources), ms(number * every));
            if call(&mut throttle, source, 0.0, (true, now)) {
                made.push(now);
            }
        }
        let late: Vec<_> = made.into_iter().filter(|at| *at >= 2 * SECOND).collect();
        assert!(late.len() >= 11, "{sources} and {every}: probes continue");
        let apart = late.windows(2).all(|pair| pair[1].checked_sub(pair[0]) >= Some(SECOND));
        assert!(apart, "{sources} and {every}: {late:?}");
    }
}

#[test]
fn calls_that_hang_count_from_when_they_were_made() {
    let mut throttle = AdaptiveThrottle::default();
    let permits: Vec<_> =
        (0..12).map(|source| throttle.ask(Some(source), || NEVER, ms(0)).expect("made")).collect();
    for permit in permits {
        throttle.record(permit, CallResult::Failed, 2 * SECOND);
    }
    assert_eq!(throttle.state(2 * SECOND).throttling, ThrottleLevel::AllButProbes);
}

#[test]
fn a_few_failures_after_a_quiet_minute_do_not_throttle() {
    let mut throttle = AdaptiveThrottle::default();
    assert!(call(&mut throttle, 0, NEVER, (false, ms(0))));
    for number in 0..11 {
        let now = 60 * SECOND + ms(300 * number);
        assert!(call(&mut throttle, u128::from(number), 0.0, (true, now)));
        assert_eq!(throttle.state(now).throttling, ThrottleLevel::Nothing);
    }
    // Old failures are forgotten.
    assert!(call(&mut throttle, 11, 0.0, (true, 600 * SECOND)));
    assert_eq!(throttle.state(600 * SECOND).throttling, ThrottleLevel::Nothing);
}

#[test]
fn the_first_success_drops_the_history_and_service_is_full() {
    let mut throttle = in_trouble(ms(0));
    assert_eq!(throttle.state(ms(0)).throttling, ThrottleLevel::AllButProbes);
    assert!(!call(&mut throttle, 99, 0.0, (false, ms(999))));
    assert!(call(&mut throttle, 99, 0.0, (false, ms(1000))));
    let state = ThrottleState { requests: 1, accepts: 1, throttling: ThrottleLevel::Nothing };
    assert_eq!(throttle.state(ms(1000)), state);
    for source in 0..1000 {
        assert!(call(&mut throttle, source, 0.0, (false, ms(1000))));
    }
}

#[test]
fn a_refusal_has_the_time_of_the_next_probe() {
    let mut throttle = in_trouble(ms(0));
    let refused = |retry_after, is_probing| Err(ThrottleRefusal { retry_after, is_probing });
    assert_eq!(throttle.ask(Some(50), || 0.0, ms(300)), refused(ms(700), false));
    let probe = throttle.ask(Some(50), || 0.0, ms(1000)).expect("a probe");
    assert_eq!(throttle.ask(Some(51), || 0.0, ms(1400)), refused(ms(600), true));
    throttle.record(probe, CallResult::Failed, ms(1500));
    assert_eq!(throttle.ask(Some(51), || 0.0, ms(1500)), refused(ms(500), false));
    assert_eq!(
        throttle.ask(Some(50), || 0.0, ms(1500)),
        refused(ms(1000), false),
        "other conversations probe first"
    );
    assert!(throttle.ask(Some(51), || 0.0, ms(2000)).is_ok());
    assert!(
        throttle.ask(Some(51), || 0.0, ms(9000)).is_ok(),
        "a lost probe does not block the next"
    );
}

#[test]
fn after_an_unknown_result_the_next_call_is_the_probe() {
    let mut throttle = in_trouble(ms(0));
    let probe = throttle.ask(None, || 0.0, ms(1000)).expect("a probe");
    throttle.record(probe, CallResult::Unknown, ms(1200));
    assert_eq!(throttle.state(ms(1200)).throttling, ThrottleLevel::AllButProbes);
    let probe = throttle.ask(None, || 0.0, ms(1200)).expect("the next one");
    throttle.record(probe, CallResult::Accepted, ms(1300));
    assert_eq!(throttle.state(ms(1300)).throttling, ThrottleLevel::Nothing);
}

#[test]
fn between_half_and_all_failing_the_formula_refuses_its_share() {
    // Eight of ten calls fail, each in another conversation.
    let mut throttle = AdaptiveThrottle::default();
    for source in 0..50 {
        call(&mut throttle, source, NEVER, (source % 5 != 0, ms(0)));
    }
    // (50 - 2 * 10) / 51
    assert!(throttle.ask(Some(77), || 0.58, ms(0)).is_err());
    let state = ThrottleState { requests: 51, accepts: 10, throttling: ThrottleLevel::Share };
    assert_eq!(throttle.state(ms(0)), state, "refused calls count, too");
    assert!(throttle.ask(Some(78), || 0.61, ms(0)).is_ok());
    assert!(throttle.ask(Some(78), || 0.0, 10 * SECOND).is_ok(), "ten seconds later");
}

#[test]
fn each_conversation_counts_with_one_call_a_second() {
    let mut throttle = AdaptiveThrottle::default();
    for millis in (0..3000).step_by(100) {
        call(&mut throttle, 0, NEVER, (millis % 300 == 0, ms(millis)));
    }
    let state = throttle.state(ms(2999));
    assert_eq!(state.requests, 3);
}
