//! Members of a rejected batch: each goes alone, in order of arrival, on the account of its own caller.
//!
//! There may be as many as a batch had members, each with calls of its own, so nothing of it was
//! booked before. Where a caller has no calls left for them, they wait as anything else of it would,
//! and whoever else writes to this participant goes meanwhile.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::worker::{Next, Runner};
use super::{Line, Seat};
use crate::error::Error;
use crate::ports::{Booking, Payer, Permit, Wish};

/// Who is put off is looked at again no sooner: the time that was reckoned may have come already.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// Who goes along in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Everybody who need not go alone.
    Together,
    /// The one that arrived with this number.
    Alone(u64),
}

impl Group {
    /// Whether `seat` is one of them.
    pub(super) fn has(self, seat: &Seat) -> bool {
        match self {
            Self::Together => !seat.alone,
            Self::Alone(arrival) => seat.ride.arrival == arrival,
        }
    }
}

impl Line {
    /// Who goes next: the first of those who can, and all who go with it. Between two that go alone
    /// everybody else has a turn.
    pub(super) fn ready(&self, now: Instant) -> (Group, Vec<&Seat>) {
        let mut ready: Vec<&Seat> = self.seats.values().filter(|seat| seat.is_ready(now)).collect();
        let others_turn = self.alone_went && ready.iter().any(|seat| !seat.alone);
        let group = match ready.first() {
            Some(first) if first.alone && !others_turn => Group::Alone(first.ride.arrival),
            Some(_) | None => Group::Together,
        };
        ready.retain(|seat| group.has(seat));
        (group, ready)
    }
}

impl Seat {
    /// Whether it has not been put off, or no longer.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether it goes alone, on the account of `payer`.
    fn is_alone_for(&self, payer: Payer) -> bool {
        self.alone && self.ride.cycle.payer() == payer
    }
}

impl Runner {
    /// Gets the permits for one that goes alone. `None` if there are none yet, or will be none.
    pub(super) async fn book_alone(
        &self,
        arrival: u64,
        next: Next,
        changed: &Notify,
    ) -> Option<Vec<Permit>> {
        let Next { wish, mut permits, .. } = next;
        let granted = match self.shared.pacing.book(wish) {
            Ok(Booking::Now(granted)) => Ok(granted),
            Ok(Booking::Later { expected, granted }) => {
                self.refuse_alone(
                    &self.shared.pacing.refusal(wish.payer, wish.calls),
                    wish,
                    expected,
                );
                tokio::select! {
                    granted = granted => granted,
                    () = self.company(arrival, wish.payer, changed) => {
                        self.put_off(wish.payer, expected);
                        return None;
                    }
                }
            }
            Err(refusal) => Err(refusal),
        };
        match granted {
            Ok(mut granted) => {
                permits.extend(std::iter::from_fn(|| granted.take()));
                Some(permits)
            }
            Err(refusal) => {
                self.refuse_alone(&refusal, wish, wish.deadline);
                None
            }
        }
    }

    /// Ends when somebody waits who could go in place of those who go alone for `payer`, or when the
    /// one that is booked for has left.
    async fn company(&self, arrival: u64, payer: Payer, changed: &Notify) {
        loop {
            let waits = match self.shared.turns.lines().get(&self.place) {
                Some(line) => {
                    line.seats.contains_key(&arrival)
                        && line.seats.values().all(|seat| seat.is_alone_for(payer))
                }
                None => false,
            };
            if !waits {
                return;
            }
            changed.notified().await;
        }
    }

    fn put_off(&self, payer: Payer, expected: Instant) {
        let until = expected.max(Instant::now() + LEAST_PAUSE);
        if let Some(line) = self.shared.turns.lines().get_mut(&self.place) {
            for seat in line.seats.values_mut().filter(|seat| seat.is_alone_for(payer)) {
                seat.not_before = Some(until);
            }
        }
    }

    /// Tells those who go alone as well and cannot wait so long.
    fn refuse_alone(&self, refusal: &Error, wish: Wish, until: Instant) {
        self.refuse(refusal, |seat| seat.is_alone_for(wish.payer) && seat.deadline() <= until);
    }
}
