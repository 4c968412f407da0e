//! One batch: the map that it starts from, what its members want together, and its PATCH.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::merge::{Merge, Part};
use super::worker::Runner;
use super::{Fare, Losses, Seat, Told};
use crate::app::access_filter;
use crate::app::coalesced_reads::{Cause, Wanted};
use crate::app::pending_writes::Mark;
use crate::domain::{AttributeKey, AttributeMap, Patch, Unseen};
use crate::error::Error;
use crate::ports::{CallFailure, Class, Cycle, Fate, PatchCall, Permit, Permits, Phase, Stood};

/// How old a read may be that a condition is judged on, or that a whole map is sent on top of.
const FRESH: Duration = Duration::from_secs(1);

/// First and longest pause of a conditional write that waits for the fate of an earlier one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The map that a batch starts from.
struct Basis {
    /// As read.
    shown: Arc<AttributeMap>,
    shown_at: Instant,
    /// With what we have written and not seen yet.
    stood: Arc<Stood>,
    /// Values of ours that reads may show before they show what is sent now.
    unseen: Arc<Unseen>,
}

/// A batch that is ready to leave.
struct Batch {
    seats: Vec<Seat>,
    parts: Vec<Part>,
    patch: Arc<Patch>,
    basis: Basis,
    cycle: Cycle,
    permits: Vec<Permit>,
    /// Names its PATCH in the memory of open writes, once it leaves.
    mark: Option<Mark>,
}

impl Runner {
    /// Takes `seats` along in one PATCH.
    pub(super) async fn ride(&self, seats: Vec<Seat>, permits: Vec<Permit>, cycle: Cycle) {
        let Some(batch) = self.batch(seats, permits, cycle).await else { return };
        for mut seat in self.send(batch).await {
            // Its batch was rejected, perhaps for another member's sake: each on its own, in order,
            // and with calls that are booked for it alone.
            seat.alone = true;
            self.put_back(seat);
        }
    }

    async fn batch(
        &self,
        seats: Vec<Seat>,
        mut permits: Vec<Permit>,
        cycle: Cycle,
    ) -> Option<Batch> {
        let (seats, basis) = self.basis(seats, &mut permits, &cycle).await?;
        let (seats, merge) = self.merge(seats, &basis);
        let (patch, parts) = merge.finish();
        let patch = Arc::new(patch);
        (!seats.is_empty()).then_some(Batch {
            seats,
            parts,
            patch,
            basis,
            cycle,
            permits,
            mark: None,
        })
    }

    /// The newest map that any member knows. It is read again where a condition has to be judged,
    /// or a whole map is sent, and that map may be too old.
    async fn basis(
        &self,
        mut seats: Vec<Seat>,
        permits: &mut Vec<Permit>,
        cycle: &Cycle,
    ) -> Option<(Vec<Seat>, Basis)> {
        let begun = Instant::now();
        seats = self.put_off_unsettled(seats);
        let newest = seats.iter().max_by_key(|seat| seat.ride.shown_at)?;
        let (mut shown, mut shown_at) = (newest.ride.shown.clone(), newest.ride.shown_at);
        while seats.iter().any(|seat| self.is_stale(seat, shown_at, begun)) {
            match self.read(permits.pop(), cycle).await {
                Ok((map, sent)) => (shown, shown_at) = (map, sent),
                Err(error) => {
                    // An old map that is sent as a whole would take others' changes back.
                    let full = self.shared.settings.patch_full;
                    let needs_it = |seat: &Seat| full || seat.ride.condition.is_some();
                    let (judged, rest): (Vec<_>, Vec<_>) = seats.into_iter().partition(needs_it);
                    for seat in judged {
                        seat.ride.cycle.share(cycle);
                        seat.tell(Told::Refused(error.clone()));
                    }
                    seats = rest;
                }
            }
        }
        let stood = Arc::new(self.shared.held.standing(self.place, &shown));
        let unseen = Arc::new(self.shared.held.unseen_values(self.place));
        Some((seats, Basis { shown: Arc::new(shown), shown_at, stood, unseen }))
    }

