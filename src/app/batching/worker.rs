//! The task that works on the turn of one participant, batch after batch, until nobody waits.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::singles::Group;
use super::{Line, Place, Seat, Shared, Told, Whereabouts};
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{Class, Cycle, Payer, Permit, Phase, Span, Wish};

/// Works on the turn of a participant.
pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
}

/// What the next batch would be, were it to leave now.
enum Outlook {
    /// Nobody waits.
    Over,
    /// Everybody who waits has been put off until then.
    Later(Instant, Arc<Notify>),
    /// Somebody waits, and this is to be booked.
    Ready(Next, Arc<Notify>),
}

/// The next batch, and what is to be booked for it.
pub(super) struct Next {
    pub(super) group: Group,
    pub(super) wish: Wish,
    /// What its members have brought.
    pub(super) permits: Vec<Permit>,
}

impl Runner {
    /// Starts on the turn of a participant.
    pub(super) fn start(shared: Arc<Shared>, place: Place) {
        let tasks = shared.shutdown.tasks().clone();
        // Boxed, since a task is copied several times on its way into the runtime.
        tasks.spawn(Box::pin(Self { shared, place }.run()));
    }

    async fn run(self) {
        let shutdown = self.shared.shutdown.clone();
        // Whatever ends this task, a panic of upstream's client included: it takes nobody with it
        // who is not on the way.
        let mut ends = Ends { shared: Arc::clone(&self.shared), place: self.place, is_over: false };
        // Whoever is ready at this very moment comes along.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = shutdown.drain_over() => {}
            () = self.work() => ends.is_over = true,
        }
    }

    async fn work(&self) {
        loop {
            match self.outlook() {
                Outlook::Over => return,
                Outlook::Later(until, changed) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = changed.notified() => {}
                },
                Outlook::Ready(next, changed) => {
                    let group = next.group;
                    let permits = match group {
                        Group::Together => self.book(next, &changed).await,
                        Group::Alone(arrival) => self.book_alone(arrival, next, &changed).await,
                    };
                    if let Some(permits) = permits {
                        let (seats, cycle) = self.board(group);
                        if !seats.is_empty() {
                            self.ride(seats, permits, cycle).await;
                        }
                    }
                }
            }
        }
    }

    fn outlook(&self) -> Outlook {
        let now = Instant::now();
        let mut lines = self.shared.turns.lines();
        let Some(line) = lines.get_mut(&self.place) else { return Outlook::Over };
        line.expected = None;
        line.payers.clear();
        for late in line.take(|seat| seat.deadline() <= now || seat.is_gone()) {
            self.shared.meter.writes_waiting(-1);
            late.tell(Told::Refused(Error::DeadlineExceeded("waiting for its turn")));
        }
        if line.seats.is_empty() {
            lines.remove(&self.place);
            return Outlook::Over;
        }
        let (group, ready) = line.ready(now);
        let Some(deadline) = ready.iter().map(|seat| seat.deadline()).max() else {
            let until = line.seats.values().filter_map(|seat| seat.not_before).min();
            return Outlook::Later(until.unwrap_or(now), Arc::clone(&line.changed));
        };
        let judges = self.shared.settings.patch_full
            || ready.iter().any(|seat| seat.ride.condition.is_some());
        let proofs = ready.iter().any(|seat| seat.ride.verify);
        let needed = 1 + u32::from(judges) + u32::from(proofs);
        let brought = ready.iter().flat_map(|seat| std::iter::from_fn(|| seat.ride.fare.take()));
        let permits: Vec<Permit> = brought.take(needed as usize).collect();
        let calls = needed - u32::try_from(permits.len()).unwrap_or(needed);
        let has_begun = ready.iter().all(|seat| !seat.ride.marks.is_empty());
        // Of those who go alone there may be as many as a batch had members: that is no longer the
        // write that was booked for.
        let class =
            if has_begun && group == Group::Together { Class::Admitted } else { Class::Write };
        let payer = ready.first().map_or(Payer::NOBODY, |seat| seat.ride.cycle.payer());
        let wish = Wish { calls, class, deadline, payer };
        Outlook::Ready(Next { group, wish, permits }, Arc::clone(&line.changed))
    }

    /// Takes along whoever of the group waits at this moment.
    fn board(&self, group: Group) -> (Vec<Seat>, Cycle) {
        let now = Instant::now();
        let seats = match self.shared.turns.lines().get_mut(&self.place) {
            Some(line) => {
                line.expected = None;
                line.alone_went = group != Group::Together;
                line.take(|seat| seat.is_ready(now) && group.has(seat))
            }
            None => Vec::new(),
        };
        for seat in &seats {
            self.shared.meter.writes_waiting(-1);
            self.shared.meter.waited(seat.entered.elapsed());
            seat.ride.cycle.spend(Phase::Queue, seat.entered.elapsed());
        }
        let cycle = cycle_of(&seats);
        let seats = seats.into_iter().filter_map(|seat| seat.aboard(&cycle)).collect();
        (seats, cycle)
    }

    /// Waits for another batch, unless its caller has left meanwhile.
    pub(super) fn put_back(&self, mut seat: Seat) {
        seat.entered = Instant::now();
        let mut lines = self.shared.turns.lines();
        {
            let mut whereabouts = seat.whereabouts();
            if matches!(*whereabouts, Whereabouts::Gone) {
                return;
            }
            *whereabouts = Whereabouts::Waiting;
        }
        let line = lines.entry(self.place).or_default();
        line.running = true;
        line.seats.insert(seat.ride.arrival, seat);
        self.shared.meter.writes_waiting(1);
    }
}

impl Line {
    /// Takes out those for whom `which` says so, in order of arrival.
    pub(super) fn take(&mut self, which: impl Fn(&Seat) -> bool) -> Vec<Seat> {
        let (taken, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.seats).into_iter().partition(|(_, seat)| which(seat));
        self.seats = rest.into_iter().collect();
        taken.into_iter().map(|(_, seat)| seat).collect()
    }
}

/// One cycle for all members: it may last as long as the most patient one waits, but nothing leaves
/// any more once the most impatient one was answered.
fn cycle_of(seats: &[Seat]) -> Cycle {
    let now = Instant::now();
    let deadlines = || seats.iter().map(Seat::deadline).filter(|deadline| *deadline > now);
    let latest = deadlines().max().unwrap_or(now);
    let mut span = None;
    for seat in seats {
        Span::prefer(&mut span, seat.ride.cycle.span());
    }
    let recorded = seats.iter().any(|seat| seat.ride.cycle.trail().is_some());
    let client =
        seats.first().map_or_else(Client::anonymous, |seat| Arc::clone(seat.ride.cycle.client()));
    let cycle = Cycle::traced(latest, span).recorded(recorded);
    let cycle = cycle.on_behalf_of(client);
    cycle.starting_by(deadlines().min().unwrap_or(now))
}

/// Ends the turn when its task ends, however it does: whoever waits gets a new one.
struct Ends {
    shared: Arc<Shared>,
    place: Place,
    /// It has ended as it should; the next turn, if there is one, is not ours.
    is_over: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // What it had sent is of unknown fate from now on.
        self.shared.held.answered(self.place);
        let mut lines = self.shared.turns.lines();
        let Some(line) = lines.get_mut(&self.place) else { return };
        if line.seats.is_empty() || self.shared.shutdown.is_over() {
            lines.remove(&self.place);
        } else {
            Runner::start(Arc::clone(&self.shared), self.place);
        }
    }
}
