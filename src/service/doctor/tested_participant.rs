//! The participant that the write test writes to: one call to the platform at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::report::CHECK_TIME;
use crate::domain::{AttributeMap, AttributeValue, ConversationId, ParticipantId};
use crate::error::Error;
use crate::genesys::GenesysClient;
use crate::ports::{
    ConversationsPort as _, PatchOutcome, PriorityClass, RequestContext, UpstreamPatch,
    UpstreamRead,
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A participant, and what is known of it.
pub struct TestedParticipant {
    /// Clients that clear with `""`, and with `null`.
    clients: [Arc<GenesysClient>; 2],
    conversation: ConversationId,
    participant: ParticipantId,
    /// As the first read showed it.
    pub before: AttributeMap,
    /// As the last read showed it.
    pub seen: AttributeMap,
    pub has_ended: bool,
    /// Whether a write was sent that no read has shown.
    pub is_pending: bool,
    pub end: Instant,
}

impl TestedParticipant {
    pub fn new(
        client: &GenesysClient,
        (conversation, participant, before): (ConversationId, ParticipantId, AttributeMap),
        end: Instant,
    ) -> Self {
        let clients = [false, true].map(|null| client.clearing_with_null(null));
        let (seen, has_ended, is_pending) = (before.clone(), false, false);
        Self { clients, conversation, participant, before, seen, has_ended, is_pending, end }
    }

    fn context(&self) -> RequestContext {
        RequestContext::new((Instant::now() + CHECK_TIME).min(self.end))
    }

    /// Sends a PATCH. An unknown result counts as accepted, because reads show what became of it.
    pub async fn patch(&mut self, attributes: AttributeMap, with_null: bool) -> Result<(), Error> {
        let was_pending = std::mem::replace(&mut self.is_pending, true);
        let (conversation, participant) = (self.conversation, self.participant);
        let patch =
            UpstreamPatch { conversation, participant, attributes, again: false, permit: None };
        match self.clients[usize::from(with_null)].patch(patch, &self.context()).await {
            PatchOutcome::Accepted | PatchOutcome::Unknown(_) => Ok(()),
            PatchOutcome::Refused(error) => {
                self.is_pending = was_pending;
                Err(error)
            }
        }
    }

    /// Reads until `done`, at most until a time. Whether it is done.
    pub async fn read_until(
        &mut self,
        until: Instant,
        done: impl Fn(&AttributeMap) -> bool,
    ) -> Result<bool, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            self.read().await?;
            if done(&self.seen) {
                self.is_pending = false;
                return Ok(true);
            }
            if Instant::now() + pause > until {
                return Ok(false);
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        let read = UpstreamRead {
            conversation: self.conversation,
            participant: Some(self.participant),
            retries: true,
            permit: None,
            class: PriorityClass::Read,
        };
        let conversation = self.clients[0].read(read, &self.context()).await?;
        self.has_ended = conversation.live == Some(false);
        let participant = conversation.participant(self.participant).ok_or_else(|| {
            Error::UpstreamInvalidResponse("the participant is no longer in the call".to_owned())
        })?;
        self.seen = participant.attributes.clone();
        Ok(())
    }
}

/// The value of a key, also if it is empty.
pub fn held<'a>(map: &'a AttributeMap, key: &str) -> Option<&'a AttributeValue> {
    map.iter_held().find(|(found, _)| found.as_str() == key).map(|(_, value)| value)
}

pub fn is_empty(value: &AttributeValue) -> bool {
    value.expose().is_empty()
}
