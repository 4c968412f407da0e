//! Who is let in: writes are counted, in all, for each participant and for each caller, and what is
//! held of a participant goes when nobody needs it any more.
//!
//! Among several callers the last eighth of the places is for those who hold less than their part of
//! all places, by weight (`policy::concurrency`): so nobody who floods the service, or one participant, takes
//! the place of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, Held, Place, State};
use crate::app::budget_accounts::{on_account, turned_away};
use crate::domain::ConversationId;
use crate::error::Error;
use crate::policy;
use crate::ports::Payer;

/// Where there are too many, if it is not one caller alone that has them.
const EVERYWHERE: &str = "in this gateway";
const HERE: &str = "for this participant";
/// How often entries that only hold expired writes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Held {
    /// Admits a write to the service, on the account of `payer`.
    pub fn admit(&self, conversation: ConversationId, payer: Payer) -> Result<Admitted, Error> {
        let mut state = self.state();
        let state = &mut *state;
        let account = on_account(payer);
        state.parts.meet(account);
        let parts = &state.parts;
        let all = state.writes.admits(account, self.waiting, parts);
        all.map_err(|full| turned_away(full, EVERYWHERE))?;
        // Whoever they are for, more of them could not enter the turn of one participant.
        let arriving = state.arriving.entry(conversation).or_default();
        let here = arriving.admits(account, self.waiting_per_participant, parts);
        here.map_err(|full| turned_away(full, HERE))?;
        arriving.take(account, parts);
        state.writes.take(account, parts);
        self.meter.writes_in_flight(state.writes.taken());
        Ok(Admitted { held: self.clone(), conversation, payer: account, place: None })
    }

    /// Callers that have their part of the places, and no others.
    pub fn expect(&self, payers: &[Payer]) {
        let payers: Vec<_> = payers.iter().copied().map(on_account).collect();
        self.state().parts.expect(&payers);
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
    /// A write has found its participant, or given up.
    fn arrived(&mut self, conversation: ConversationId, payer: policy::Payer) {
        if let Some(arriving) = self.arriving.get_mut(&conversation) {
            arriving.leave(payer);
            if arriving.taken() == 0 {
                self.arriving.remove(&conversation);
            }
        }
    }

    /// Forgets what has expired; all of it only now and then.
    fn tidy(&mut self, place: Option<Place>, outstanding: Duration) {
        let arriving = &self.arriving;
        let is_live = |place: &Place, entry: &mut Entry| {
            entry.open.retain(|_, opens| {
                opens.retain(|open| open.is_live(outstanding));
                !opens.is_empty()
            });
            if entry.writes.taken() == 0 {
                entry.latest.clear();
                entry.maybe.clear();
            }
            // Those who are on their way here may have read before the last write was settled.
            let awaited = entry.settled.is_some() && arriving.contains_key(&place.0);
            entry.writes.taken() > 0 || !entry.open.is_empty() || awaited
        };
        if self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            self.swept = Some(Instant::now());
            self.places.retain(|place, entry| is_live(place, entry));
        } else if let Some(place) = place
            && self.places.get_mut(&place).is_some_and(|entry| !is_live(&place, entry))
        {
            self.places.remove(&place);
        }
    }
}

/// A write that counts until this is dropped.
pub struct Admitted {
    held: Held,
    conversation: ConversationId,
    payer: policy::Payer,
    place: Option<Place>,
}

impl Admitted {
    /// The write is to this participant.
    pub fn enter(&mut self, place: Place) -> Result<(), Error> {
        if self.place == Some(place) {
            return Ok(());
        }
        let mut state = self.held.state();
        let state = &mut *state;
        let entry = state.places.entry(place).or_default();
        let room = entry.writes.admits(self.payer, self.held.waiting_per_participant, &state.parts);
        room.map_err(|full| turned_away(full, HERE))?;
        entry.writes.take(self.payer, &state.parts);
        match self.place.replace(place) {
            None => state.arrived(self.conversation, self.payer),
            // The first choice was from memory, and a fresh read has corrected it.
            Some(left) => {
                if let Some(entry) = state.places.get_mut(&left) {
                    entry.writes.leave(self.payer);
                }
                state.tidy(Some(left), self.held.outstanding);
            }
        }
        self.held.meter.participants_held(state.places.len());
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.held.state();
        state.writes.leave(self.payer);
        match self.place {
            None => state.arrived(self.conversation, self.payer),
            Some(place) => {
                if let Some(entry) = state.places.get_mut(&place) {
                    entry.writes.leave(self.payer);
                }
            }
        }
        state.tidy(self.place, self.held.outstanding);
        self.held.meter.writes_in_flight(state.writes.taken());
        self.held.meter.participants_held(state.places.len());
        let is_last = state.writes.taken() == 0 && !state.places.is_empty();
        if is_last && !std::mem::replace(&mut state.sweeping, true) {
            drop(state);
            self.held.clone().sweep();
        }
    }
}
