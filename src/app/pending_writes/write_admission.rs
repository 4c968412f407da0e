//! Who is let in: writes are counted, in all, for each participant and for each client, and what is
//! held of a participant goes when nobody needs it any more.
//!
//! Among several clients the last eighth of the places is for those who hold less than their part of
//! all places, by weight (`policy::concurrency`): so nobody who floods the service, or one participant, takes
//! the place of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{ParticipantKey, ParticipantState, PendingWrites, PendingWritesState};
use crate::app::budget_accounts::{slots_exhausted_error, to_policy_account};
use crate::domain::ConversationId;
use crate::error::Error;
use crate::policy;
use crate::ports::BudgetAccount;

/// Where there are too many, if it is not one client alone that has them.
const EVERYWHERE: &str = "in this gateway";
const HERE: &str = "for this participant";
/// How often entries that only hold expired writes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

impl PendingWrites {
    /// Admits a write to the service, on the account of `account`.
    pub fn admit(
        &self,
        conversation: ConversationId,
        account: BudgetAccount,
    ) -> Result<WriteAdmission, Error> {
        let mut state = self.state();
        let state = &mut *state;
        let account = to_policy_account(account);
        state.parts.register(account);
        let parts = &state.parts;
        let all = state.writes.admits(account, self.waiting, parts);
        all.map_err(|full| slots_exhausted_error(full, EVERYWHERE))?;
        // Whoever they are for, more of them could not enter the turn of one participant.
        let arriving = state.arriving.entry(conversation).or_default();
        let here = arriving.admits(account, self.waiting_per_participant, parts);
        here.map_err(|full| slots_exhausted_error(full, HERE))?;
        arriving.take(account, parts);
        state.writes.take(account, parts);
        self.recorder.writes_in_flight(state.writes.taken());
        Ok(WriteAdmission {
            pending_writes: self.clone(),
            conversation,
            account,
            participant_key: None,
        })
    }

    /// Clients that have their part of the places, and no others.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        let accounts: Vec<_> = accounts.iter().copied().map(to_policy_account).collect();
        self.state().parts.set_known_clients(&accounts);
    }

    /// Forgets what expires while nobody writes, until nothing is left.
    fn sweep(self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(self.outstanding.max(SWEEP_INTERVAL)).await;
                let mut state = self.state();
                state.swept = None;
                state.drop_expired(None, self.outstanding);
                self.recorder.participants_held(state.places.len());
                if state.places.is_empty() {
                    state.sweeping = false;
                    return;
                }
            }
        });
    }
}

impl PendingWritesState {
    /// A write has found its participant, or given up.
    fn arrived(&mut self, conversation: ConversationId, account: policy::BudgetAccount) {
        if let Some(arriving) = self.arriving.get_mut(&conversation) {
            arriving.leave(account);
            if arriving.taken() == 0 {
                self.arriving.remove(&conversation);
            }
        }
    }

    /// Forgets what has expired; all of it only now and then.
    fn drop_expired(&mut self, participant_key: Option<ParticipantKey>, outstanding: Duration) {
        let arriving = &self.arriving;
        let is_live = |participant_key: &ParticipantKey, entry: &mut ParticipantState| {
            entry.open.retain(|_, opens| {
                opens.retain(|open| open.is_live(outstanding));
                !opens.is_empty()
            });
            if entry.writes.taken() == 0 {
                entry.latest.clear();
                entry.maybe.clear();
            }
            // Those who are on their way here may have read before the last write was settled.
            let awaited = entry.settled.is_some() && arriving.contains_key(&participant_key.0);
            entry.writes.taken() > 0 || !entry.open.is_empty() || awaited
        };
        if self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL) {
            self.swept = Some(Instant::now());
            self.places.retain(|participant_key, entry| is_live(participant_key, entry));
        } else if let Some(participant_key) = participant_key
            && self
                .places
                .get_mut(&participant_key)
                .is_some_and(|entry| !is_live(&participant_key, entry))
        {
            self.places.remove(&participant_key);
        }
    }
}

/// A write that counts until this is dropped.
pub struct WriteAdmission {
    pending_writes: PendingWrites,
    conversation: ConversationId,
    account: policy::BudgetAccount,
    participant_key: Option<ParticipantKey>,
}

impl WriteAdmission {
    /// The write is to this participant.
    pub fn acquire(&mut self, participant_key: ParticipantKey) -> Result<(), Error> {
        if self.participant_key == Some(participant_key) {
            return Ok(());
        }
        let mut state = self.pending_writes.state();
        let state = &mut *state;
        let entry = state.places.entry(participant_key).or_default();
        let room = entry.writes.admits(
            self.account,
            self.pending_writes.waiting_per_participant,
            &state.parts,
        );
        room.map_err(|full| slots_exhausted_error(full, HERE))?;
        entry.writes.take(self.account, &state.parts);
        match self.participant_key.replace(participant_key) {
            None => state.arrived(self.conversation, self.account),
            // The first choice was from memory, and a fresh read has corrected it.
            Some(left) => {
                if let Some(entry) = state.places.get_mut(&left) {
                    entry.writes.leave(self.account);
                }
                state.drop_expired(Some(left), self.pending_writes.outstanding);
            }
        }
        self.pending_writes.recorder.participants_held(state.places.len());
        Ok(())
    }
}

impl Drop for WriteAdmission {
    fn drop(&mut self) {
        let mut state = self.pending_writes.state();
        state.writes.leave(self.account);
        match self.participant_key {
            None => state.arrived(self.conversation, self.account),
            Some(participant_key) => {
                if let Some(entry) = state.places.get_mut(&participant_key) {
                    entry.writes.leave(self.account);
                }
            }
        }
        state.drop_expired(self.participant_key, self.pending_writes.outstanding);
        self.pending_writes.recorder.writes_in_flight(state.writes.taken());
        self.pending_writes.recorder.participants_held(state.places.len());
        let is_last = state.writes.taken() == 0 && !state.places.is_empty();
        if is_last && !std::mem::replace(&mut state.sweeping, true) {
            drop(state);
            self.pending_writes.clone().sweep();
        }
    }
}