    /// Whether a map that was read at `shown_at` is too old for this member. An accepted write that
    /// a later read has settled is neither in that map for certain, nor in the overlay any more.
    fn is_stale(&self, seat: &Seat, shown_at: Instant, begun: Instant) -> bool {
        let (held, place) = (&self.shared.held, self.place);
        let judged = seat.ride.condition.is_some();
        if !judged && !self.shared.settings.patch_full {
            return false;
        }
        let settle = self.shared.settle().measured;
        shown_at + FRESH < begun
            || held.answered_last(place).is_some_and(|at| shown_at <= at)
            || held.is_outdated(place, shown_at)
            || judged
                && (shown_at < seat.ride.arrived
                    || held.is_unsettled(place, &seat.ride.marks, shown_at, settle))
    }

    async fn read(
        &self,
        permit: Option<Permit>,
        cycle: &Cycle,
    ) -> Result<(AttributeMap, Instant), Error> {
        let wanted = Wanted {
            subject: self.shared.subject(self.place.0, Some(self.place.1)),
            cause: Cause::Since(Instant::now()),
            class: Class::Admitted,
            retries: true,
            permit,
            reserve: 0,
        };
        let (sight, _) = self.shared.reads.read(wanted, cycle).await?;
        let participant = sight.conversation.participant(self.place.1);
        let map = participant.map(|participant| participant.attributes.clone());
        Ok((map.unwrap_or_default(), sight.sent))
    }

