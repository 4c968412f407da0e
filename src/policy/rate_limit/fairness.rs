//! What holds among several payers, played through a millisecond at a time.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

fn ms(millis: u64) -> Moment {
    Duration::from_millis(millis)
}

fn payer(id: u64, weight: u32) -> Payer {
    Payer { id, weight: NonZeroU32::new(weight).expect("a weight") }
}

/// Wishes of one payer: each so many milliseconds one of so many calls, from when to when.
#[derive(Clone, Copy, Debug)]
struct Load {
    payer: Payer,
    every: u64,
    calls: u32,
    priority: Priority,
    patience: u64,
    from: u64,
    to: u64,
}

impl Load {
    fn new(payer: Payer, every: u64) -> Self {
        let (calls, priority) = (1, Priority::Read);
        Self { payer, every, calls, priority, patience: 5_000, from: 0, to: u64::MAX }
    }

    fn writing(self) -> Self {
        Self { calls: 3, priority: Priority::Write, ..self }
    }

    fn between(self, from: u64, to: u64) -> Self {
        Self { from, to, ..self }
    }
}

/// What became of the wishes of one payer.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// When calls were granted.
    granted: Vec<u64>,
    /// How long each granted wish waited.
    waits: Vec<u64>,
    /// How many were refused when they came.
    refused: usize,
    /// How many waited in vain.
    late: Vec<u64>,
}

impl Fate {
    fn between(&self, from: u64, to: u64) -> usize {
        self.granted.iter().filter(|at| (from..to).contains(at)).count()
    }

    fn p99(&self) -> u64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits.get(waits.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }
}

/// Plays `loads` for so many milliseconds; each call takes `took`.
fn play(limit: u64, loads: &[Load], took: u64, end: u64) -> BTreeMap<u64, Fate> {
    let mut policy = RateLimit::new(RateSettings { limit, window: WINDOW, reserve: 2 });
    let payers: Vec<_> = loads.iter().map(|load| load.payer).collect();
    policy.expect(&payers, Moment::ZERO);
    let mut play = Play {
        policy,
        took,
        fates: BTreeMap::new(),
        waiting: BTreeMap::new(),
        flying: VecDeque::new(),
    };
    for at in 0..end {
        let idle = play.policy.is_idle();
        let due = (!idle).then(|| play.policy.wakes(ms(at.saturating_sub(1)))).flatten();
        let mut happens = play.end_calls(at);
        happens |= play.give_up(at);
        for load in loads {
            if at >= load.from && at < load.to && (at - load.from) % load.every == 0 {
                play.book(*load, at);
                happens = true;
            }
        }
        // What can be lent grows with time, and is looked at fifty times a window.
        let soon = due.is_some_and(|due| due <= ms(at) + WINDOW / 50);
        let granted = play.grant(at);
        assert!(!granted || happens || soon, "asleep until {due:?}, granted at {at}");
    }
    play.fates
}

struct Play {
    policy: RateLimit,
    took: u64,
    fates: BTreeMap<u64, Fate>,
    waiting: BTreeMap<WishId, (Want, u64)>,
    flying: VecDeque<(u64, Payer)>,
}

impl Play {
    fn end_calls(&mut self, at: u64) -> bool {
        let mut any = false;
        while let Some((_, payer)) = self.flying.pop_front_if(|(ends, _)| *ends <= at) {
            self.policy.spent(payer, ms(at));
            any = true;
        }
        any
    }

    fn give_up(&mut self, at: u64) -> bool {
        let is_late = |want: &Want| want.deadline <= ms(at);
        let late = self.waiting.iter().filter(|(_, (want, _))| is_late(want));
        let late: Vec<_> = late.map(|(id, (want, _))| (*id, *want)).collect();
        for (id, want) in &late {
            self.waiting.remove(id);
            self.policy.give_up(*id, want.calls, ms(at));
            self.fates.entry(want.payer.id).or_default().late.push(at);
        }
        !late.is_empty()
    }

    fn book(&mut self, load: Load, at: u64) {
        let Load { payer, calls, priority, patience, .. } = load;
        let want = Want { calls, priority, deadline: ms(at + patience), payer };
        match self.policy.book(want, ms(at)) {
            Verdict::Granted(calls) => self.fly(calls, (payer, at), at),
            Verdict::Queued(id, _) => drop(self.waiting.insert(id, (want, at))),
            Verdict::Refused(_) => self.fates.entry(payer.id).or_default().refused += 1,
        }
    }

    fn grant(&mut self, at: u64) -> bool {
        let mut any = false;
        while let Some((id, calls)) = self.policy.grant(ms(at)) {
            let (want, since) = self.waiting.remove(&id).expect("it waits");
            self.fly(calls, (want.payer, since), at);
            any = true;
        }
        any
    }

