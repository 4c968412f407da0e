//! Simulations of shares, ceilings, the pace and the refusals, in virtual time.

use std::collections::BTreeMap;

use super::super::*;
use super::simulation::*;

const A: u64 = 1;
const B: u64 = 2;
const C: u64 = 3;

/// 300 calls in ten seconds; weights 1 : 2 : 1.
fn quick() -> BudgetSettings {
    BudgetSettings::per_minute(1800, ms(10_000), CEILINGS)
}

fn abc() -> [BudgetAccount; 3] {
    [account(A, 1), account(B, 2), account(C, 1)]
}

fn total(outcomes: &BTreeMap<u64, Outcome>, from: u64, to: u64) -> usize {
    outcomes.values().map(|one| one.calls(from, to)).sum()
}

#[test]
fn a_burst_of_reads_leaves_room_for_writes() {
    let one = account(A, 1);
    let burst = Load::reads(one, 1).between(0, 300);
    let outcomes =
        play(shipped(), &[burst, Load::writes(one, 2_000).between(300, 60_000)], 20, 60_000);
    let one = &outcomes[&A];
    assert!(one.calls_of(PriorityClass::Read, 0, 60_000) >= 112);
    assert!(one.calls_of(PriorityClass::Read, 0, 60_000) <= 225, "three quarters");
    let writes = one.calls_of(PriorityClass::Write, 0, 60_000);
    assert_eq!(writes, 3 * 30, "all writes are served");
}

#[test]
fn a_burst_of_writes_leaves_room_for_reads() {
    let one = account(A, 1);
    let burst = Load::writes(one, 1).between(0, 150);
    let reads = Load::reads(one, 1_000).between(150, 60_000);
    // The same for a client that was busy before.
    let before = Load::writes(one, 20_000).between(0, 70_000);
    for (loads, shift) in [
        (vec![burst, reads], 0),
        (vec![before, burst.between(70_000, 70_150), reads.between(70_150, 130_000)], 70_000),
    ] {
        let outcomes = play(shipped(), &loads, 20, shift + 60_000);
        let one = &outcomes[&A];
        let writes = one.calls_of(PriorityClass::Write, shift, shift + 60_000);
        assert!((112..=285).contains(&writes), "{writes}");
        let reads = one.calls_of(PriorityClass::Read, shift, shift + 60_000);
        assert!(reads >= 35, "{reads} of 60");
    }
}

#[test]
fn reads_get_a_fifth_under_any_flood_of_writes() {
    let one = account(A, 1);
    let loads = [Load::writes(one, 50), Load::reads(one, 100)];
    let outcomes = play(shipped(), &loads, 20, 300_000);
    for from in [60_000, 120_000, 180_000] {
        let reads = outcomes[&A].calls_of(PriorityClass::Read, from, from + 60_000);
        assert!(reads >= 54, "{reads} of 60 at {from}");
    }
    assert!(outcomes[&A].longest_gap(0, 300_000) <= 10_000);
}

#[test]
fn a_flood_uses_nine_tenths_of_its_ceiling() {
    let flood = |load: fn(BudgetAccount, u64) -> Load, account| load(account, 50);
    for (ceiling, load) in
        [(225, Load::reads as fn(_, _) -> _), (285, Load::writes as fn(_, _) -> _)]
    {
        let alone = vec![flood(load, account(A, 1))];
        let idle_clients =
            [account(B, 2), account(C, 1)].map(|idle| Load::reads(idle, 1).between(0, 0));
        let several = [&alone[..], &idle_clients[..]].concat();
        let all = abc().map(|one| flood(load, one)).to_vec();
        for loads in [alone, several, all] {
            let outcomes = play(shipped(), &loads, 100, 240_000);
            let used = total(&outcomes, 60_000, 240_000);
            assert!(used >= 3 * ceiling * 9 / 10, "{used} of {}, {loads:?}", 3 * ceiling);
            assert!(most_in_a_window(&outcomes, 60_000) <= 300);
            let gap = outcomes[&A].longest_gap(0, 240_000);
            assert!(gap <= 10_000, "{gap}, {loads:?}");
        }
    }
}

#[test]
fn ten_busy_clients_are_served_evenly() {
    for every in [1_000, 2_000] {
        let loads: Vec<_> = (1..=10)
            .map(|id| Load::writes(account(id, 1), every).between(id * 7, u64::MAX))
            .collect();
        let outcomes = play(shipped(), &loads, 100, 300_000);
        for (id, one) in &outcomes {
            let gap = one.longest_gap(0, 300_000);
            assert!(gap <= 10_000, "client {id} had nothing for {gap} ms");
        }
        // After the first minute there are no bursts.
        let busiest = (60..300).map(|second| total(&outcomes, second * 1000, second * 1000 + 1000));
        let busiest = busiest.max();
        assert!(busiest <= Some(45), "{busiest:?}");
        assert!(total(&outcomes, 60_000, 300_000) >= 4 * 285 * 9 / 10);
    }
}

#[test]
fn while_all_have_work_each_has_its_share() {
    for load in [|one| Load::reads(one, 10), |one| Load::writes(one, 30)] {
        let outcomes = play(quick(), &abc().map(load), 20, 100_000);
        let got = [A, B, C].map(|id| outcomes[&id].calls(10_000, 100_000));
        let all: usize = got.iter().sum();
        for (got, share) in got.into_iter().zip([1, 2, 1]) {
            let due = all * share / 4;
            assert!(got.abs_diff(due) * 10 <= due, "{got} of {all} instead of {due}");
        }
    }
}

