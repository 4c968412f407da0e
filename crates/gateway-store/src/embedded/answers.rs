//! Answers by idempotency key, in the file or in memory.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::EmbeddedStore;
use crate::clock;
use crate::ports::{
    AnswerClaim, ContentDigest, IdempotencyScope, IdempotencyState, IdempotencyStore, PrivateBytes,
    StoreError, StoreFuture,
};
use crate::sealed_answer::{self, AnswerRecord};
use crate::{millis, to_millis};

/// A record as it is stored.
struct AnswerRow {
    fingerprint: String,
    lapses_at: i64,
    answer: Option<Vec<u8>>,
}

impl IdempotencyStore for EmbeddedStore {
    fn begin(
        &self,
        scope: IdempotencyScope,
        fingerprint: ContentDigest,
    ) -> StoreFuture<'_, IdempotencyState> {
        let record = AnswerRecord::new(&self.key, &scope, &fingerprint);
        let (key, limits) = (Arc::clone(&self.key), self.limits);
        self.run(move |database| {
            let now = to_millis(clock::now());
            let found = find(database, &record.name, now)?;
            if let Some(row) = &found {
                if row.fingerprint != record.fingerprint {
                    return Ok(IdempotencyState::Mismatch);
                }
                if let Some(sealed) = &row.answer {
                    return sealed_answer::open(&key, &record.name, sealed)
                        .map(IdempotencyState::Finished);
                }
                if row.lapses_at > now {
                    return Ok(IdempotencyState::InProgress);
                }
            } else {
                make_room(database, &scope.client, limits.answers_per_client)?;
            }
            let owner = Uuid::new_v4();
            database.execute(
                "REPLACE INTO answer (record, client, fingerprint, owner, lapses_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    record.name,
                    scope.client,
                    record.fingerprint,
                    owner.as_bytes(),
                    now + millis(limits.answer_lease()),
                    now + millis(limits.answer_age)
                ],
            )?;
            let claim = AnswerClaim { record: record.name, owner };
            Ok(IdempotencyState::New { claim, interrupted: found.is_some() })
        })
    }

    fn complete(&self, claim: AnswerClaim, answer: PrivateBytes) -> StoreFuture<'_, ()> {
        let sealed = sealed_answer::seal(&self.key, &claim.record, &answer);
        let age = millis(self.limits.answer_age);
        self.run(move |database| {
            database.execute(
                "UPDATE answer SET answer = ?3, expires_at = ?4 WHERE record = ?1 AND owner = ?2",
                params![
                    claim.record,
                    claim.owner.as_bytes(),
                    sealed?,
                    to_millis(clock::now()) + age
                ],
            )?;
            Ok(())
        })
    }

    fn abandon(&self, claim: AnswerClaim) -> StoreFuture<'_, ()> {
        self.run(move |database| {
            database.execute(
                "DELETE FROM answer WHERE record = ?1 AND owner = ?2",
                params![claim.record, claim.owner.as_bytes()],
            )?;
            Ok(())
        })
    }
}

fn find(database: &Connection, record: &str, now: i64) -> Result<Option<AnswerRow>, StoreError> {
    let found = database.query_row(
        "SELECT fingerprint, lapses_at, answer FROM answer WHERE record = ?1 AND expires_at > ?2",
        params![record, now],
        |row| {
            Ok(AnswerRow { fingerprint: row.get(0)?, lapses_at: row.get(1)?, answer: row.get(2)? })
        },
    );
    Ok(found.optional()?)
}

/// Drops the oldest answers of a client that has as many as it may.
fn make_room(database: &Connection, client: &str, most: u32) -> Result<(), StoreError> {
    let sql = "SELECT count(*) FROM answer WHERE client = ?1";
    let kept: u32 = database.query_row(sql, [client], |row| row.get(0))?;
    let excess = (kept + 1).saturating_sub(most);
    if excess > 0 {
        database.execute(
            "DELETE FROM answer WHERE record IN
             (SELECT record FROM answer WHERE client = ?1 ORDER BY expires_at LIMIT ?2)",
            params![client, excess],
        )?;
    }
    Ok(())
}