    /// While the fate of an earlier write is unknown, nothing can be said about a condition.
    fn put_off_unsettled(&self, seats: Vec<Seat>) -> Vec<Seat> {
        let settle = self.shared.settle().measured;
        let unsettled = |seat: &Seat| {
            let own = &seat.ride.marks;
            seat.ride.condition.is_some()
                && self.shared.held.is_unsettled(self.place, own, Instant::now(), settle)
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = seats.into_iter().partition(unsettled);
        for mut seat in waiting {
            let pause = FIRST_PAUSE.saturating_mul(1 << seat.put_off.min(10)).min(LONGEST_PAUSE);
            seat.put_off += 1;
            seat.not_before = Some(Instant::now() + pause);
            self.put_back(seat);
        }
        ready
    }

    /// Merges in order of arrival. Whoever cannot be part of it is told, or waits for the next.
    fn merge(&self, seats: Vec<Seat>, basis: &Basis) -> (Vec<Seat>, Merge) {
        let mut merge = Merge::onto(basis.stood.map.clone(), self.shared.settings.limits);
        let mut members = Vec::with_capacity(seats.len());
        for seat in seats {
            let ride = &seat.ride;
            if let Some(condition) = &ride.condition
                && !condition.holds(self.place.1, merge.map(), &ride.patch)
            {
                if condition.holds(self.place.1, &basis.stood.map, &ride.patch) {
                    // Only the batch stands against it, which may fail yet: judged again after it.
                    self.put_back(seat);
                } else {
                    let current = condition.current(self.place.1, &basis.stood.map);
                    seat.fail(Error::PreconditionFailed { current });
                }
                continue;
            }
            let wanted = self.wanted(&seat, basis, merge.map());
            let held = &self.shared.held;
            // An older map than the write itself must not let it through, nor refuse it.
            let is_remembered = basis.shown_at < ride.arrived;
            let added = merge.add((ride.arrival, is_remembered), &wanted, |key, change| {
                held.is_overtaken(self.place, key, ride.arrival, change)
            });
            match added {
                Ok(()) => members.push(seat),
                Err(excess) => seat.tell(Told::Refused(Error::AttributesTooLarge(excess))),
            }
        }
        (members, merge)
    }

    /// What a member wants to be sent. A conditional one is judged and compared here; the others
    /// have left out what they saw in place.
    fn wanted(&self, seat: &Seat, basis: &Basis, now: &AttributeMap) -> Patch {
        let ride = &seat.ride;
        if ride.condition.is_none() {
            return ride.patch.clone();
        }
        // What only stands there with changes that nobody has seen yet is sent as well: it would be
        // called unchanged without ever having been read.
        let (unseen, undone) = (ride.patch.missing_in(&basis.shown), ride.patch.missing_in(now));
        let held = &self.shared.held;
        ride.patch.only(|key| {
            unseen.get(key).is_some() || undone.get(key).is_some() || held.is_open(self.place, key)
        })
    }

    /// Sends a batch, and tells its members. Comes back with those that have to be sent singly.
    async fn send(&self, mut batch: Batch) -> Vec<Seat> {
        if batch.patch.is_empty() {
            self.tell(batch, &Ok(Instant::now()));
            return Vec::new();
        }
        let (held, place) = (&self.shared.held, self.place);
        let arrivals = Merge::arrivals(&batch.parts);
        let mark = held.sending(place, &batch.patch, &batch.basis.shown, &arrivals);
        batch.mark = Some(mark);
        let call = PatchCall {
            conversation: place.0,
            participant: place.1,
            attributes: self.body(&batch),
            again: batch.seats.iter().all(|seat| !seat.ride.marks.is_empty()),
            permit: batch.permits.pop(),
        };
        self.shared.meter.batch(batch.seats.len());
        let start = Instant::now();
        let result = self.shared.conversations.patch(call, &batch.cycle).await;
        batch.cycle.spend(Phase::Patch, start.elapsed());
        match &result {
            Ok(()) => held.accepted(place, mark),
            Err(CallFailure { fate: Fate::NotApplied, .. }) => held.refused(place, mark),
            Err(CallFailure { fate: Fate::Unknown | Fate::UnknownOnce, .. }) => {}
        }
        held.answered(place);
        self.shared.reads.patched(place);
        match result {
            Err(failure) if batch.seats.len() > 1 && is_rejection(&failure) => {
                batch.seats.iter().for_each(|seat| seat.ride.cycle.share(&batch.cycle));
                batch.seats
            }
            result => {
                self.tell(batch, &result.map(|()| Instant::now()));
                Vec::new()
            }
        }
    }

    fn body(&self, batch: &Batch) -> AttributeMap {
        if self.shared.settings.patch_full {
            // A map that replaces must not lose what we wrote and cannot see yet.
            batch.patch.applied_to(&batch.basis.stood.map)
        } else {
            batch.patch.as_sent()
        }
    }

    fn tell(&self, batch: Batch, result: &Result<Instant, CallFailure>) {
        let Batch { seats, parts, patch, basis, cycle, mut permits, mark } = batch;
        let fare = permits.pop().map(|permit| Fare::new(Permits::from(permit))).unwrap_or_default();
        let (unit, losses) = ((self.shared.random)(), Arc::<Losses>::default());
        for (mut seat, part) in seats.into_iter().zip(parts) {
            let result = seat.told_of(result, &patch, &part);
            let result = &result;
            seat.ride.cycle.share(&cycle);
            if let Some(wait) = pause_before_another(&seat, result, &cycle) {
                seat.not_before = Some(Instant::now() + wait);
                self.put_back(seat);
                continue;
            }
            let told = super::Sent {
                carried: part.carried,
                overtaken: part.overtaken,
                patch: Arc::clone(&patch),
                shown: Arc::clone(&basis.shown),
                shown_at: basis.shown_at,
                stood: Arc::clone(&basis.stood),
                unseen: Arc::clone(&basis.unseen),
                result: result.clone(),
                mark,
                fare: fare.clone(),
                losses: Arc::clone(&losses),
                unit,
            };
            seat.tell(Told::Sent(Box::new(told)));
        }
    }
}

impl Seat {
    /// What became of the PATCH, as far as this member may know of what others put into it.
    fn told_of(
        &self,
        result: &Result<Instant, CallFailure>,
        patch: &Patch,
        part: &Part,
    ) -> Result<Instant, CallFailure> {
        let rights = &self.ride.cycle.client().rights;
        let own =
            |key: &AttributeKey| part.carried.get(key).is_some() || part.overtaken.contains(key);
        result.clone().map_err(|failure| {
            if patch.keys().all(own) {
                return failure;
            }
            CallFailure {
                error: access_filter::refusal_of_shared(failure.error, rights),
                ..failure
            }
        })
    }
}

/// How long a member waits for another batch, where its own failed only because a more impatient
/// member came along, and there is time yet.
fn pause_before_another(
    seat: &Seat,
    result: &Result<Instant, CallFailure>,
    cycle: &Cycle,
) -> Option<Duration> {
    let Err(CallFailure { error, fate: Fate::NotApplied, .. }) = result else { return None };
    if !cycle.was_hurried() {
        return None;
    }
    let wait = error.retry_after().unwrap_or_default();
    let fits = Instant::now() + wait < seat.deadline() && seat.deadline() > cycle.start_by();
    fits.then_some(wait)
}

/// Whether upstream has refused what the PATCH holds, and might not have, had it held less.
fn is_rejection(failure: &CallFailure) -> bool {
    failure.fate == Fate::NotApplied
        && match &failure.error {
            Error::AttributesTooLarge(_) => true,
            Error::UpstreamRejected { status, .. } => matches!(status, 400 | 413 | 422),
            _ => false,
        }
}
