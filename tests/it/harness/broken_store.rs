//! A store that does not answer.

use gateway_store::ports::{
    AnswerClaim, ContentDigest, IdempotencyScope, IdempotencyState, IdempotencyStore, PrivateBytes,
    StoreError, StoreFuture,
};

/// Fails every request.
pub struct BrokenStore;

fn broken<T: Send + 'static>() -> StoreFuture<'static, T> {
    Box::pin(async { Err(StoreError::Unavailable("the disk is full".to_owned())) })
}

impl IdempotencyStore for BrokenStore {
    fn begin(&self, _: IdempotencyScope, _: ContentDigest) -> StoreFuture<'_, IdempotencyState> {
        broken()
    }

    fn complete(&self, _: AnswerClaim, _: PrivateBytes) -> StoreFuture<'_, ()> {
        broken()
    }

    fn abandon(&self, _: AnswerClaim) -> StoreFuture<'_, ()> {
        broken()
    }
}
