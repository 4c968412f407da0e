//! The clients of the gateway, as the configuration names them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use subtle::ConstantTimeEq as _;

use super::rights::ClientRights;

/// Longest name of a client. Each line of the access log contains it.
const MAX_NAME_BYTES: usize = 64;

/// Reserved for the client if no clients are configured.
const ANONYMOUS: &str = "anonymous";

/// Built once, so that a request without authentication allocates nothing.
static ANONYMOUS_CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| {
    Arc::new(Client {
        name: ClientName(ANONYMOUS.into()),
        rights: ClientRights::default(),
        share: NonZeroU32::MIN,
        requests_per_minute: None,
    })
});

/// A client, as it is configured.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name in logs and metrics, and the user name of HTTP Basic.
    pub name: ClientName,
    /// Its rights.
    pub rights: ClientRights,
    /// Its weight when clients compete for the call budget.
    pub share: NonZeroU32,
    /// Its own rate limit, if it has one.
    pub requests_per_minute: Option<NonZeroU32>,
}

impl Client {
    /// The client of every request if no clients are configured. It has all rights and no rate limit.
    pub fn anonymous() -> Arc<Self> {
        Arc::clone(&ANONYMOUS_CLIENT)
    }

    /// Its name, unless it is anonymous.
    pub fn known_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != ANONYMOUS)
    }
}

/// Name of a client. It is not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a name of 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` or `-` (`{ANONYMOUS}` is reserved)"
)]
pub struct InvalidName;

impl ClientName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain);
        if fits && text != ANONYMOUS { Ok(Self(text.into())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const DIGEST_BYTES: usize = 32;

/// SHA-256 of a key. Keys are long and random, so an attacker cannot find one by trial.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; DIGEST_BYTES]);

/// The text is not a SHA-256 digest. The message omits the text, which may be a key by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the SHA-256 of a key in 64 hexadecimal digits")]
pub struct InvalidDigest;

impl KeyDigest {
    /// The digest with these bytes.
    pub const fn new(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Whether both digests are equal, compared in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The digest in hexadecimal digits, as the configuration contains it.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for KeyDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; DIGEST_BYTES];
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
    fn a_name_is_short_plain_and_not_reserved() {
        let longest = "x".repeat(MAX_NAME_BYTES);
        for good in ["crm", "crm-2.eu_west", longest.as_str()] {
            assert_eq!(
                good.parse::<ClientName>().map(|name| name.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", "a b", "a:b", "é", "anonymous", "x".repeat(MAX_NAME_BYTES + 1).as_str()] {
            assert_eq!(bad.parse::<ClientName>(), Err(InvalidName), "{bad}");
        }
    }

    #[test]
    fn the_anonymous_client_has_all_rights() {
        let anonymous = Client::anonymous();
        assert!(anonymous.rights.sees_all() && anonymous.rights.may_write());
        assert!(anonymous.rights.participants.is_none());
        assert_eq!(anonymous.known_name(), None);
        assert_eq!((anonymous.share.get(), anonymous.requests_per_minute), (1, None));
        assert!(Arc::ptr_eq(&anonymous, &Client::anonymous()));
    }

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
        let digest = KeyDigest::new([7; DIGEST_BYTES]);
        assert!(digest.is(&KeyDigest::new([7; DIGEST_BYTES])));
        for at in 0..DIGEST_BYTES {
            let mut other = [7; DIGEST_BYTES];
            other[at] ^= 0x80;
            assert!(!digest.is(&KeyDigest::new(other)), "byte {at}");
        }
    }
}
