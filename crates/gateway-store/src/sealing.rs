//! Encryption of everything private that a store keeps.
//!
//! A sealed value is a version byte, a random nonce, and the output of AES-256-GCM. The context, such as
//! the id of the record, is authenticated too, so a value cannot be moved to another record.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{FORMAT_VERSION, unreadable};
use crate::ports::StoreError;

/// Labels of the derived keys. Any other use of the same secret needs another label.
const SALT: &[u8] = b"attribute-gateway store v1";
const ENCRYPTION: &[u8] = b"encryption";
const DIGESTS: &[u8] = b"digests";

/// Encrypts contents and hashes names. `Debug` does not show it.
pub struct SealingKey {
    aead: LessSafeKey,
    digests: hmac::Key,
    random: SystemRandom,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    /// Derives the keys from the client secret, which all replicas share.
    ///
    /// # Panics
    /// Never: the lengths fit the algorithms.
    pub fn derive(secret: &str) -> Self {
        let base = Salt::new(HKDF_SHA256, SALT).extract(secret.as_bytes());
        let key: UnboundKey =
            base.expand(&[ENCRYPTION], &AES_256_GCM).expect("the length fits").into();
        let digests: hmac::Key =
            base.expand(&[DIGESTS], hmac::HMAC_SHA256).expect("the length fits").into();
        Self { aead: LessSafeKey::new(key), digests, random: SystemRandom::new() }
    }

    /// Encrypts contents that belong to `context`.
    pub(super) fn seal(&self, context: &[u8], contents: &[u8]) -> Result<Vec<u8>, StoreError> {
        let failed = |_| StoreError::Unavailable("the system has no random numbers".to_owned());
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        let mut sealed = contents.to_vec();
        let aad = Aad::from(context);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.aead.seal_in_place_append_tag(nonce_used, aad, &mut sealed).map_err(failed)?;
        Ok([&[FORMAT_VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] has made.
    pub(super) fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (version, rest) = sealed.split_first().ok_or_else(|| unreadable("it is empty"))?;
        if *version != FORMAT_VERSION {
            return Err(unreadable(
                "another version of the gateway wrote it; run one version, or wait until it expires",
            ));
        }
        let changed = || unreadable("it was written with another client secret, or was changed");
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(changed)?;
        let mut contents = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.aead.open_in_place(nonce, Aad::from(context), &mut contents);
        let length = opened.map_err(|_| changed())?.len();
        contents.truncate(length);
        Ok(contents)
    }

    /// A keyed hash of some parts, to name a record without showing what it is about.
    pub(super) fn digest(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.digests);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        hex::encode(context.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_only_with_their_key_and_context() {
        let key = SealingKey::derive("secret");
        let sealed = key.seal(b"one", b"gold").expect("sealed");
        assert_eq!(SealingKey::derive("secret").open(b"one", &sealed).expect("opens"), b"gold");
        assert_ne!(sealed, key.seal(b"one", b"gold").expect("sealed"), "a nonce was used twice");
        assert!(!sealed.windows(4).any(|part| part == b"gold"));
        for refused in
            [SealingKey::derive("other").open(b"one", &sealed), key.open(b"two", &sealed)]
        {
            assert!(refused.expect_err("refused").to_string().contains("another client secret"));
        }
    }

    #[test]
    fn damaged_values_and_other_versions_are_errors() {
        let key = SealingKey::derive("secret");
        let mut sealed = key.seal(b"", b"gold").expect("sealed");
        for length in 0..sealed.len() {
            assert!(key.open(b"", &sealed[..length]).is_err(), "{length}");
        }
        sealed[0] = 2;
        let refused = key.open(b"", &sealed).expect_err("refused").to_string();
        assert!(refused.contains("another version of the gateway"), "{refused}");
    }

    #[test]
    fn a_digest_depends_on_every_part_and_its_bounds() {
        let key = SealingKey::derive("secret");
        assert_eq!(key.digest(&[b"ab", b"c"]), key.digest(&[b"ab", b"c"]));
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
        assert_ne!(key.digest(&[b"a"]), SealingKey::derive("other").digest(&[b"a"]));
    }
}
