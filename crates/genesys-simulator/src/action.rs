//! The actions of faults: what can happen to a request. `routes.rs` and `scripted.rs` carry them out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AttributeChanges, settings::duration_text};

/// What happens to a request that is hit. Unless it says otherwise, the request is not applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// 429 in the platform's words, with `Retry-After` in whole seconds if given.
    Throttle {
        /// Seconds to wait.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 429 in the platform's words, with `Retry-After` as the date that is so many seconds ahead.
    ThrottleUntil {
        /// Seconds to wait.
        seconds: u64,
    },
    /// This status, with this body or the platform's own one for it. A text is sent as plain text.
    Status {
        /// The status, 200 to 599.
        code: u16,
        /// The body.
        #[serde(default)]
        body: Option<Value>,
        /// `Retry-After` in whole seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The token presented is dead from now on: 401.
    Unauthorized,
    /// No answer, ever.
    Hang,
    /// The request is handled as usual, but there is no answer.
    HangAfterApply,
    /// The connection breaks before the request is handled.
    ResetBefore,
    /// The connection breaks after the request was handled.
    ResetAfter,
    /// No answer; a PATCH is handled after this time, even if the client has hung up.
    ApplyLate {
        /// From the arrival of the request.
        #[serde(with = "duration_text")]
        after: Duration,
    },
    /// 200 with a page of HTML, as a proxy in between would send.
    Html,
    /// A page of HTML with this status, as a proxy or another host would send.
    Page {
        /// The status, 200 to 599.
        status: u16,
    },
    /// An empty body.
    Empty {
        /// With this status.
        status: u16,
        /// Whether the request is handled before.
        #[serde(default)]
        applied: bool,
    },
    /// The true answer, of which only the first half is sent, with a fitting `Content-Length`.
    Truncated,
    /// The true answer, but the connection ends half way to the `Content-Length` that was announced.
    WrongLength,
    /// 200 with JSON of about this many bytes.
    Oversized {
        /// Bytes of the body.
        bytes: usize,
    },
    /// 200 with a body that claims to be JSON, and is not.
    GarbageJson,
    /// 400 with a message that repeats the values sent.
    EchoRejection,
    /// 400 of the platform for a map that has grown too large.
    SizeRejection,
    /// 400 of the token endpoint when it is asked too often.
    TokenThrottle,
    /// A good token, with this as `expires_in`.
    TokenExpiresIn {
        /// A number or anything else.
        value: Value,
    },
    /// Another writer writes just before the request is handled, which then goes on as usual.
    ForeignWrite {
        /// Whose attributes; by default the participant of the request, else the first one.
        #[serde(default)]
        participant: Option<String>,
        /// Keys with their new values; `null` removes.
        map: AttributeChanges,
    },
    /// Another writer writes just after the request was handled as usual.
    ForeignWriteAfter {
        /// As for [`FaultAction::ForeignWrite`].
        #[serde(default)]
        participant: Option<String>,
        /// Keys with their new values; `null` removes.
        map: AttributeChanges,
    },
    /// The conversation of the request ends, just before the request is handled as usual.
    EndConversation,
    /// The request is handled as usual, but takes this much longer.
    Delay {
        /// How much.
        #[serde(with = "duration_text")]
        by: Duration,
        /// Whether the wait comes after it was handled instead of before.
        #[serde(default)]
        after_apply: bool,
    },
    /// One of several at random; requests that are spared do not count.
    Random {
        /// How many requests of a hundred are hit.
        percent: u8,
        /// Start of this fault's own random sequence.
        #[serde(default)]
        seed: u64,
        /// What to choose from.
        among: Vec<FaultAction>,
    },
}

impl FaultAction {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), serde_json::Error> {
        let refuse = |message: String| Err(serde::de::Error::custom(message));
        match self {
            Self::Status { code, .. }
            | Self::Empty { status: code, .. }
            | Self::Page { status: code }
                if !(200..600).contains(code) =>
            {
                refuse(format!("`{code}` is no status from 200 to 599"))
            }
            Self::Random { percent, among, .. } if *percent > 100 || among.is_empty() => {
                refuse("`random` needs a percent up to 100 and something to choose from".to_owned())
            }
            Self::Random { among, .. } => among.iter().try_for_each(Self::check),
            _ => Ok(()),
        }
    }

    /// This action, or for a random one what the dice say; nothing if they spare the request.
    pub(super) fn chosen(&self, random: &mut fastrand::Rng) -> Option<Self> {
        match self {
            Self::Random { percent, among, .. } => {
                let hit = random.u8(0..100) < *percent && !among.is_empty();
                hit.then(|| among[random.usize(..among.len())].chosen(random))?
            }
            other => Some(other.clone()),
        }
    }
}
