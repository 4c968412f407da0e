//! Who is let in: writes are counted, in all and for each participant, and what is held of a
//! participant goes when nobody needs it any more.

use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, Held, Place, State};
use crate::domain::ConversationId;
use crate::error::Error;

/// How often entries that only hold expired writes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Held {
    /// Admits a write to the service.
    pub fn admit(&self, conversation: ConversationId) -> Result<Admitted, Error> {
        let mut state = self.state();
        if state.writes >= self.waiting {
            return Err(Error::Overloaded("in this gateway"));
        }
        // Whoever they are for, more of them could not enter the turn of one participant.
        let arriving = state.arriving.entry(conversation).or_default();
        if *arriving >= self.waiting_per_participant {
            return Err(Error::Overloaded("for this participant"));
        }
        *arriving += 1;
        state.writes += 1;
        self.meter.writes_in_flight(state.writes);
        Ok(Admitted { held: self.clone(), conversation, place: None })
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
