//! What holds under any load.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

fn ms(millis: u64) -> Moment {
    Duration::from_millis(millis)
}

fn budget(limit: u64) -> RateLimit {
    RateLimit::new(RateSettings { limit, window: WINDOW, reserve: 0 })
}

/// Of a call: the part of its way, in percent, at which upstream counts it, how many milliseconds it
/// takes, and whether it is given back instead of made.
type Way = (u64, u64, bool);

/// A wish: milliseconds since the one before, calls, class, milliseconds until its deadline.
type Step = (u64, u32, u8, u64, Vec<Way>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = (0_u64..=100, 0_u64..4000, prop::bool::weighted(0.15));
    let step = (0_u64..1500, 1_u32..=3, 0_u8..4, 1_u64..60_000, prop::collection::vec(call, 3));
    prop::collection::vec(step, 1..150)
}

/// Plays a load through, every grant at the moment at which it is possible.
struct Play {
    limit: RateLimit,
    /// Calls under way: when they end, when upstream counts them, and whether they are made.
    flying: Vec<(Moment, Moment, bool)>,
    waiting: BTreeMap<WishId, (Want, Vec<Way>)>,
    /// When upstream counted a call.
    counted: Vec<Moment>,
}

impl Play {
    fn new(limit: RateLimit) -> Self {
        Self { limit, flying: Vec::new(), waiting: BTreeMap::new(), counted: Vec::new() }
    }

    fn run(mut self, steps: Vec<Step>) -> Vec<Moment> {
        let mut now = Moment::ZERO;
        for (gap, calls, class, patience, ways) in steps {
            let next = now + ms(gap);
            self.until(now, next);
            now = next;
            let priority = Priority::ALL[usize::from(class)];
            let want = Want { calls, priority, deadline: now + ms(patience), payer: Payer::NOBODY };
            match self.limit.book(want, now) {
                Verdict::Granted(granted) => self.fly(granted, &ways, now),
                Verdict::Queued(id, _) => drop(self.waiting.insert(id, (want, ways))),
                Verdict::Refused(_) => {}
            }
            self.grant(now);
        }
        self.until(now, now + WINDOW * 100);
        self.counted.sort_unstable();
        self.counted
    }

    fn fly(&mut self, granted: u32, ways: &[Way], now: Moment) {
        for (part, took, returned) in &ways[..granted as usize] {
            let counted = now + ms(took * part / 100);
            self.flying.push((now + ms(*took), counted, !returned));
        }
    }

    fn grant(&mut self, now: Moment) {
        while let Some((id, granted)) = self.limit.grant(now) {
            let (want, ways) = self.waiting.remove(&id).expect("it waits");
            assert!(granted <= want.calls && want.deadline > now);
            self.fly(granted, &ways, now);
        }
    }

