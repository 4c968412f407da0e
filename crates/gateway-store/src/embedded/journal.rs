//! The journal of accepted writes, in the file.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::EmbeddedStore;
use crate::clock;
use crate::ports::ConversationId;
use crate::ports::{
    CancelOutcome, ClaimedLane, ContentDigest, JournalSummary, NewOperation, OperationJournal,
    OperationResult, OperationState, StoreError, StoreFuture, StoredOperation,
};
use crate::sealed_operation::{SealedOperation, SealedPart};
use crate::{LANE_OPERATIONS, SealingKey, from_millis, millis, state_word, to_millis};

const COLUMNS: &str = "id, client, conversation, state, sequence, accepted_at, not_after, request, \
                       patch, status, body";

impl OperationJournal for EmbeddedStore {
    fn append(&self, new: NewOperation) -> StoreFuture<'_, u64> {
        let most = u64::from(self.limits.operations);
        let sealed = SealedPart::Request.seal(&self.key, new.id, &new.request.0);
        self.run(move |database| {
            let sealed = sealed?;
            if let Some(sequence) = sequence_of(database, new.id)? {
                return Ok(sequence);
            }
            let sql = "SELECT count(*) FROM operation WHERE ended_at IS NULL";
            if database.query_row(sql, [], |row| row.get::<_, u64>(0))? >= most {
                return Err(StoreError::Full);
            }
            database.execute(
                "INSERT INTO operation (id, client, conversation, state, accepted_at, not_after, request)
                 VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6)",
                params![
                    new.id.as_bytes(),
                    new.client,
                    new.conversation.as_bytes(),
                    to_millis(new.accepted_at),
                    to_millis(new.not_after),
                    sealed
                ],
            )?;
            Ok(database.last_insert_rowid().unsigned_abs())
        })
    }

    fn claim(&self, lanes: usize) -> StoreFuture<'_, Vec<ClaimedLane>> {
        let (key, lease) = (Arc::clone(&self.key), millis(self.limits.lane_lease()));
        self.run(move |database| {
            let now = to_millis(clock::now());
            let claimed = free_lanes(database, now, lanes)?.into_iter().map(|conversation| {
                database.execute(
                    "REPLACE INTO lane (conversation, free_at, held) VALUES (?1, ?2, 1)",
                    params![conversation, now + lease],
                )?;
                Ok(ClaimedLane {
                    conversation: ConversationId::from_bytes(conversation),
                    operations: operations_of(database, conversation, &key)?,
                })
            });
            claimed.collect()
        })
    }

    fn renew(&self, conversation: ConversationId) -> StoreFuture<'_, bool> {
        let lease = millis(self.limits.lane_lease());
        self.run(move |database| {
            let now = to_millis(clock::now());
            let changed = database.execute(
                "UPDATE lane SET free_at = ?2 WHERE conversation = ?1 AND held = 1 AND free_at > ?3",
                params![conversation.as_bytes(), now + lease, now],
            )?;
            Ok(changed == 1)
        })
    }

    fn release(&self, conversation: ConversationId, delay: Duration) -> StoreFuture<'_, ()> {
        self.run(move |database| {
            database.execute(
                "UPDATE lane SET free_at = ?2, held = 0 WHERE conversation = ?1",
                params![conversation.as_bytes(), to_millis(clock::now()) + millis(delay)],
            )?;
            Ok(())
        })
    }

    fn mark_sent(&self, id: Uuid, patch: ContentDigest) -> StoreFuture<'_, bool> {
        let sealed = SealedPart::Patch.seal(&self.key, id, &patch);
        self.run(move |database| {
            let changed = database.execute(
                "UPDATE operation SET state = 'sent', patch = ?2 WHERE id = ?1 AND ended_at IS NULL",
                params![id.as_bytes(), sealed?],
            )?;
            Ok(changed == 1)
        })
    }

    fn finish(
        &self,
        id: Uuid,
        state: OperationState,
        result: Option<OperationResult>,
    ) -> StoreFuture<'_, bool> {
        let status = result.as_ref().map(|result| result.status);
        let body = result.map(|result| SealedPart::Body.seal(&self.key, id, &result.body.0));
        self.run(move |database| {
            let changed = database.execute(
                "UPDATE operation SET state = ?2, status = ?3, body = ?4, ended_at = ?5
                 WHERE id = ?1 AND ended_at IS NULL",
                params![
                    id.as_bytes(),
                    state_word(state),
                    status,
                    body.transpose()?,
                    to_millis(clock::now())
                ],
            )?;
            Ok(changed == 1)
        })
    }

    fn find<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, Option<StoredOperation>> {
        let (key, client) = (Arc::clone(&self.key), client.to_owned());
        let kept_since = to_millis(clock::now()) - millis(self.limits.operation_age);
        self.run(move |database| {
            let sql = format!(
                "SELECT {COLUMNS} FROM operation
                 WHERE id = ?1 AND client = ?2 AND (ended_at IS NULL OR ended_at > ?3)"
            );
            let found = database
                .query_row(&sql, params![id.as_bytes(), client, kept_since], sealed_operation)
                .optional()?;
            found.map(|sealed| sealed.open(&key)).transpose()
        })
    }

    fn cancel<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, CancelOutcome> {
        let client = client.to_owned();
        self.run(move |database| {
            let changed = database.execute(
                "UPDATE operation SET state = 'cancelled', ended_at = ?3
                 WHERE id = ?1 AND client = ?2 AND state = 'queued'",
                params![id.as_bytes(), client, to_millis(clock::now())],
            )?;
            if changed == 1 {
                return Ok(CancelOutcome::Cancelled);
            }
            let known = database.query_row(
                "SELECT count(*) FROM operation WHERE id = ?1 AND client = ?2",
                params![id.as_bytes(), client],
                |row| row.get::<_, u32>(0),
            )?;
            Ok(if known == 0 { CancelOutcome::NotFound } else { CancelOutcome::TooLate })
        })
    }

    fn summary(&self) -> StoreFuture<'_, JournalSummary> {
        let last_sync = self.thread.last_sync();
        self.run(move |database| Ok(JournalSummary { last_sync, ..summary(database)? }))
    }
}

