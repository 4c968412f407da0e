//! Reading: one upstream read, one participant chosen from it, or all of them.

use tokio::time::Instant;

use super::{App, choose};
use crate::domain::{ChosenBy, ConversationId, Intent, Participant, ParticipantSelector};
use crate::error::{Error, Failure};
use crate::ports::{Cycle, Phase, ReadCall};

/// What a caller wants to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose attributes.
    pub selector: ParticipantSelector,
    /// Deadline and spending.
    pub cycle: Cycle,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum Reading {
    /// One participant.
    One {
        /// The participant, attributes included.
        participant: Participant,
        /// The rule that chose it.
        chosen_by: ChosenBy,
    },
    /// Every participant, in order of joining (`participant=all`).
    All(Vec<Participant>),
}

impl App {
    /// Reads attributes: always from upstream, never from a memory.
    ///
    /// # Errors
    /// Of upstream, or if the selector names nobody, or more than one.
    pub async fn read(&self, request: ReadRequest) -> Result<Reading, Failure> {
        let ReadRequest { conversation, selector, cycle } = request;
        let call =
            ReadCall { conversation, participant: selector.id(), retries: true, permit: None };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.shared.conversations.read(call, &cycle) => read,
            () = self.shared.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        cycle.spend(Phase::Read, start.elapsed());
        let mut conversation = read?;
        if selector.is_all() {
            return Ok(Reading::All(conversation.participants));
        }
        let chosen = choose(&selector, &conversation, Intent::Read)?;
        let (id, chosen_by) = (chosen.participant.id, chosen.by);
        let chosen = conversation.participants.iter().position(|other| other.id == id);
        let index = chosen.ok_or_else(|| Error::Internal("the choice is not there".to_owned()))?;
        Ok(Reading::One { participant: conversation.participants.swap_remove(index), chosen_by })
    }
}
