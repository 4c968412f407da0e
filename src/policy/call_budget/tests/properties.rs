//! Properties that hold under any load.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::simulation::{CEILINGS, Load, account, ms, play};

const WINDOW: Duration = Duration::from_secs(10);

/// A call: when upstream counts it (in percent of its duration), its duration in milliseconds, and
/// whether it is returned instead of made.
type CallPlan = (u64, u64, bool);

/// A request: milliseconds since the previous one, calls, class, milliseconds until its deadline,
/// client, and its calls.
type Step = (u64, u32, u8, u64, u64, Vec<CallPlan>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = (0_u64..=100, 0_u64..4000, prop::bool::weighted(0.15));
    let calls = prop::collection::vec(call, 3);
    let step = (0_u64..1500, 1_u32..=3, 0_u8..4, 1_u64..60_000, 0_u64..3, calls);
    prop::collection::vec(step, 1..150)
}

fn of(client: u64) -> BudgetAccount {
    account(client, u32::try_from(client).expect("small") + 1)
}

/// A call in flight.
struct InFlight {
    ends: MonoTime,
    counted: MonoTime,
    made: bool,
    account: BudgetAccount,
}

/// Plays a load. Every grant happens as soon as it is possible.
struct Play {
    budget: TokenBudget,
    in_flight: Vec<InFlight>,
    waiting: BTreeMap<CallRequestId, Vec<CallPlan>>,
    /// When upstream counted each call.
    counted: Vec<MonoTime>,
}

impl Play {
    fn run(budget: TokenBudget, steps: Vec<Step>) -> Vec<MonoTime> {
        let (in_flight, waiting, counted) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (mut play, mut now) = (Self { budget, in_flight, waiting, counted }, MonoTime::ZERO);
        for (gap, calls, class, timeout, client, plans) in steps {
            let next = now + ms(gap);
            play.advance(now, next);
            now = next;
            let class = PriorityClass::ALL[usize::from(class)];
            let account = of(client);
            let request = CallRequest { calls, class, deadline: now + ms(timeout), account };
            match play.budget.request(request, now) {
                CallAdmission::Granted(granted) => {
                    play.start_calls((granted, account), &plans, now);
                }
                CallAdmission::Queued(id, _) => drop(play.waiting.insert(id, plans)),
                CallAdmission::Refused(refusal) => assert!(refusal.retry_after <= WINDOW),
            }
            play.grant(now);
        }
        play.advance(now, now + WINDOW * 20);
        play.counted.sort_unstable();
        play.counted
    }

    fn start_calls(
        &mut self,
        (granted, account): (u32, BudgetAccount),
        plans: &[CallPlan],
        now: MonoTime,
    ) {
        for (part, took, returned) in &plans[..granted as usize] {
            let (ends, counted) = (now + ms(*took), now + ms(took * part / 100));
            self.in_flight.push(InFlight { ends, counted, made: !returned, account });
        }
    }

    fn grant(&mut self, now: MonoTime) {
        while let Some((id, request)) = self.budget.grant(now) {
            let plans = self.waiting.remove(&id).expect("it waits");
            assert!(request.deadline > now);
            self.start_calls((request.calls, request.account), &plans, now);
        }
    }

    /// Ends calls and grants requests until `end`, in the order of time.
    fn advance(&mut self, mut now: MonoTime, end: MonoTime) {
        loop {
            let flight = self.in_flight.iter().map(|call| call.ends).min();
            let next = [flight, self.budget.next_wakeup(now)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { return };
            now = now.max(next);
            let flying = std::mem::take(&mut self.in_flight);
            let (over, flying): (Vec<_>, Vec<_>) = flying.into_iter().partition(|c| c.ends <= now);
            self.in_flight = flying;
            for InFlight { counted, made, account, .. } in over {
                if made {
                    self.budget.finish_call(now);
                    self.counted.push(counted);
                } else {
                    self.budget.return_calls(account, 1);
                }
            }
            self.grant(now);
        }
    }
}

/// The highest number of calls that upstream counted in any window.
fn most_in_a_window(counted: &[MonoTime]) -> usize {
    let in_window = |(index, first): (usize, &MonoTime)| {
        counted[index..].partition_point(|at| *at < *first + WINDOW)
    };
    counted.iter().enumerate().map(in_window).max().unwrap_or_default()
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_calls_than_the_limit(
        limit in 1_u64..30, in_sub_windows in prop::bool::ANY, steps in steps(),
    ) {
        let settings = BudgetSettings { limit, window: WINDOW, ceilings: CEILINGS };
        let mut budget = TokenBudget::new(settings);
        if in_sub_windows {
            budget.log = SlidingWindowLog::new(WINDOW, u64::MAX);
        }
        let counted = Play::run(budget, steps);
        prop_assert!(most_in_a_window(&counted) <= usize::try_from(limit).expect("small"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn shares_follow_the_weights(
        weights in prop::collection::vec(1_u32..5, 2..5), limit in 1200_u64..2400,
    ) {
        let all: u32 = weights.iter().sum();
        let loads: Vec<_> = (1_u64..).zip(&weights)
            .map(|(id, weight)| Load::reads(account(id, *weight), 5)).collect();
        let settings = BudgetSettings::per_minute(limit, ms(10_000), CEILINGS);
        let outcomes = play(settings, &loads, 20, 40_000);
        let sum = outcomes.values().map(|one| one.calls(10_000, 40_000)).sum::<usize>();
        for (id, weight) in (1_u64..).zip(weights) {
            let got = outcomes[&id].calls(10_000, 40_000);
            let due = sum * weight as usize / all as usize;
            prop_assert!(got.abs_diff(due) * 10 <= due, "{got} of {sum} instead of {due}");
        }
    }
}