fn sequence_of(database: &Connection, id: Uuid) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT sequence FROM operation WHERE id = ?1";
    Ok(database.query_row(sql, [id.as_bytes()], |row| row.get(0)).optional()?)
}

fn summary(database: &Connection) -> Result<JournalSummary, StoreError> {
    let sql = "SELECT count(*), min(accepted_at) FROM operation WHERE ended_at IS NULL";
    let (unfinished, oldest) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let oldest = oldest.map(from_millis).transpose()?;
    Ok(JournalSummary { unfinished, oldest, last_sync: Duration::ZERO })
}

/// The conversations that can be claimed, the one with the oldest operation first.
fn free_lanes(database: &Connection, now: i64, most: usize) -> Result<Vec<[u8; 16]>, StoreError> {
    let mut query = database.prepare(
        "SELECT conversation FROM operation WHERE ended_at IS NULL
         AND conversation NOT IN (SELECT conversation FROM lane WHERE free_at > ?1)
         GROUP BY conversation ORDER BY min(sequence) LIMIT ?2",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = query.query_map([now, most], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn operations_of(
    database: &Connection,
    conversation: [u8; 16],
    key: &SealingKey,
) -> Result<Vec<Result<StoredOperation, Uuid>>, StoreError> {
    let mut query = database.prepare(&format!(
        "SELECT {COLUMNS} FROM operation WHERE conversation = ?1 AND ended_at IS NULL
         ORDER BY sequence LIMIT {LANE_OPERATIONS}"
    ))?;
    let rows = query.query_map([conversation], sealed_operation)?;
    let opened = rows.map(|row| {
        let sealed = row?;
        let id = sealed.id;
        Ok(sealed.open(key).map_err(|_| id))
    });
    opened.collect()
}

fn sealed_operation(row: &Row<'_>) -> rusqlite::Result<SealedOperation> {
    Ok(SealedOperation {
        id: Uuid::from_bytes(row.get(0)?),
        client: row.get(1)?,
        conversation: row.get(2)?,
        state: row.get(3)?,
        sequence: row.get(4)?,
        accepted_at: row.get(5)?,
        not_after: row.get(6)?,
        request: row.get(7)?,
        patch: row.get(8)?,
        status: row.get(9)?,
        body: row.get(10)?,
    })
}
