//! Reading: one upstream read, one participant chosen from it, or all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::coalesced_reads::{CoalescedRead, Freshness};
use super::snapshot::{ReadTarget, Snapshot};
use super::{App, access_filter, choose};
use crate::domain::{
    Conversation, ConversationId, Participant, ParticipantSelector, SelectionRule, SelectorIntent,
};
use crate::error::{Error, RequestFailure};
use crate::ports::{PriorityClass, RequestContext, RequestPhase};

/// What a client wants to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose attributes.
    pub selector: ParticipantSelector,
    /// Whether it must be read now, although a read of moments ago might serve.
    pub no_cache: bool,
    /// Deadline and spending.
    pub context: RequestContext,
}

/// A conversation that a client wants to see as a whole.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether it must be read now, although a read of moments ago might serve.
    pub no_cache: bool,
    /// Deadline and spending.
    pub context: RequestContext,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum ReadOutcome {
    /// One participant.
    One {
        /// The participant, attributes included.
        participant: Participant,
        /// The rule that chose it.
        chosen_by: SelectionRule,
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
    pub async fn read(&self, request: ReadRequest) -> Result<ReadOutcome, RequestFailure> {
        let ReadRequest { conversation, selector, no_cache, context } = request;
        let rights = &context.client().rights;
        access_filter::check_named(&selector, rights)?;
        let read_target = self.shared.reads.target(conversation, selector.id());
        let (snapshot, fresh) = self.seen(read_target, no_cache, &context).await?;
        if selector.is_all() {
            let all = snapshot.conversation.participants.iter().cloned();
            return Ok(ReadOutcome::All(
                all.map(|one| access_filter::participant(one, rights)).collect(),
            ));
        }
        let chosen = choose(&selector, &snapshot.conversation, SelectorIntent::Read)?;
        let named = (&selector, rights);
        access_filter::check_reached(
            chosen.participant,
            &snapshot.conversation,
            named,
            self.shared.reads.reads_whole(),
        )?;
        context.note_participant(chosen.participant.candidate(), chosen.by);
        let participant = access_filter::participant(chosen.participant.clone(), rights);
        Ok(ReadOutcome::One { participant, chosen_by: chosen.by, fresh })
    }

    /// Reads a conversation as a whole: who is in it, and since when.
    ///
    /// # Errors
    /// Of upstream, or of a route that reads participants singly.
    pub async fn view(&self, request: ViewRequest) -> Result<Arc<Conversation>, RequestFailure> {
        let ViewRequest { conversation, no_cache, context } = request;
        let read_target = self.shared.reads.target(conversation, None);
        let (snapshot, _) = self.seen(read_target, no_cache, &context).await?;
        let rights = &context.client().rights;
        Ok(access_filter::conversation(
            snapshot.conversation,
            rights,
            self.shared.reads.reads_whole(),
        ))
    }

    /// What a read shows, and whether it was made for this request.
    async fn seen(
        &self,
        read_target: ReadTarget,
        no_cache: bool,
        context: &RequestContext,
    ) -> Result<(Snapshot, bool), Error> {
        let max_age = if no_cache { Duration::ZERO } else { self.shared.settings.max_age };
        match self.shared.memory.recall_unwritten(read_target, max_age) {
            Some(snapshot) => Ok((snapshot, false)),
            None => Ok((self.look(read_target, context).await?, true)),
        }
    }

    async fn look(
        &self,
        read_target: ReadTarget,
        context: &RequestContext,
    ) -> Result<Snapshot, Error> {
        let wanted = CoalescedRead {
            read_target,
            cause: Freshness::AfterLastWrite,
            class: PriorityClass::Read,
            retries: true,
            permit: None,
            reserve: 0,
        };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.shared.reads.read(wanted, context) => read.map(|(snapshot, _)| snapshot),
            () = self.shared.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        context.spend(RequestPhase::Read, start.elapsed());
        read
    }
}
