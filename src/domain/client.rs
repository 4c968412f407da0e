//! On whose behalf a request is made.

mod digest;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

pub use digest::{InvalidDigest, KeyDigest};

use super::rights::ClientRights;

/// Longest name of a client: it stands in every line of the log.
const MAX_NAME_BYTES: usize = 64;

/// What a client is called where no clients are configured.
const ANONYMOUS: &str = "anonymous";

/// A constant that is made once, so that a request without a client of its own costs no memory.
static NOBODY: LazyLock<Arc<Client>> = LazyLock::new(|| {
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
    /// What it is called: in the log, in metrics, and as the user of HTTP Basic.
    pub name: ClientName,
    /// What it may do.
    pub rights: ClientRights,
    /// Its weight where clients compete for the upstream budget.
    pub share: NonZeroU32,
    /// Its own rate; `None` for no limit of its own.
    pub requests_per_minute: Option<NonZeroU32>,
}

impl Client {
    /// Whoever calls where no clients are configured: all rights, and no rate of its own.
    pub fn anonymous() -> Arc<Self> {
        Arc::clone(&NOBODY)
    }

    /// Its name, unless it is nobody in particular.
    pub fn known_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != ANONYMOUS)
    }
}

/// Name of a client. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

/// The text cannot be the name of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a name of 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` and `-`, other than `{ANONYMOUS}`"
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
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(harmless);
        // Nobody is to be taken for the client of a service that knows no clients.
        if fits && text != ANONYMOUS { Ok(Self(text.into())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_plain_and_not_that_of_nobody() {
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
    fn nobody_may_do_everything() {
        let nobody = Client::anonymous();
        assert!(nobody.rights.sees_all() && nobody.rights.may_write());
        assert!(nobody.rights.participants.is_none());
        assert_eq!(nobody.known_name(), None);
        assert_eq!((nobody.share.get(), nobody.requests_per_minute), (1, None));
        assert!(Arc::ptr_eq(&nobody, &Client::anonymous()));
    }
}
