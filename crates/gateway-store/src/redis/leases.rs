//! One writer for each participant, and what the next one must know.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{RedisStore, script, with_keys};
use crate::ports::{ContentDigest, LastPatch, StoreError, StoreFuture, WriteLease, WriteLeases};
use crate::{millis, unreadable};

/// How long a lease lasts without renewal.
const WRITE_LEASE: Duration = Duration::from_secs(3);

/// How long before its end nothing is sent any more. A call that has left may arrive this much later.
const SEND_MARGIN: Duration = Duration::from_millis(500);

/// A PATCH as it is stored, sealed.
#[derive(Serialize, Deserialize)]
struct PatchNote {
    id: String,
    settled: bool,
    keys: BTreeMap<String, String>,
}

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

    fn renew<'a>(&'a self, lease: &'a mut WriteLease) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let send_before = Instant::now() + WRITE_LEASE - SEND_MARGIN;
            let held = self.change(lease, "renew", WRITE_LEASE, &[]).await?;
            if held {
                lease.send_before = send_before;
            }
            Ok(held)
        })
    }

    fn record<'a>(
        &'a self,
        lease: &'a WriteLease,
        patch: LastPatch,
        keep: Duration,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let keys = patch.keys.into_iter().map(|(key, digest)| (key, hex::encode(digest)));
            let note = PatchNote {
                id: patch.id.to_string(),
                settled: patch.settled,
                keys: keys.collect(),
            };
            let text = serde_json::to_vec(&note).map_err(|_| unreadable("a PATCH has no JSON"))?;
            let sealed = self.key.seal(&context(&lease.participant), &text)?;
            self.change(lease, "record", keep, &sealed).await
        })
    }

    fn release(&self, lease: WriteLease) -> StoreFuture<'_, ()> {
        Box::pin(
            async move { self.change(&lease, "release", Duration::ZERO, &[]).await.map(|_| ()) },
        )
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
        time: Duration,
        patch: &[u8],
    ) -> Result<bool, StoreError> {
        let keys = [self.lease_name(&lease.participant), self.patch_name(&lease.participant)];
        let mut script = with_keys(script!("lease.lua"), &keys);
        script.arg(lease.owner.to_string()).arg(what).arg(millis(time).max(1)).arg(patch);
        self.link.script(&script).await
    }

    fn opened_patch(&self, participant: &str, sealed: &[u8]) -> Result<LastPatch, StoreError> {
        let text = self.key.open(&context(participant), sealed)?;
        let unexpected = || unreadable("the last PATCH has an unexpected form");
        let note: PatchNote = serde_json::from_slice(&text).map_err(|_| unexpected())?;
        let keys = note.keys.into_iter().map(|(key, digest)| {
            let mut bytes = ContentDigest::default();
            hex::decode_to_slice(digest, &mut bytes).map_err(|_| unexpected())?;
            Ok((key, bytes))
        });
        let keys = keys.collect::<Result<_, StoreError>>()?;
        let id = note.id.parse().map_err(|_| unexpected())?;
        Ok(LastPatch { id, settled: note.settled, keys })
    }
}

fn context(participant: &str) -> Vec<u8> {
    [b"patch", participant.as_bytes()].concat()
}
