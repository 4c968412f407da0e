//! Who is let in: writes are counted, in all, for each participant and for each caller, and what is
//! held of a participant goes when nobody needs it any more.
//!
//! Among several callers the last eighth of the places is for those who hold less than their part of
//! all places, by weight: so nobody who floods the service takes the place of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, Held, Place, State};
use crate::domain::ConversationId;
use crate::error::Error;
use crate::ports::Payer;

/// One in so many places is for callers that hold less than their part of all.
const KEPT_ONE_IN: usize = 8;
/// How often entries that only hold expired writes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Held {
    /// Admits a write to the service, on the account of `payer`.
    pub fn admit(&self, conversation: ConversationId, payer: Payer) -> Result<Admitted, Error> {
        let mut state = self.state();
        if state.writes >= self.waiting {
            return Err(Error::Overloaded("in this gateway"));
        }
        if !state.may_hold_one_more(payer, self.waiting) {
            return Err(Error::Overloaded("for this caller"));
        }
        // Whoever they are for, more of them could not enter the turn of one participant.
        let arriving = state.arriving.entry(conversation).or_default();
        if *arriving >= self.waiting_per_participant {
            return Err(Error::Overloaded("for this participant"));
        }
        *arriving += 1;
        state.writes += 1;
        state.callers.entry(payer.id).or_default().0 += 1;
        self.meter.writes_in_flight(state.writes);
        Ok(Admitted { held: self.clone(), conversation, payer, place: None })
    }

    /// Callers that have their part of the places, and no others but who holds some.
    pub fn expect(&self, payers: &[Payer]) {
        let mut state = self.state();
        // Who is off the list has no part any more, and may still hold some.
        state.callers.retain(|_, (held, weight)| {
            *weight = 0;
            *held > 0
        });
        for payer in payers {
            state.callers.entry(payer.id).or_default().1 = u64::from(payer.weight.get());
        }
    }

    /// Forgets what expires while nobody writes, until nothing is left.
    fn sweep(self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(self.outstanding.max(SWEEP_EVERY)).await;
                let mut state = self.state();
                state.swept = None;
                state.tidy(None, self.outstanding);
                self.meter.participants_held(state.places.len());
                if state.places.is_empty() {
                    state.sweeping = false;
                    return;
                }
            }
        });
    }
}

impl State {
    /// Whether there is a place for another write of this caller. Callers are remembered once they
    /// have written; there are as many as are configured.
    fn may_hold_one_more(&mut self, payer: Payer, places: usize) -> bool {
        let caller = self.callers.entry(payer.id).or_default();
        let (held, weight) = (caller.0, u64::from(payer.weight.get()));
        caller.1 = weight;
        if self.callers.len() == 1 || self.writes < places - places / KEPT_ONE_IN {
            return true;
        }
        let weights: u64 = self.callers.values().map(|(_, weight)| weight).sum();
        let part = places as u128 * u128::from(weight) / u128::from(weights.max(1));
        (held as u128) < part.max(1)
    }

    /// A write has found its participant, or given up.
    fn arrived(&mut self, conversation: ConversationId) {
        if let Some(arriving) = self.arriving.get_mut(&conversation) {
            *arriving -= 1;
            if *arriving == 0 {
                self.arriving.remove(&conversation);
            }
        }
    }

    /// Forgets what has expired; all of it only now and then.
    fn tidy(&mut self, place: Option<Place>, outstanding: Duration) {
        let is_live = |entry: &mut Entry| {
            entry.open.retain(|_, opens| {
                opens.retain(|open| open.is_live(outstanding));
                !opens.is_empty()
            });
            if entry.writes == 0 {
                entry.latest.clear();
                entry.maybe.clear();
            }
            entry.writes > 0 || !entry.open.is_empty()
        };
        if self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            self.swept = Some(Instant::now());
            self.places.retain(|_, entry| is_live(entry));
        } else if let Some(place) = place
            && self.places.get_mut(&place).is_some_and(|entry| !is_live(entry))
        {
            self.places.remove(&place);
        }
    }
}

/// A write that counts until this is dropped.
pub struct Admitted {
    held: Held,
    conversation: ConversationId,
    payer: Payer,
    place: Option<Place>,
}

impl Admitted {
    /// The write is to this participant.
    pub fn enter(&mut self, place: Place) -> Result<(), Error> {
        if self.place == Some(place) {
            return Ok(());
        }
        let mut state = self.held.state();
        let entry = state.places.entry(place).or_default();
        if entry.writes >= self.held.waiting_per_participant {
            return Err(Error::Overloaded("for this participant"));
        }
        entry.writes += 1;
        state.arrived(self.conversation);
        self.place = Some(place);
        self.held.meter.participants_held(state.places.len());
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.held.state();
        state.writes = state.writes.saturating_sub(1);
        if let Some((held, _)) = state.callers.get_mut(&self.payer.id) {
            *held = held.saturating_sub(1);
        }
        match self.place {
            None => state.arrived(self.conversation),
            Some(place) => {
                if let Some(entry) = state.places.get_mut(&place) {
                    entry.writes = entry.writes.saturating_sub(1);
                }
            }
        }
        state.tidy(self.place, self.held.outstanding);
        self.held.meter.writes_in_flight(state.writes);
        self.held.meter.participants_held(state.places.len());
        let is_last = state.writes == 0 && !state.places.is_empty();
        if is_last && !std::mem::replace(&mut state.sweeping, true) {
            drop(state);
            self.held.clone().sweep();
        }
    }
}
