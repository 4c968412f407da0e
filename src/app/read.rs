//! Reads: one upstream read, and one participant or all of them from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::coalescing::Freshness;
use super::conversation_reads::CoalescedRead;
use super::snapshot::{ReadTarget, Snapshot};
use super::{App, access_filter, choose};
use crate::domain::{
    Conversation, ConversationId, Participant, ParticipantSelector, SelectionRule, SelectorIntent,
};
use crate::error::{Error, RequestFailure};
use crate::ports::{PriorityClass, RequestContext, RequestPhase};

/// A read that a client asks for.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant.
    pub selector: ParticipantSelector,
    /// Whether the cache must not be used.
    pub no_cache: bool,
    /// The request's context.
    pub context: RequestContext,
}

/// A client's request for a whole conversation.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether the cache must not be used.
    pub no_cache: bool,
    /// The request's context.
    pub context: RequestContext,
}

/// The result of a read.
#[derive(Clone, Debug)]
pub enum ReadOutcome {
    /// One participant.
    One {
        /// The participant with its attributes.
        participant: Participant,
        /// The rule that chose it.
        chosen_by: SelectionRule,
        /// Whether it was read for this request, not taken from the cache.
        fresh: bool,
    },
    /// Every participant, in order of joining (`participant=all`).
    All(Vec<Participant>),
}

impl App {
    /// Reads attributes, sharing the upstream read with other requests.
    ///
    /// # Errors
    /// Of upstream, or if the selector matches no participant, or more than one.
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
        let whole = self.shared.reads.reads_whole();
        if !rights.reaches(chosen.participant, &snapshot.conversation, whole) {
            return Err(access_filter::refused(&selector).into());
        }
        context.note_participant(chosen.participant.candidate(), chosen.by);
        let participant = access_filter::participant(chosen.participant.clone(), rights);
        Ok(ReadOutcome::One { participant, chosen_by: chosen.by, fresh })
    }

    /// Reads a whole conversation: its participants, and since when they are in it.
    ///
    /// # Errors
    /// Of upstream, or if the route can only read single participants.
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

    /// A snapshot, and whether it was read for this request.
    async fn seen(
        &self,
        read_target: ReadTarget,
        no_cache: bool,
        context: &RequestContext,
    ) -> Result<(Snapshot, bool), Error> {
        let max_age = if no_cache { Duration::ZERO } else { self.shared.settings.max_age };
        if let Some(snapshot) = self.shared.cache.recall_unwritten(&read_target, max_age) {
            return Ok((snapshot, false));
        }
        let wanted =
            CoalescedRead::new(read_target, Freshness::AfterLastWrite, PriorityClass::Read);
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.shared.reads.call(wanted, context) => read,
            () = self.shared.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        context.spend(RequestPhase::Read, start.elapsed());
        read.map(|(snapshot, _)| (snapshot, true))
    }
}
