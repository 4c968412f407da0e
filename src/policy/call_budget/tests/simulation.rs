//! Simulates the limiter in virtual time, one millisecond at a time.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use super::super::*;

pub fn ms(millis: u64) -> MonoTime {
    Duration::from_millis(millis)
}

pub fn account(id: u64, weight: u32) -> BudgetAccount {
    BudgetAccount { id, weight: NonZeroU32::new(weight).expect("a weight") }
}

pub const CEILINGS: PriorityCeilings =
    PriorityCeilings { committed: 100, writes: 95, reads: 75, read_backs: 60 };

/// The default settings: 300 calls a minute.
pub fn shipped() -> BudgetSettings {
    BudgetSettings::per_minute(300, ms(60_000), CEILINGS)
}

/// Requests of one client: one every `every` milliseconds, between `from` and `to`.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub account: BudgetAccount,
    pub every: u64,
    pub calls: u32,
    pub class: PriorityClass,
    pub timeout: u64,
    pub from: u64,
    pub to: u64,
    /// Whether refused requests return after `Retry-After`.
    pub returns: bool,
}

impl Load {
    pub fn reads(account: BudgetAccount, every: u64) -> Self {
        let (calls, class) = (1, PriorityClass::Read);
        Self { account, every, calls, class, timeout: 5_000, from: 0, to: u64::MAX, returns: false }
    }

    pub fn writes(account: BudgetAccount, every: u64) -> Self {
        Self { calls: 3, class: PriorityClass::Write, ..Self::reads(account, every) }
    }

    pub fn between(self, from: u64, to: u64) -> Self {
        Self { from, to, ..self }
    }
}

/// The results of one client's requests.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// When each call was granted, and its class.
    pub granted: Vec<(u64, PriorityClass)>,
    /// How long each granted request waited.
    pub waits: Vec<u64>,
    /// When each request was refused (in milliseconds), and its `Retry-After` in seconds.
    pub refused: Vec<(u64, u64)>,
    /// How many requests waited until their deadline.
    pub late: usize,
    /// Requests that returned after `Retry-After`.
    pub returned: usize,
    /// Returned requests that were served.
    pub returned_served: usize,
}

