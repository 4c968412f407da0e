//! An operation in the form that both backends store: plain columns for what they search by, sealed bytes
//! for the rest.

use uuid::Uuid;

use super::{SealingKey, from_millis, state_of, unreadable};
use crate::ports::ConversationId;
use crate::ports::{
    ContentDigest, NewOperation, OperationResult, PrivateBytes, StoreError, StoredOperation,
};

/// An operation as it is stored.
#[derive(Default)]
pub(super) struct SealedOperation {
    pub id: Uuid,
    pub client: String,
    pub conversation: [u8; 16],
    pub state: String,
    pub sequence: u64,
    pub accepted_at: i64,
    pub not_after: i64,
    pub request: Vec<u8>,
    pub patch: Option<Vec<u8>>,
    pub status: Option<u16>,
    pub body: Option<Vec<u8>>,
}

/// The parts of an operation that are sealed. Each is bound to its name and to the operation.
#[derive(Clone, Copy)]
pub(super) enum SealedPart {
    Request,
    Patch,
    Body,
}

impl SealedPart {
    fn context(self, id: Uuid) -> Vec<u8> {
        let name: &[u8] = match self {
            Self::Request => b"operation request",
            Self::Patch => b"operation patch",
            Self::Body => b"operation body",
        };
        [name, id.as_bytes()].concat()
    }

    pub(super) fn seal(
        self,
        key: &SealingKey,
        id: Uuid,
        contents: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        key.seal(&self.context(id), contents)
    }

    fn open(self, key: &SealingKey, id: Uuid, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        key.open(&self.context(id), sealed)
    }
}

impl SealedOperation {
    /// Decrypts it.
    pub(super) fn open(self, key: &SealingKey) -> Result<StoredOperation, StoreError> {
        let id = self.id;
        let body = self.body.map(|body| SealedPart::Body.open(key, id, &body)).transpose()?;
        let patch = self.patch.map(|patch| SealedPart::Patch.open(key, id, &patch)).transpose()?;
        let digest = patch.map(|patch| {
            ContentDigest::try_from(patch).map_err(|_| unreadable("a digest has another length"))
        });
        Ok(StoredOperation {
            operation: NewOperation {
                id,
                client: self.client,
                conversation: ConversationId::from_bytes(self.conversation),
                request: PrivateBytes(SealedPart::Request.open(key, id, &self.request)?),
                accepted_at: from_millis(self.accepted_at)?,
                not_after: from_millis(self.not_after)?,
            },
            sequence: self.sequence,
            state: state_of(&self.state)?,
            patch_digest: digest.transpose()?,
            result: self
                .status
                .zip(body)
                .map(|(status, body)| OperationResult { status, body: PrivateBytes(body) }),
        })
    }
}
