//! The journal of accepted writes. Replicas share it: each claims whole conversations.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{FromRedisValue, ScriptInvocation};
use tokio::time::Instant;
use uuid::Uuid;

use super::durable::Durability;
use super::{FORMAT_VERSION, RedisStore, script, with_keys};
use crate::ports::ConversationId;
use crate::ports::{
    CancelOutcome, ClaimedLane, ContentDigest, JournalSummary, NewOperation, OperationJournal,
    OperationResult, OperationState, StoreError, StoreFuture, StoredOperation,
};
use crate::sealed_operation::{SealedOperation, SealedPart};
use crate::{LANE_OPERATIONS, from_millis, millis, state_word, to_millis, unreadable};

/// The fields of an operation.
type Fields = HashMap<String, Vec<u8>>;

impl OperationJournal for RedisStore {
    fn append(&self, new: NewOperation) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let sealed = SealedPart::Request.seal(&self.key, new.id, &new.request.0)?;
            let mut script = with_keys(script!("append.lua"), &[self.journal_name()]);
            script.arg(new.id.to_string()).arg(new.client).arg(new.conversation.to_string());
            script.arg(to_millis(new.accepted_at)).arg(to_millis(new.not_after)).arg(sealed);
            script.arg(self.limits.operations).arg(FORMAT_VERSION);
            self.durable(&script).await
        })
    }

    fn claim(&self, lanes: usize) -> StoreFuture<'_, Vec<ClaimedLane>> {
        Box::pin(async move {
            let mut script = with_keys(script!("claim.lua"), &[self.journal_name()]);
            script.arg(lanes).arg(LANE_OPERATIONS).arg(millis(self.limits.lane_lease()));
            script.arg(self.owner.to_string());
            let claimed: Vec<(String, Vec<(String, Fields)>)> = self.link.script(&script).await?;
            let lane = |(conversation, operations): (String, Vec<(String, Fields)>)| {
                let opened = operations.into_iter().map(|(id, fields)| {
                    let id = parse_id(&id)?;
                    Ok(self.opened(id, &fields).map_err(|_| id))
                });
                Ok(ClaimedLane {
                    conversation: parse_conversation(conversation.as_bytes())?,
                    operations: opened.collect::<Result<_, StoreError>>()?,
                })
            };
            claimed.into_iter().map(lane).collect()
        })
    }

    fn renew(&self, conversation: ConversationId) -> StoreFuture<'_, bool> {
        Box::pin(self.hold(conversation, "renew", self.limits.lane_lease()))
    }

    fn release(&self, conversation: ConversationId, delay: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.hold(conversation, "release", delay).await.map(|_| ()) })
    }

    fn mark_sent(&self, id: Uuid, patch: ContentDigest) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let sealed = SealedPart::Patch.seal(&self.key, id, &patch)?;
            let mut script = with_keys(script!("mark_sent.lua"), &[self.journal_name()]);
            script.arg(id.to_string()).arg(sealed).arg(self.owner.to_string());
            self.durable(&script).await
        })
    }

    fn finish(
        &self,
        id: Uuid,
        state: OperationState,
        result: Option<OperationResult>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move { Ok(self.end(id, state, "", result).await? == 1) })
    }

    fn find<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, Option<StoredOperation>> {
        Box::pin(async move {
            let record = format!("{}:op:{id}", self.journal_name());
            let fields: Fields = self.link.command(redis::cmd("HGETALL").arg(record)).await?;
            if fields.get("client").is_none_or(|owner| owner != client.as_bytes()) {
                return Ok(None);
            }
            self.opened(id, &fields).map(Some)
        })
    }

    fn cancel<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, CancelOutcome> {
        Box::pin(async move {
            match self.end(id, OperationState::Cancelled, client, None).await? {
                1 => Ok(CancelOutcome::Cancelled),
                0 => Ok(CancelOutcome::TooLate),
                _ => Ok(CancelOutcome::NotFound),
            }
        })
    }

    fn summary(&self) -> StoreFuture<'_, JournalSummary> {
        Box::pin(async move {
            let script = with_keys(script!("summary.lua"), &[self.journal_name()]);
            let answer = match self.durability().await? {
                Durability::Missing(reason) => Err(StoreError::Unusable(reason.to_owned())),
                Durability::Always | Durability::WaitAof => self.link.script(&script).await,
            };
            self.check_again_after(&answer).await;
            let (unfinished, oldest): (u64, String) = answer?;
            let oldest = if oldest.is_empty() { None } else { Some(parse(oldest.as_bytes())?) };
            Ok(JournalSummary {
                unfinished,
                oldest: oldest.map(from_millis).transpose()?,
                last_sync: Duration::from_micros(self.last_sync.load(Ordering::Relaxed)),
            })
        })
    }
}

impl RedisStore {
    /// Runs a script whose changes must survive a crash of the server.
    async fn durable<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = match self.durability().await? {
            Durability::Always => self.link.script(script).await,
            Durability::WaitAof => self.synced.script(script).await,
            Durability::Missing(reason) => Err(StoreError::Unusable(reason.to_owned())),
        };
        self.check_again_after(&result).await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_sync.store(took, Ordering::Relaxed);
        result
    }

    async fn hold(
        &self,
        conversation: ConversationId,
        what: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let mut script = with_keys(script!("hold.lua"), &[self.journal_name()]);
        script.arg(conversation.to_string()).arg(self.owner.to_string());
        script.arg(what).arg(millis(time));
        self.link.script(&script).await
    }

    async fn end(
        &self,
        id: Uuid,
        state: OperationState,
        client: &str,
        result: Option<OperationResult>,
    ) -> Result<i64, StoreError> {
        let mut script = with_keys(script!("finish.lua"), &[self.journal_name()]);
        script.arg(id.to_string()).arg(state_word(state)).arg(millis(self.limits.operation_age));
        script.arg(client);
        match result {
            Some(result) => {
                let body = SealedPart::Body.seal(&self.key, id, &result.body.0)?;
                script.arg(result.status).arg(body);
            }
            None => {
                script.arg("").arg("");
            }
        }
        // A client that was told so must not see its write carried out after a crash of the server.
        let is_promise = state == OperationState::Cancelled;
        if is_promise { self.durable(&script).await } else { self.link.script(&script).await }
    }

    fn opened(&self, id: Uuid, fields: &Fields) -> Result<StoredOperation, StoreError> {
        let field = |name: &str| {
            fields.get(name).map(Vec::as_slice).ok_or_else(|| unreadable("a field is missing"))
        };
        if field("version")? != FORMAT_VERSION.to_string().as_bytes() {
            return Err(unreadable("another version of the gateway wrote it; run one version"));
        }
        let sealed = SealedOperation {
            id,
            client: parse(field("client")?)?,
            conversation: *parse_conversation(field("conversation")?)?.as_bytes(),
            state: parse(field("state")?)?,
            sequence: parse(field("sequence")?)?,
            accepted_at: parse(field("accepted")?)?,
            not_after: parse(field("not_after")?)?,
            request: field("request")?.to_vec(),
            patch: fields.get("patch").cloned(),
            status: fields.get("status").map(|status| parse(status)).transpose()?,
            body: fields.get("body").cloned(),
        };
        sealed.open(&self.key)
    }
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, StoreError> {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| unreadable("a field has an unexpected form"))
}

fn parse_id(text: &str) -> Result<Uuid, StoreError> {
    parse(text.as_bytes())
}

fn parse_conversation(bytes: &[u8]) -> Result<ConversationId, StoreError> {
    parse(bytes)
}
