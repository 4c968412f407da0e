//! The digest of a client's key, which the configuration holds in place of the key.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq as _;

const BYTES: usize = 32;

/// SHA-256 of a key. Keys are long and random, so an attacker cannot find one by trial. `Debug` does
/// not show the digest either.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; BYTES]);

/// The text is not a SHA-256 digest. The message omits the text, which may be a key by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the SHA-256 of a key in 64 hexadecimal digits")]
pub struct InvalidDigest;

impl KeyDigest {
    pub const fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// Whether both digests are equal, compared in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for KeyDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidDigest)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixty_four_hexadecimal_digits_are_a_digest() {
        let text = "00ff10aB".repeat(8);
        let digest: KeyDigest = text.parse().expect("a digest");
        assert_eq!(digest.to_hex(), text.to_lowercase());
        for bad in [&text[1..], &format!("{text}0"), &text.replace('B', "g"), "", "é"] {
            assert_eq!(bad.parse::<KeyDigest>().map(|one| one.to_hex()), Err(InvalidDigest));
        }
        assert!(!format!("{digest:?}").contains("ff10"));
    }

    #[test]
    fn digests_are_equal_only_if_every_byte_is() {
        let digest = KeyDigest::new([7; BYTES]);
        assert!(digest.is(&KeyDigest::new([7; BYTES])));
        for at in 0..BYTES {
            let mut other = [7; BYTES];
            other[at] ^= 0x80;
            assert!(!digest.is(&KeyDigest::new(other)), "byte {at}");
        }
    }
}
