//! Names and contents of stored answers. Both backends see only hashes of what the client sent.

use super::SealingKey;
use crate::ports::{ContentDigest, IdempotencyScope, PrivateBytes, StoreError};

/// How the record of an answer is named and recognised.
pub(super) struct AnswerRecord {
    pub name: String,
    pub fingerprint: String,
}

impl AnswerRecord {
    pub(super) fn new(
        key: &SealingKey,
        scope: &IdempotencyScope,
        fingerprint: &ContentDigest,
    ) -> Self {
        let (client, request) = (scope.client.as_bytes(), scope.request.as_bytes());
        let name = key.digest(&[b"answer name", client, request]);
        // Hashed with the key, because a digest of a short body can be guessed.
        let fingerprint = key.digest(&[b"answer body", name.as_bytes(), fingerprint]);
        Self { name, fingerprint }
    }
}

pub(super) fn seal(
    key: &SealingKey,
    record: &str,
    answer: &PrivateBytes,
) -> Result<Vec<u8>, StoreError> {
    key.seal(&context(record), &answer.0)
}

pub(super) fn open(
    key: &SealingKey,
    record: &str,
    sealed: &[u8],
) -> Result<PrivateBytes, StoreError> {
    key.open(&context(record), sealed).map(PrivateBytes)
}

fn context(record: &str) -> Vec<u8> {
    [b"answer", record.as_bytes()].concat()
}
