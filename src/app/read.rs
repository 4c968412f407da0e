//! Reading: one upstream read, one participant chosen from it, or all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::coalesced_reads::{Cause, Sight, Subject, Wanted};
use super::{App, access_filter, choose};
use crate::domain::{
    ChosenBy, Conversation, ConversationId, Intent, Participant, ParticipantSelector,
};
use crate::error::{Error, Failure};
use crate::ports::{Class, Cycle, Phase};

/// What a caller wants to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose attributes.
    pub selector: ParticipantSelector,
    /// Whether it must be read now, although a read of moments ago might serve.
    pub no_cache: bool,
    /// Deadline and spending.
    pub cycle: Cycle,
}

/// A conversation that a caller wants to see as a whole.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether it must be read now, although a read of moments ago might serve.
    pub no_cache: bool,
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
        /// Whether it was read for this request, and not before.
        fresh: bool,
    },
    /// Every participant, in order of joining (`participant=all`).
    All(Vec<Participant>),
}

impl App {
    /// Reads attributes, together with whoever wants to read the same at this moment.
    ///
    /// # Errors
    /// Of upstream, or if the selector names nobody, or more than one.
    pub async fn read(&self, request: ReadRequest) -> Result<Reading, Failure> {
        let ReadRequest { conversation, selector, no_cache, cycle } = request;
        let rights = &cycle.client().rights;
        access_filter::check_named(&selector, rights)?;
        let subject = self.shared.subject(conversation, selector.id());
        let (sight, fresh) = self.seen(subject, no_cache, &cycle).await?;
        if selector.is_all() {
            let all = sight.conversation.participants.iter().cloned();
            return Ok(Reading::All(
                all.map(|one| access_filter::participant(one, rights)).collect(),
            ));
        }
        let chosen = choose(&selector, &sight.conversation, Intent::Read)?;
        let named = (&selector, rights);
        access_filter::check_reached(
            chosen.participant,
            &sight.conversation,
            named,
            self.shared.reads_whole(),
        )?;
        cycle.note_participant(chosen.participant.candidate(), chosen.by);
        let participant = access_filter::participant(chosen.participant.clone(), rights);
        Ok(Reading::One { participant, chosen_by: chosen.by, fresh })
    }

    /// Reads a conversation as a whole: who is in it, and since when.
    ///
    /// # Errors
    /// Of upstream, or of a route that reads participants singly.
    pub async fn view(&self, request: ViewRequest) -> Result<Arc<Conversation>, Failure> {
        let ViewRequest { conversation, no_cache, cycle } = request;
        let subject = self.shared.subject(conversation, None);
        let (sight, _) = self.seen(subject, no_cache, &cycle).await?;
        let rights = &cycle.client().rights;
        Ok(access_filter::conversation(sight.conversation, rights, self.shared.reads_whole()))
    }

    /// What a read shows, and whether it was made for this request.
    async fn seen(
        &self,
        subject: Subject,
        no_cache: bool,
        cycle: &Cycle,
    ) -> Result<(Sight, bool), Error> {
        let max_age = if no_cache { Duration::ZERO } else { self.shared.settings.max_age };
        match self.shared.memory.recall_unwritten(subject, max_age) {
            Some(sight) => Ok((sight, false)),
            None => Ok((self.look(subject, cycle).await?, true)),
        }
    }

    async fn look(&self, subject: Subject, cycle: &Cycle) -> Result<Sight, Error> {
        let wanted = Wanted {
            subject,
            cause: Cause::LastPatch,
            class: Class::Read,
            retries: true,
            permit: None,
            reserve: 0,
        };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.shared.reads.read(wanted, cycle) => read.map(|(sight, _)| sight),
            () = self.shared.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        cycle.spend(Phase::Read, start.elapsed());
        read
    }
}
