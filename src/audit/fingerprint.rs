//! The fingerprint that replaces a value in an audit record.
//!
//! It is a keyed hash of conversation, attribute key and value. An auditor with the secret can check a
//! guess, and sees whether a value changed or came back. Because conversation and key are hashed too,
//! the records do not show that two conversations share a value. Without the secret, trying values or
//! comparing two deployments is impossible.

use std::fmt;

use ring::hmac;

use crate::domain::{AttributeKey, AttributeValue, ConversationId};

/// Purpose of the derived key. Another use of the secret needs another label.
const LABEL: &[u8] = b"attribute-gateway audit v1";

/// Bytes of the hash in a record, enough to rule out accidental collisions.
const TAG_BYTES: usize = 16;

/// The secret key of all fingerprints. `Debug` does not show it.
pub struct FingerprintKey(hmac::Key);

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey")
    }
}

impl FingerprintKey {
    /// Derives the key from a secret.
    pub fn derive(secret: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&secret, LABEL);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The fingerprint of a value. The hashed text is unambiguous: the id has a fixed length, and a key
    /// that a client can write contains no control character.
    pub fn fingerprint(
        &self,
        conversation: ConversationId,
        key: &AttributeKey,
        value: &AttributeValue,
    ) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(conversation.to_string().as_bytes());
        context.update(b"\0");
        context.update(key.as_str().as_bytes());
        context.update(b"\0");
        context.update(value.expose().as_bytes());
        let hash = context.sign();
        hex::encode(&hash.as_ref()[..TAG_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "8e0f1a2b-0000-4000-8000-000000000001";
    const TWO: &str = "8e0f1a2b-0000-4000-8000-000000000002";

    fn print(secret: &str, conversation: &str, key: &str, value: &str) -> String {
        let (conversation, key) =
            (conversation.parse().expect("an id"), AttributeKey::existing(key));
        FingerprintKey::derive(secret).fingerprint(conversation, &key, &AttributeValue::new(value))
    }

    #[test]
    fn fingerprints_are_equal_only_for_one_key_and_conversation() {
        let plain = print("secret", ONE, "tier", "gold");
        assert_eq!(plain, print("secret", ONE, "tier", "gold"));
        for other in [
            print("secret", ONE, "tier", "silver"),
            print("secret", ONE, "level", "gold"),
            print("secret", TWO, "tier", "gold"),
            print("another", ONE, "tier", "gold"),
            print("secret", ONE, "tie", "rgold"),
        ] {
            assert_ne!(plain, other);
        }
        assert!(plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    /// The example of docs/operations.md, computed with
    /// `printf … | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf … | openssl dgst …)`.
    #[test]
    fn other_tools_compute_the_same_fingerprint() {
        assert_eq!(print("demo-secret", ONE, "tier", "gold"), "6deef2e129506bc7de6ee2b9bf74733c");
    }
}
