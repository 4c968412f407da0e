//! What stands for a value in a record.
//!
//! A keyed hash over conversation, key and value. So it shows that a value stood there again, or was
//! replaced; and whoever has the key and a guess can check it, which is what an audit is for. Because
//! the conversation and the key are part of it, nobody can see from the records that two clients
//! share a value, or count how often one occurs; because it is keyed, nobody can try out values, or
//! compare the records of two deployments.

use std::fmt;

use ring::hmac;

use crate::domain::{AttributeKey, AttributeValue, ConversationId};

/// What the key is for; another use of the same secret takes another label.
const LABEL: &[u8] = b"attribute-gateway audit v1";

/// Bytes of the hash that are shown: beyond finding two values that share them by accident.
const TAG_BYTES: usize = 16;

/// The key of all fingerprints. `Debug` does not show it.
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

    /// The fingerprint of a value. What is hashed is unambiguous: the id has a fixed length, and no
    /// key that can be written holds a control character.
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

    /// As docs/operations.md has it, made with
    /// `printf … | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf … | openssl dgst …)`.
    #[test]
    fn it_can_be_computed_elsewhere() {
        assert_eq!(print("demo-secret", ONE, "tier", "gold"), "6deef2e129506bc7de6ee2b9bf74733c");
    }
}
