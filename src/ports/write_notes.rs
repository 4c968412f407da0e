//! What is noted of a write beyond its process, so that a later try does not send blindly.

use std::fmt;

use ring::digest::{Context, SHA256};

use super::BoxFuture;
use super::store::ContentDigest;
use crate::domain::{AttributeMap, ParticipantId, Patch};
use crate::error::Error;

/// Notes of one write. They outlive its process.
pub trait WriteNotes: fmt::Debug + Send + Sync {
    /// The state before an earlier try whose PATCH may have been applied.
    fn earlier(&self) -> Option<ContentDigest>;

    /// Notes the state before a PATCH that is about to be sent. After an error, nothing may be sent.
    fn before_sending(&self, state: ContentDigest) -> BoxFuture<'_, Result<(), Error>>;

    /// Whether the write may still be sent. It is asked at the moment of sending.
    fn may_send(&self) -> bool {
        true
    }
}

/// The digest of what a participant holds for the keys of a patch.
pub fn state_digest(
    participant: ParticipantId,
    patch: &Patch,
    map: &AttributeMap,
) -> ContentDigest {
    let mut context = Context::new(&SHA256);
    context.update(participant.as_bytes());
    for key in patch.keys() {
        let value = map.get(key.as_str()).map_or("", |value| value.expose());
        update(&mut context, key.as_str(), value);
    }
    finished(context)
}

/// The digest of what a patch asks for.
pub fn patch_digest(patch: &Patch) -> ContentDigest {
    let mut context = Context::new(&SHA256);
    for (key, change) in patch.iter() {
        update(&mut context, key.as_str(), change.wanted().map_or("", |value| value.expose()));
    }
    finished(context)
}

/// With the lengths, so that two different pairs cannot look the same.
fn update(context: &mut Context, key: &str, value: &str) {
    for part in [key, value] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
}

fn finished(context: Context) -> ContentDigest {
    let mut digest = ContentDigest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
