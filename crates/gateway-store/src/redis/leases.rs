//! One writer for each participant, and what the next one must know.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{RedisStore, script, with_keys};
use crate::ports::{LastPatch, PrivateBytes, StoreError, StoreFuture, WriteLease, WriteLeases};
use crate::{millis, unreadable};

/// How long a lease lasts without renewal.
const WRITE_LEASE: Duration = Duration::from_secs(3);

/// How long before its end nothing is sent any more. A call that has left may arrive this much later.
const SEND_MARGIN: Duration = Duration::from_millis(500);

impl WriteLeases for RedisStore {
    fn acquire<'a>(&'a self, participant: &'a str) -> StoreFuture<'a, Option<WriteLease>> {
        Box::pin(async move {
            let owner = Uuid::new_v4();
            let send_before = Instant::now() + WRITE_LEASE - SEND_MARGIN;
            let keys = [self.lease_name(participant), self.patch_name(participant)];
            let mut script = with_keys(script!("acquire.lua"), &keys);
            script.arg(owner.to_string()).arg(millis(WRITE_LEASE));
            let (taken, note): (bool, Vec<u8>) = self.link.script(&script).await?;
            if !taken {
                return Ok(None);
            }
            let lease = WriteLease {
                participant: participant.to_owned(),
                owner,
                send_before,
                last_patch: None,
            };
            if note.is_empty() {
                return Ok(Some(lease));
            }
            let last_patch = Some(self.opened_patch(participant, &note)?);
            Ok(Some(WriteLease { last_patch, ..lease }))
        })
    }

    fn last_patch<'a>(&'a self, participant: &'a str) -> StoreFuture<'a, Option<LastPatch>> {
        Box::pin(async move {
            let mut command = redis::cmd("GET");
            let sealed: Option<Vec<u8>> =
                self.link.command(command.arg(self.patch_name(participant))).await?;
            sealed.map(|sealed| self.opened_patch(participant, &sealed)).transpose()
        })
    }

    fn record<'a>(
        &'a self,
        lease: &'a mut WriteLease,
        patch: LastPatch,
        keep: Duration,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let send_before = Instant::now() + WRITE_LEASE - SEND_MARGIN;
            let held = self.change(lease, "record", Some((patch, keep))).await?;
            if held {
                lease.send_before = send_before;
            }
            Ok(held)
        })
    }

    fn release(
        &self,
        lease: WriteLease,
        patch: Option<(LastPatch, Duration)>,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.change(&lease, "release", patch).await.map(|_| ()) })
    }
}

impl RedisStore {
    fn lease_name(&self, participant: &str) -> String {
        self.name(&["write:", participant])
    }

    fn patch_name(&self, participant: &str) -> String {
        self.name(&["patch:", participant])
    }

    async fn change(
        &self,
        lease: &WriteLease,
        what: &str,
        patch: Option<(LastPatch, Duration)>,
    ) -> Result<bool, StoreError> {
        let (sealed, keep) = match patch {
            Some((LastPatch { id, note }, keep)) => {
                let text = [&id.as_bytes()[..], &note.0].concat();
                (self.key.seal(&context(&lease.participant), &text)?, keep)
            }
            None => (Vec::new(), Duration::ZERO),
        };
        let keys = [self.lease_name(&lease.participant), self.patch_name(&lease.participant)];
        let mut script = with_keys(script!("lease.lua"), &keys);
        script.arg(lease.owner.to_string()).arg(what).arg(millis(WRITE_LEASE));
        script.arg(sealed).arg(millis(keep).max(1));
        self.link.script(&script).await
    }

    fn opened_patch(&self, participant: &str, sealed: &[u8]) -> Result<LastPatch, StoreError> {
        let text = self.key.open(&context(participant), sealed)?;
        let unexpected = || unreadable("the last PATCH has an unexpected form");
        let (id, note) = text.split_first_chunk::<16>().ok_or_else(unexpected)?;
        Ok(LastPatch { id: Uuid::from_bytes(*id), note: PrivateBytes(note.to_vec()) })
    }
}

fn context(participant: &str) -> Vec<u8> {
    [b"patch", participant.as_bytes()].concat()
}