    /// Ends calls and grants places until `end`, in the order in which both happen.
    fn until(&mut self, mut now: Moment, end: Moment) {
        loop {
            let flight = self.flying.iter().map(|(ends, ..)| *ends).min();
            let next = [flight, self.limit.wakes(now)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { return };
            now = now.max(next);
            let (over, flying) = self.flying.iter().partition(|(ends, ..)| *ends <= now);
            self.flying = flying;
            let over: Vec<(Moment, Moment, bool)> = over;
            for (_, counted, made) in over {
                if made {
                    self.limit.spent(Payer::NOBODY, now);
                    self.counted.push(counted);
                } else {
                    self.limit.returned(Payer::NOBODY, 1);
                }
            }
            self.grant(now);
        }
    }
}

/// The most calls that upstream counted in any window.
fn most_in_a_window(counted: &[Moment]) -> usize {
    let in_window = |(index, first): (usize, &Moment)| {
        counted[index..].partition_point(|at| *at < *first + WINDOW)
    };
    counted.iter().enumerate().map(in_window).max().unwrap_or_default()
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_calls_than_the_limit(limit in 1_u64..30, steps in steps()) {
        let counted = Play::new(budget(limit)).run(steps);
        prop_assert!(most_in_a_window(&counted) <= usize::try_from(limit).expect("small"));
    }

    #[test]
    fn nor_when_it_is_counted_in_sub_windows(limit in 1_u64..30, steps in steps()) {
        let mut counting = budget(limit);
        counting.spent = Ledger::new(WINDOW, u64::MAX);
        counting.reads = Ledger::new(WINDOW, u64::MAX);
        let counted = Play::new(counting).run(steps);
        prop_assert!(most_in_a_window(&counted) <= usize::try_from(limit).expect("small"));
    }

    #[test]
    fn nine_tenths_are_used_while_work_waits(limit in 30_u64..80, took in 0_u64..500) {
        let mut play = Play::new(budget(limit));
        let ways = vec![(50, took, false); 3];
        for number in 0..limit * 20 {
            let calls = if number % 3 == 0 { 3 } else { 1 };
            let priority = Priority::ALL[usize::try_from(number % 4).expect("small")];
            let want = Want { calls, priority, deadline: ms(10_000_000), payer: Payer::NOBODY };
            match play.limit.book(want, Moment::ZERO) {
                Verdict::Granted(granted) => play.fly(granted, &ways, Moment::ZERO),
                Verdict::Queued(id, _) => drop(play.waiting.insert(id, (want, ways.clone()))),
                Verdict::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        play.until(Moment::ZERO, WINDOW * 10);
        prop_assert!(!play.waiting.is_empty(), "work waits all the time");
        let made = u64::try_from(play.counted.len()).expect("small");
        prop_assert!(made >= limit * 10 * 9 / 10, "{made} of {}", limit * 10);
    }

    #[test]
    fn what_is_expected_comes_true_when_nobody_comes_after(
        limit in 1_u64..30,
        before in prop::collection::vec((0_u64..2000, 1_u32..=3), 0..60),
        last in (1_u32..=3, 0_u8..4),
    ) {
        let (mut play, mut now) = (Play::new(budget(limit)), Moment::ZERO);
        let ways = vec![(0, 0, false); 3];
        let forever = |calls, priority| Want { calls, priority, deadline: ms(100_000_000), payer: Payer::NOBODY };
        for (gap, calls) in before {
            play.until(now, now + ms(gap));
            now += ms(gap);
            let want = forever(calls, Priority::Write);
            match play.limit.book(want, now) {
                Verdict::Granted(granted) => play.fly(granted, &ways, now),
                Verdict::Queued(id, _) => drop(play.waiting.insert(id, (want, ways.clone()))),
                Verdict::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        play.until(now, now);
        let want = forever(last.0, [Priority::Write, Priority::Extra][usize::from(last.1 % 2)]);
        if let Verdict::Queued(id, expected) = play.limit.book(want, now) {
            play.waiting.insert(id, (want, ways));
            let before = expected.saturating_sub(Duration::from_nanos(1));
            play.until(now, before);
            // Beyond one window, places are reckoned in that may turn out not to stay idle.
            let early = expected <= now + WINDOW && !play.waiting.contains_key(&id);
            prop_assert!(!early, "granted before it was expected");
            play.until(before, expected);
            prop_assert!(!play.waiting.contains_key(&id), "not granted when it was expected");
        }
    }

    #[test]
    fn who_returns_when_told_to_is_admitted(
        limit in 1_u64..30,
        before in prop::collection::vec((0_u64..2000, 1_u32..=3), 0..40),
        refused in prop::collection::vec(1_u32..=3, 1..40),
    ) {
        let (mut play, mut now) = (Play::new(budget(limit)), Moment::ZERO);
        let ways = vec![(0, 0, false); 3];
        for (gap, calls) in before {
            play.until(now, now + ms(gap));
            now += ms(gap);
            let want = Want { calls, priority: Priority::Write, deadline: now + ms(1), payer: Payer::NOBODY };
            if let Verdict::Granted(granted) = play.limit.book(want, now) {
                play.fly(granted, &ways, now);
            }
        }
        play.until(now, now);
        // What is free is used up: else a small wish after a large one that was refused is new load.
        for _ in 0..play.limit.room(now) {
            let want = Want { calls: 1, priority: Priority::Write, deadline: now + ms(1), payer: Payer::NOBODY };
            prop_assert_eq!(play.limit.book(want, now), Verdict::Granted(1));
            play.fly(1, &ways, now);
        }
        play.until(now, now);
        let mut returning = Vec::new();
        for calls in refused {
            let want = Want { calls, priority: Priority::Write, deadline: now + ms(1), payer: Payer::NOBODY };
            match play.limit.book(want, now) {
                Verdict::Granted(granted) => play.fly(granted, &ways, now),
                Verdict::Refused(refusal) => returning.push((now + refusal.retry_after, calls)),
                Verdict::Queued(..) => {}
            }
        }
        returning.sort_unstable();
        for (back, calls) in returning {
            play.until(now, back);
            now = back;
            let want = Want { calls, priority: Priority::Write, deadline: now + ms(1), payer: Payer::NOBODY };
            match play.limit.book(want, now) {
                Verdict::Granted(granted) => play.fly(granted, &ways, now),
                verdict => prop_assert!(false, "{verdict:?} at {now:?}"),
            }
            play.until(now, now);
        }
    }

    #[test]
    fn reads_get_a_fifth_whatever_writes_there_are(limit in 5_u64..60) {
        let mut play = Play::new(budget(limit));
        let mut reads = Vec::new();
        for number in 0..limit * 12 {
            let (calls, priority) = if number % 2 == 0 { (3, Priority::Write) } else { (1, Priority::Read) };
            let want = Want { calls, priority, deadline: ms(100_000_000), payer: Payer::NOBODY };
            match play.limit.book(want, Moment::ZERO) {
                Verdict::Granted(granted) => play.fly(granted, &[(0, 0, false); 3], Moment::ZERO),
                Verdict::Queued(id, _) => {
                    drop(play.waiting.insert(id, (want, vec![(0, 0, false); 3])));
                    if priority == Priority::Read { reads.push(id); }
                }
                Verdict::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        play.until(Moment::ZERO, WINDOW * 10);
        let served = reads.iter().filter(|id| !play.waiting.contains_key(id)).count();
        prop_assert!(served as u64 >= limit * 10 / 5, "{served} of {}", limit * 10);
    }

    #[test]
    fn reads_and_writes_among_each_other_are_granted_by_the_time_that_was_expected(
        limit in 8_u64..60,
        wishes in prop::collection::vec((0_u64..300, prop::bool::ANY), 10..120),
        last in 5_usize..120,
    ) {
        let (mut play, mut now) = (Play::new(budget(limit)), Moment::ZERO);
        let ways = vec![(0, 0, false); 3];
        for (number, (gap, is_read)) in wishes.into_iter().enumerate() {
            play.until(now, now + ms(gap));
            now += ms(gap);
            let (calls, priority) = if is_read { (1, Priority::Read) } else { (3, Priority::Write) };
            let want = Want { calls, priority, deadline: ms(100_000_000), payer: Payer::NOBODY };
            match play.limit.book(want, now) {
                Verdict::Granted(granted) => play.fly(granted, &ways, now),
                Verdict::Queued(id, expected) => {
                    play.waiting.insert(id, (want, ways.clone()));
                    play.grant(now);
                    // Deadlines are hardly ever further away than one window.
                    if number >= last && expected < now + WINDOW {
                        play.until(now, expected);
                        prop_assert!(!play.waiting.contains_key(&id), "later than {expected:?}");
                        return Ok(());
                    }
                }
                Verdict::Refused(refusal) => prop_assert!(false, "{refusal:?}"),
            }
            play.until(now, now);
        }
    }
}