impl Outcome {
    pub fn calls(&self, from: u64, to: u64) -> usize {
        self.granted.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    pub fn calls_of(&self, class: PriorityClass, from: u64, to: u64) -> usize {
        let within = |(at, of): &&(u64, PriorityClass)| (from..to).contains(at) && *of == class;
        self.granted.iter().filter(within).count()
    }

    pub fn p99(&self) -> u64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits.get(waits.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }

    /// The longest time without a grant.
    pub fn longest_gap(&self, from: u64, to: u64) -> u64 {
        let within = self.granted.iter().map(|(at, _)| *at).filter(|at| (from..to).contains(at));
        let times: Vec<_> = std::iter::once(from).chain(within).chain([to]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    load: Load,
    since: u64,
    returned: bool,
}

struct Simulation {
    budget: TokenBudget,
    took: u64,
    outcomes: BTreeMap<u64, Outcome>,
    waiting: BTreeMap<CallRequestId, (CallRequest, Waiting)>,
    in_flight: VecDeque<u64>,
    returning: BTreeMap<u64, Vec<Load>>,
}

/// Plays `loads` until `end`. Each call takes `took`.
pub fn play(
    settings: BudgetSettings,
    loads: &[Load],
    took: u64,
    end: u64,
) -> BTreeMap<u64, Outcome> {
    let mut budget = TokenBudget::new(settings);
    let accounts: Vec<_> = loads.iter().map(|load| load.account).collect();
    budget.set_known_clients(&accounts, MonoTime::ZERO);
    let mut simulation = Simulation {
        budget,
        took,
        outcomes: BTreeMap::new(),
        waiting: BTreeMap::new(),
        in_flight: VecDeque::new(),
        returning: BTreeMap::new(),
    };
    let mut wakeup = None;
    for at in 0..end {
        let due = wakeup.is_some_and(|wakeup| wakeup <= ms(at));
        if simulation.step(at, loads) || due {
            simulation.grant(at);
            wakeup = simulation.budget.next_wakeup(ms(at));
            assert!(
                wakeup.is_none_or(|wakeup| wakeup > ms(at)),
                "the wake-up must lie in the future"
            );
        }
    }
    simulation.outcomes
}

impl Simulation {
    fn step(&mut self, at: u64, loads: &[Load]) -> bool {
        let mut any = self.give_up(at);
        while self.in_flight.pop_front_if(|ends| *ends <= at).is_some() {
            self.budget.finish_call(ms(at));
            any = true;
        }
        for load in self.returning.remove(&at).unwrap_or_default() {
            self.request(Waiting { load, since: at, returned: true }, at);
            any = true;
        }
        for load in loads {
            if at >= load.from && at < load.to && (at - load.from).is_multiple_of(load.every) {
                self.request(Waiting { load: *load, since: at, returned: false }, at);
                any = true;
            }
        }
        any
    }

    fn give_up(&mut self, at: u64) -> bool {
        let late = self.waiting.iter().filter(|(_, (request, _))| request.deadline <= ms(at));
        let late: Vec<_> = late.map(|(id, waiting)| (*id, *waiting)).collect();
        for (id, (request, waiting)) in &late {
            self.waiting.remove(id);
            let refusal = self.budget.reject(Some(*id), request, ms(at));
            self.outcome(waiting).late += 1;
            self.refused(*waiting, refusal, at);
        }
        !late.is_empty()
    }

    fn outcome(&mut self, waiting: &Waiting) -> &mut Outcome {
        self.outcomes.entry(waiting.load.account.id).or_default()
    }

    fn request(&mut self, waiting: Waiting, at: u64) {
        let Load { account, calls, class, timeout, .. } = waiting.load;
        let request = CallRequest { calls, class, deadline: ms(at + timeout), account };
        self.outcome(&waiting).returned += usize::from(waiting.returned);
        match self.budget.request(request, ms(at)) {
            CallAdmission::Granted(calls) => self.start_calls(calls, waiting, at),
            CallAdmission::Queued(id, _) => drop(self.waiting.insert(id, (request, waiting))),
            CallAdmission::Refused(refusal) => self.refused(waiting, refusal, at),
        }
    }

    fn refused(&mut self, waiting: Waiting, refusal: CallRefusal, at: u64) {
        let seconds = u64::try_from(refusal.retry_after.as_millis()).expect("small").div_ceil(1000);
        let back = at + seconds.max(1) * 1000;
        self.outcome(&waiting).refused.push((at, seconds));
        if waiting.load.returns {
            self.returning.entry(back).or_default().push(waiting.load);
        }
    }

    fn grant(&mut self, at: u64) {
        while let Some((id, request)) = self.budget.grant(ms(at)) {
            let (_, waiting) = self.waiting.remove(&id).expect("it waits");
            self.start_calls(request.calls, waiting, at);
        }
    }

    fn start_calls(&mut self, calls: u32, waiting: Waiting, at: u64) {
        let class = waiting.load.class;
        let outcome = self.outcome(&waiting);
        outcome.granted.extend((0..calls).map(|_| (at, class)));
        outcome.waits.push(at - waiting.since);
        outcome.returned_served += usize::from(waiting.returned);
        self.in_flight.extend((0..calls).map(|_| at + self.took));
    }
}

/// The highest number of granted calls in any window.
pub fn most_in_a_window(outcomes: &BTreeMap<u64, Outcome>, window: u64) -> usize {
    let mut all: Vec<u64> =
        outcomes.values().flat_map(|one| one.granted.iter().map(|(at, _)| *at)).collect();
    all.sort_unstable();
    let in_window =
        |(index, first): (usize, &u64)| all[index..].partition_point(|at| *at < first + window);
    all.iter().enumerate().map(in_window).max().unwrap_or_default()
}
