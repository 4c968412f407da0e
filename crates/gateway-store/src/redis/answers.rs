//! Answers by idempotency key.

use redis::FromRedisValue;
use uuid::Uuid;

use super::{FORMAT_VERSION, RedisStore, script, with_keys};
use crate::ports::{
    AnswerClaim, ContentDigest, IdempotencyScope, IdempotencyState, IdempotencyStore, PrivateBytes,
    StoreError, StoreFuture,
};
use crate::sealed_answer::{self, AnswerRecord};
use crate::{millis, unreadable};

impl IdempotencyStore for RedisStore {
    fn begin(
        &self,
        scope: IdempotencyScope,
        fingerprint: ContentDigest,
    ) -> StoreFuture<'_, IdempotencyState> {
        Box::pin(async move {
            let record = AnswerRecord::new(&self.key, &scope, &fingerprint);
            let owner = Uuid::new_v4();
            let keys = [self.answer_name(&record.name), self.name(&["answers:", &scope.client])];
            let mut script = with_keys(script!("begin.lua"), &keys);
            script.arg(record.fingerprint).arg(owner.to_string());
            script.arg(millis(self.limits.answer_lease())).arg(millis(self.limits.answer_age));
            script.arg(self.limits.answers_per_client).arg(FORMAT_VERSION);
            let (word, sealed): (String, Vec<u8>) = self.link.script(&script).await?;
            let claim = || AnswerClaim { record: record.name.clone(), owner };
            match word.as_str() {
                "new" => Ok(IdempotencyState::New { claim: claim(), interrupted: false }),
                "interrupted" => Ok(IdempotencyState::New { claim: claim(), interrupted: true }),
                "running" => Ok(IdempotencyState::InProgress),
                "mismatch" => Ok(IdempotencyState::Mismatch),
                "finished" => sealed_answer::open(&self.key, &record.name, &sealed)
                    .map(IdempotencyState::Finished),
                _ => Err(unreadable("an idempotency key has an unknown state")),
            }
        })
    }

    fn complete(&self, claim: AnswerClaim, answer: PrivateBytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let sealed = sealed_answer::seal(&self.key, &claim.record, &answer)?;
            self.end_answer::<i64>(&claim, Some(sealed)).await.map(|_| ())
        })
    }

    fn abandon(&self, claim: AnswerClaim) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.end_answer::<i64>(&claim, None).await.map(|_| ()) })
    }
}

impl RedisStore {
    fn answer_name(&self, record: &str) -> String {
        self.name(&["answer:", record])
    }

    async fn end_answer<T: FromRedisValue>(
        &self,
        claim: &AnswerClaim,
        sealed: Option<Vec<u8>>,
    ) -> Result<T, StoreError> {
        let mut script = with_keys(script!("end_answer.lua"), &[self.answer_name(&claim.record)]);
        script.arg(claim.owner.to_string()).arg(millis(self.limits.answer_age));
        if let Some(sealed) = sealed {
            script.arg(sealed);
        }
        self.link.script(&script).await
    }
}
