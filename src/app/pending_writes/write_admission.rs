//! Admits writes: they are counted in total, for each participant and for each client. Entries of a
//! participant are removed when no write needs them.
//!
//! With several clients, the last eighth of the slots is reserved for clients below their weighted
//! share (`policy::concurrency`). A client that floods the service, or one participant, cannot take
//! the slots of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{ParticipantKey, ParticipantState, PendingWrites, PendingWritesState};
use crate::app::budget_accounts::slots_exhausted_error;
use crate::domain::ConversationId;
use crate::error::Error;
use crate::ports::BudgetAccount;

/// Names the limit that was reached, unless it is the client's own.
const EVERYWHERE: &str = "in this gateway";
const HERE: &str = "for this participant";
/// How often entries with only expired writes are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

impl PendingWrites {
    /// Admits a write, on the account of `account`.
    pub fn admit(
        &self,
        conversation: ConversationId,
        account: BudgetAccount,
    ) -> Result<WriteAdmission, Error> {
        let mut state = self.state();
        let state = &mut *state;
        state.weights.register(account);
        let weights = &state.weights;
        let all = state.writes.admits(account, self.waiting, weights);
        all.map_err(|full| slots_exhausted_error(full, EVERYWHERE))?;
        // No more writes are admitted to a conversation than one participant can take.
        let arriving = state.arriving.entry(conversation).or_default();
        let here = arriving.admits(account, self.waiting_per_participant, weights);
        here.map_err(|full| slots_exhausted_error(full, HERE))?;
        arriving.take(account, weights);
        state.writes.take(account, weights);
        self.recorder.writes.set_pending(state.writes.taken(), state.participants.len());
        Ok(WriteAdmission {
            pending_writes: self.clone(),
            conversation,
            account,
            participant_key: None,
        })
    }

    /// Sets the clients that have a share of the slots.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.state().weights.set_known_clients(accounts);
    }

    /// Removes expired entries while no write comes, until nothing is left.
    fn sweep(self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(self.outstanding.max(SWEEP_INTERVAL)).await;
                let mut state = self.state();
                state.swept = None;
                state.drop_expired(None, self.outstanding);
                self.recorder.writes.set_pending(state.writes.taken(), state.participants.len());
                if state.participants.is_empty() {
                    state.sweeping = false;
                    return;
                }
            }
        });
    }
}

impl PendingWritesState {
    /// A write has found its participant, or given up.
    fn arrived(&mut self, conversation: ConversationId, account: BudgetAccount) {
        if let Some(arriving) = self.arriving.get_mut(&conversation) {
            arriving.leave(account);
            if arriving.taken() == 0 {
                self.arriving.remove(&conversation);
            }
        }
    }

    /// Removes what has expired in one entry, and now and then in all.
    fn drop_expired(&mut self, participant_key: Option<ParticipantKey>, outstanding: Duration) {
        let arriving = &self.arriving;
        let is_live = |participant_key: &ParticipantKey, entry: &mut ParticipantState| {
            entry.retain_open(|open| open.is_live(outstanding));
            if entry.writes.taken() == 0 {
                entry.latest.clear();
                entry.maybe.clear();
            }
            // Writes on their way here may have read before the last write was confirmed.
            let awaited = entry.settled.is_some() && arriving.contains_key(&participant_key.0);
            entry.writes.taken() > 0 || !entry.open.is_empty() || awaited
        };
        if self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL) {
            self.swept = Some(Instant::now());
            self.participants.retain(|participant_key, entry| is_live(participant_key, entry));
        } else if let Some(participant_key) = participant_key
            && self
                .participants
                .get_mut(&participant_key)
                .is_some_and(|entry| !is_live(&participant_key, entry))
        {
            self.participants.remove(&participant_key);
        }
    }
}

/// A write that counts until this is dropped.
pub struct WriteAdmission {
    pending_writes: PendingWrites,
    conversation: ConversationId,
    account: BudgetAccount,
    participant_key: Option<ParticipantKey>,
}

impl WriteAdmission {
    /// Counts the write for this participant.
    pub fn acquire(&mut self, participant_key: ParticipantKey) -> Result<(), Error> {
        if self.participant_key == Some(participant_key) {
            return Ok(());
        }
        let mut state = self.pending_writes.state();
        let state = &mut *state;
        let entry = state.participants.entry(participant_key).or_default();
        let room = entry.writes.admits(
            self.account,
            self.pending_writes.waiting_per_participant,
            &state.weights,
        );
        room.map_err(|full| slots_exhausted_error(full, HERE))?;
        entry.writes.take(self.account, &state.weights);
        match self.participant_key.replace(participant_key) {
            None => state.arrived(self.conversation, self.account),
            // The first choice came from the cache, and a fresh read has corrected it.
            Some(left) => {
                if let Some(entry) = state.participants.get_mut(&left) {
                    entry.writes.leave(self.account);
                }
                state.drop_expired(Some(left), self.pending_writes.outstanding);
            }
        }
        let recorder = &self.pending_writes.recorder;
        recorder.writes.set_pending(state.writes.taken(), state.participants.len());
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
                if let Some(entry) = state.participants.get_mut(&participant_key) {
                    entry.writes.leave(self.account);
                }
            }
        }
        state.drop_expired(self.participant_key, self.pending_writes.outstanding);
        let recorder = &self.pending_writes.recorder;
        recorder.writes.set_pending(state.writes.taken(), state.participants.len());
        let is_last = state.writes.taken() == 0 && !state.participants.is_empty();
        if is_last && !std::mem::replace(&mut state.sweeping, true) {
            drop(state);
            self.pending_writes.clone().sweep();
        }
    }
}