    fn fly(&mut self, calls: u32, (payer, since): (Payer, u64), at: u64) {
        let fate = self.fates.entry(payer.id).or_default();
        fate.granted.extend((0..calls).map(|_| at));
        fate.waits.push(at - since);
        self.flying.extend((0..calls).map(|_| (at + self.took, payer)));
    }
}

/// The most calls of all in any window, counted when they are granted and when they have ended.
fn most(fates: &BTreeMap<u64, Fate>) -> usize {
    let mut all: Vec<u64> = fates.values().flat_map(|fate| fate.granted.iter().copied()).collect();
    all.sort_unstable();
    let in_window =
        |(index, first): (usize, &u64)| all[index..].partition_point(|at| *at < first + 10_000);
    all.iter().enumerate().map(in_window).max().unwrap_or_default()
}

const A: u64 = 1;
const B: u64 = 2;
const C: u64 = 3;

/// Weights 1:2:1 of 300 calls in ten seconds, 294 of them beside the reserve: 73, 147 and 73.
fn a() -> Payer {
    payer(A, 1)
}
fn b() -> Payer {
    payer(B, 2)
}
fn c() -> Payer {
    payer(C, 1)
}

#[test]
fn while_all_have_work_each_has_its_share() {
    for writing in [false, true] {
        let load = |payer| {
            let load = Load::new(payer, if writing { 30 } else { 10 });
            if writing { load.writing() } else { load }
        };
        let fates = play(300, &[load(a()), load(b()), load(c())], 20, 100_000);
        let got = [A, B, C].map(|id| fates[&id].between(10_000, 100_000));
        let all: usize = got.iter().sum();
        assert!(all >= 9 * 290, "{all}");
        for (got, share) in got.into_iter().zip([1, 2, 1]) {
            let due = all * share / 4;
            assert!(got.abs_diff(due) * 10 <= due, "{got} of {all}, due are {due}");
        }
    }
}

#[test]
fn whoever_keeps_to_its_share_is_served_as_if_it_were_alone() {
    for start in [0, 25_000, 31_234] {
        // Twenty times its share; the others four fifths of theirs, in reads and in writes.
        let flood = Load { every: 7, ..Load::new(a(), 7) }.between(start, 120_000);
        let others = [
            Load::new(b(), 170).between(3_000, 120_000),
            Load::new(b(), 510).writing().between(3_000, 120_000),
            Load::new(c(), 510).writing().between(17_000, 120_000),
        ];
        for flood in [flood, Load { every: 21, ..flood }.writing()] {
            let fates = play(300, &[&[flood][..], &others[..]].concat(), 20, 120_000);
            for id in [B, C] {
                let (refused, late) = (fates[&id].refused, fates[&id].late.len());
                let max = fates[&id].waits.iter().max();
                assert_eq!((refused, late, fates[&id].p99()), (0, 0, 0), "{id}, {flood:?} {max:?}");
            }
            // But for the wishes that the others have come before when they began.
            let Fate { late, waits, .. } = &fates[&A];
            let late = late.iter().filter(|at| **at > start.max(17_000) + 6_000).count();
            assert!(late * 50 <= waits.len(), "{late} of {}", waits.len());
        }
    }
}

#[test]
fn what_others_leave_goes_to_whoever_wants_it() {
    // The others came once, and are known.
    let once = [Load::new(b(), 1).between(0, 1), Load::new(c(), 1).between(0, 1)];
    let fates = play(300, &[&once[..], &[Load::new(a(), 7)]].concat(), 20, 100_000);
    let got = fates[&A].between(10_000, 100_000);
    assert!(got >= 9 * 270, "{got} of {}", 9 * 300);
    // One of them works at a third of its share.
    let some = Load::new(b(), 200);
    let fates = play(300, &[some, Load::new(a(), 7)], 20, 100_000);
    let all: usize = [A, B].iter().map(|id| fates[id].between(10_000, 100_000)).sum();
    assert!(all >= 9 * 270, "{all} of {}", 9 * 300);
    assert_eq!(fates[&B].p99(), 0);
}

#[test]
fn what_is_lent_is_divided_by_weight_as_well() {
    let idle = Load::new(payer(9, 3), 1).between(0, 1);
    let fates = play(300, &[idle, Load::new(a(), 7), Load::new(b(), 7)], 20, 60_000);
    let [one, two] = [A, B].map(|id| fates[&id].between(10_000, 60_000));
    assert!(one + two >= 5 * 270, "{one} {two}");
    assert!(two.abs_diff(one * 2) * 10 <= one * 2, "{one} {two}");
}