#[test]
fn a_flood_delays_no_client_that_keeps_to_its_share() {
    let [a, b, c] = abc();
    // Both clients use four fifths of their shares, in reads and writes.
    let others = [
        Load::reads(b, 170).between(3_000, u64::MAX),
        Load::writes(b, 510).between(3_000, u64::MAX),
        Load::writes(c, 510).between(17_000, u64::MAX),
    ];
    let at_once = others.map(|load| load.between(0, u64::MAX));
    for (start, others) in [(0, at_once), (0, others), (25_000, others), (31_234, others)] {
        for flood in [Load::reads(a, 7), Load::writes(a, 21)] {
            let flood = flood.between(start, u64::MAX);
            let outcomes = play(quick(), &[&[flood][..], &others[..]].concat(), 20, 120_000);
            for id in [B, C] {
                let Outcome { refused, late, .. } = &outcomes[&id];
                let p99 = outcomes[&id].p99();
                assert!(p99 <= 30, "{id} waits {p99} ms, {flood:?}");
                assert_eq!((refused.len(), *late), (0, 0), "{id}, {flood:?}");
            }
        }
    }
}

#[test]
fn unused_shares_are_lent() {
    let [a, b, c] = abc();
    let idle = [Load::reads(b, 1).between(0, 1), Load::reads(c, 1).between(0, 1)];
    let outcomes = play(quick(), &[&idle[..], &[Load::writes(a, 21)]].concat(), 20, 100_000);
    let got = outcomes[&A].calls(10_000, 100_000);
    assert!(got >= 9 * 256, "{got} of {}", 9 * 285);
    // Lending follows the weights.
    let idle = Load::reads(account(9, 3), 1).between(0, 1);
    let outcomes = play(quick(), &[idle, Load::writes(a, 21), Load::writes(b, 21)], 20, 60_000);
    let [one, two] = [A, B].map(|id| outcomes[&id].calls(10_000, 60_000));
    assert!(two.abs_diff(one * 2) * 10 <= one * 2, "{one} {two}");
}

#[test]
fn no_client_starves_however_small_its_weight() {
    let loads = [Load::writes(account(8, 1000), 7), Load::writes(account(9, 1), 5_000)];
    let outcomes = play(quick(), &loads, 20, 100_000);
    assert!(outcomes[&9].granted.len() >= 3 * 8, "{}", outcomes[&9].granted.len());
}

#[test]
fn many_idle_clients_keep_little_from_a_busy_one() {
    for others in [300, 58, 19] {
        let mut loads = vec![Load::writes(account(1, 1), 30)];
        loads.extend((2..others + 2).map(|id| Load::reads(account(id, 1), 1).between(0, 0)));
        let calls = play(quick(), &loads, 20, 30_000)[&1].calls(10_000, 30_000);
        assert!(calls >= 2 * 256, "{calls} calls with {others} idle clients");
    }
}

/// Plays clients that follow `Retry-After`. Returns the part of returning requests that is served,
/// and the most requests of one client that return in the same second.
fn returns(loads: &[Load]) -> (f64, usize) {
    let outcomes = play(shipped(), loads, 100, 300_000);
    let (mut returned, mut served, mut same_second) = (0, 0, BTreeMap::<_, usize>::new());
    for (id, one) in &outcomes {
        assert!(
            one.refused.iter().all(|(_, wait)| *wait <= 60),
            "no wait is longer than the window"
        );
        returned += one.returned;
        served += one.returned_served;
        for (at, wait) in &one.refused {
            *same_second.entry((*id, at / 1000 + wait)).or_default() += 1;
        }
    }
    assert!(returned > 0, "{loads:?}");
    let part = f64::from(u32::try_from(served).expect("few"))
        / f64::from(u32::try_from(returned).expect("few"));
    (part, same_second.values().copied().max().unwrap_or_default())
}

#[test]
fn clients_that_follow_retry_after_are_served() {
    let one = account(A, 1);
    let obeys = |load: Load| Load { returns: true, timeout: 5_000, ..load };
    let others = [account(B, 1), account(C, 1)].map(|one| Load::writes(one, 2_000));
    let sustained = |every| vec![obeys(Load::writes(one, every)).between(0, 240_000)];
    let both = |load: Load| [&[obeys(load)][..], &others[..]].concat();
    let cases = [
        // A burst that one window can serve.
        ("reads", 0.99, 5, vec![obeys(Load::reads(one, 1).between(0, 200))]),
        ("writes", 0.99, 5, vec![obeys(Load::writes(one, 1).between(0, 70))]),
        ("others are busy", 0.8, 5, both(Load::writes(one, 1).between(1_000, 1_025))),
        // Requests that one window cannot serve return at its end.
        ("a larger burst", 0.95, 100, vec![obeys(Load::reads(one, 1).between(0, 300))]),
        // One client asks for more than there is, and returns as well.
        ("110 %", 0.98, 5, sustained(574)),
        ("125 %", 0.95, 5, sustained(505)),
        // No estimate within the window can hold for more than half of these.
        ("200 %", 0.3, 20, sustained(316)),
    ];
    for (name, least, most, loads) in cases {
        let (part, same_second) = returns(&loads);
        assert!(
            part >= least && same_second <= most,
            "{name}: {part:.3} served, {same_second} in one second"
        );
    }
}