#[test]
fn nobody_starves_however_small_its_weight() {
    let small = payer(9, 1);
    let large = payer(8, 1000);
    let loads = [Load::new(large, 7).writing(), Load::new(small, 5_000).writing()];
    let fates = play(100, &loads, 20, 100_000);
    assert!(fates[&9].granted.len() >= 3 * 8, "{:?}", fates[&9].granted.len());
}

#[test]
fn one_payer_alone_has_it_all_and_again_when_the_others_are_forgotten() {
    let mut policy = RateLimit::new(RateSettings { limit: 10, window: WINDOW, reserve: 0 });
    let want = |payer| Want { calls: 1, priority: Priority::Read, deadline: Moment::MAX, payer };
    for _ in 0..10 {
        assert_eq!(policy.book(want(a()), ms(0)), Verdict::Granted(1));
        policy.spent(a(), ms(0));
    }
    assert!(matches!(policy.book(want(b()), ms(1)), Verdict::Queued(..)));
    assert!(policy.payers.are_several());
    while policy.grant(ms(10_001)).is_some() {
        policy.spent(b(), ms(10_001));
    }
    let later = Duration::from_hours(2);
    for _ in 0..10 {
        assert_eq!(policy.book(want(a()), later), Verdict::Granted(1));
        policy.returned(a(), 1);
    }
    policy.room(later + WINDOW);
    assert!(!policy.payers.are_several(), "forgotten");
}

#[test]
fn however_many_idle_payers_there_are_most_of_the_window_is_for_who_calls() {
    // As many as the window has calls, and just so many that each keeps one or three.
    for (others, load) in [
        (300, Load::new(a(), 60).writing()),
        (300, Load::new(a(), 25)),
        (58, Load::new(a(), 60).writing()),
        (19, Load::new(a(), 60).writing()),
    ] {
        let mut loads = vec![load];
        loads.extend((2..others + 2).map(|id| Load::new(payer(id, 1), 1).between(0, 0)));
        let granted = play(300, &loads, 20, 15_000)[&1].between(5_000, 15_000);
        let calls = granted * load.calls as usize;
        assert!(calls >= 200, "{calls} calls beside {others}, {load:?}");
    }
}

#[test]
fn payers_that_are_expected_no_more_have_no_part_any_more() {
    let mut policy = RateLimit::new(RateSettings { limit: 300, window: WINDOW, reserve: 0 });
    let all: Vec<_> = (1..=100).map(|id| payer(id, 3)).collect();
    policy.expect(&all, Moment::ZERO);
    assert_eq!(policy.payers.weights(), 300);
    policy.expect(&[payer(1, 7), payer(2, 1)], ms(1));
    assert_eq!(policy.payers.weights(), 98 * 3 + 8, "until they are forgotten");
    let later = Duration::from_hours(2);
    policy.room(later);
    assert_eq!(policy.payers.weights(), 8);
}

fn loads() -> impl Strategy<Value = Vec<Load>> {
    let load = (0_u64..4, 1_u32..5, 5_u64..800, 0_u8..4, 1_u32..=3, 100_u64..12_000, 0_u64..20_000);
    let load = load.prop_map(|(id, weight, every, class, calls, patience, from)| {
        let priority = Priority::ALL[usize::from(class)];
        let payer = payer(id, weight + u32::try_from(id).expect("small"));
        Load { payer, every, calls, priority, patience, from, to: u64::MAX }
    });
    prop::collection::vec(load, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_window_ever_holds_more_calls_than_the_limit(
        limit in 1_u64..120, loads in loads(), took in 0_u64..300,
    ) {
        let fates = play(limit, &loads, took, 25_000);
        prop_assert!(most(&fates) <= usize::try_from(limit).expect("small"));
    }

    #[test]
    fn shares_follow_the_weights(
        weights in prop::collection::vec(1_u32..5, 2..5), limit in 200_u64..400,
    ) {
        let all: u32 = weights.iter().sum();
        let loads: Vec<_> = (1_u64..).zip(&weights)
            .map(|(id, weight)| Load::new(payer(id, *weight), 5)).collect();
        let fates = play(limit, &loads, 20, 40_000);
        let total: usize = fates.values().map(|fate| fate.between(10_000, 40_000)).sum();
        for (id, weight) in (1_u64..).zip(weights) {
            let got = fates[&id].between(10_000, 40_000);
            let due = total * weight as usize / all as usize;
            prop_assert!(got.abs_diff(due) * 10 <= due, "{got} of {total}, due are {due}");
        }
    }
}
