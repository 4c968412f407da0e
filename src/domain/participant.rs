//! Conversations, their participants, and which participant a request selects.
//!
//! Purposes are compared without case. The person who calls may be `external` until the call reaches
//! a queue, and `customer` afterwards, with the same id. The selector `customer` therefore matches
//! both. If several participants match, a live one takes precedence over those that have left. If
//! several live ones match, the request fails and lists them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::attributes::AttributeMap;
use super::ids::{ConversationId, ParticipantId};
use super::timestamp::TimeRange;

mod selectors;

/// Longest word that a selector accepts as a purpose.
const MAX_WORD_BYTES: usize = 40;

/// Listed for a participant without a purpose.
const NO_PURPOSE: &str = "(none)";

const ALL: &str = "all";
const CUSTOMER: &str = "customer";
const EXTERNAL: &str = "external";
const FIRST: &str = "first";

/// A conversation, from one read.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Whether it is live; `None` if the upstream route does not say.
    pub live: Option<bool>,
    /// Its start and end, if the upstream route says so.
    pub span: TimeRange,
    /// All participants, including those that have left, in order of joining.
    pub participants: Vec<Participant>,
}

/// A participant, from one read.
#[derive(Clone, Debug)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// Its purpose in upstream's spelling; empty if upstream sent none.
    pub purpose: SmolStr,
    /// State of its last communication, such as `connected`.
    pub state: Option<SmolStr>,
    /// Whether it is still in the conversation.
    pub live: bool,
    /// Its name, if it has one.
    pub name: Option<PersonName>,
    /// Its start and end, if the upstream route says so.
    pub span: TimeRange,
    /// Its attributes.
    pub attributes: AttributeMap,
}

/// Name of a participant. It is personal data, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonName(SmolStr);

impl PersonName {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName(…)")
    }
}

impl Conversation {
    /// The participant with this id.
    pub fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.participants.iter().find(|participant| participant.id == id)
    }
}

impl Participant {
    fn has_purpose(&self, purpose: &str) -> bool {
        self.purpose.eq_ignore_ascii_case(purpose)
    }

    /// Whether it is the customer, and has left.
    pub fn is_customer_who_left(&self) -> bool {
        !self.live && (self.has_purpose(CUSTOMER) || self.has_purpose(EXTERNAL))
    }

    /// What a client needs to name it.
    pub fn candidate(&self) -> ParticipantSummary {
        ParticipantSummary { id: self.id, purpose: self.purpose.clone(), state: self.state.clone() }
    }
}

/// What a request does with the participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorIntent {
    /// It only reads, so `customer` may fall back to the first participant.
    Read,
    /// It changes attributes, and only those of a participant that the client named.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SelectorPosition {
    First,
    Last,
}

impl SelectorPosition {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => FIRST,
            Self::Last => "last",
        }
    }
}

/// Which participant a request selects, as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantSelector(SelectorKind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum SelectorKind {
    Id(ParticipantId),
    All,
    First,
    Purpose { word: SmolStr, position: Option<SelectorPosition> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID, `all`, or a word of 1 to 40 letters, optionally with `:first` or `:last`")]
pub struct InvalidSelector;

impl FromStr for ParticipantSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if let Ok(id) = text.parse() {
            return Ok(Self(SelectorKind::Id(id)));
        }
        let (word, position) = match text.split_once(':') {
            None => (text, None),
            Some((word, "first")) => (word, Some(SelectorPosition::First)),
            Some((word, "last")) => (word, Some(SelectorPosition::Last)),
            Some(_) => return Err(InvalidSelector),
        };
        if !is_word(word) {
            return Err(InvalidSelector);
        }
        let word = word.to_ascii_lowercase();
        match (word.as_str(), position) {
            (ALL, None) => Ok(Self(SelectorKind::All)),
            (FIRST, None) => Ok(Self(SelectorKind::First)),
            (ALL | FIRST, Some(_)) => Err(InvalidSelector),
            _ => Ok(Self(SelectorKind::Purpose { word: word.into(), position })),
        }
    }
}

impl fmt::Display for ParticipantSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SelectorKind::Id(id) => id.fmt(f),
            SelectorKind::All => f.write_str(ALL),
            SelectorKind::First => f.write_str(FIRST),
            SelectorKind::Purpose { word, position: None } => f.write_str(word),
            SelectorKind::Purpose { word, position: Some(position) } => {
                write!(f, "{word}:{}", position.as_str())
            }
        }
    }
}

fn is_word(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters && (1..=MAX_WORD_BYTES).contains(&text.len())
}

/// The rule that selected a participant. Each answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SelectionRule {
    Id,
    Purpose,
    /// The request named `customer`, and the customer is still `external`.
    External,
    /// The request named `first`, or is a read of `customer`.
    First,
    /// The request named a purpose with `:first` or `:last`.
    Position,
}

impl SelectionRule {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Purpose => "purpose",
            Self::External => "external",
            Self::First => "first",
            Self::Position => "position",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ResolvedParticipant<'a> {
    pub participant: &'a Participant,
    pub by: SelectionRule,
}

/// A participant of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Participant)]
pub struct ParticipantSummary {
    /// Id of the participant.
    #[schema(value_type = String, format = "uuid")]
    pub id: ParticipantId,
    /// Purpose of the participant, such as `customer`, spelled as in Genesys Cloud.
    #[schema(value_type = String)]
    pub purpose: SmolStr,
    /// State of the participant's last communication, such as `connected`.
    #[schema(value_type = Option<String>)]
    pub state: Option<SmolStr>,
}

/// Why a selector does not resolve to one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnresolvedParticipant {
    /// `all` selects more than one.
    NotOne,
    NotFound {
        /// The purposes in the conversation, each once.
        purposes: Vec<String>,
        /// A read would have used the first participant.
        first_needs_naming: bool,
    },
    Ambiguous(Vec<ParticipantSummary>),
}

impl ParticipantSelector {
    /// Whether it selects every participant.
    pub fn is_all(&self) -> bool {
        self.0 == SelectorKind::All
    }

    /// The id, if the selector is one.
    pub fn id(&self) -> Option<ParticipantId> {
        if let SelectorKind::Id(id) = self.0 { Some(id) } else { None }
    }

    /// Resolves the selector to a participant of `conversation`.
    pub fn choose<'a>(
        &self,
        conversation: &'a Conversation,
        intent: SelectorIntent,
    ) -> Result<ResolvedParticipant<'a>, UnresolvedParticipant> {
        let all = &conversation.participants;
        let found = match &self.0 {
            SelectorKind::All => return Err(UnresolvedParticipant::NotOne),
            SelectorKind::Id(id) => conversation
                .participant(*id)
                .map(|participant| Ok(ResolvedParticipant { participant, by: SelectionRule::Id })),
            SelectorKind::First => first(all),
            SelectorKind::Purpose { word, position } => {
                let of = |purpose: &str, rule| {
                    let matching = all.iter().filter(|one| one.has_purpose(purpose));
                    among(&matching.collect::<Vec<_>>(), *position, rule)
                };
                let external = || of(EXTERNAL, SelectionRule::External);
                let fallback = || first(all).filter(|_| intent == SelectorIntent::Read);
                of(word, SelectionRule::Purpose)
                    .or_else(|| if word == CUSTOMER { external().or_else(fallback) } else { None })
            }
        };
        found.unwrap_or_else(|| {
            Err(UnresolvedParticipant::NotFound {
                purposes: purposes(all),
                first_needs_naming: self.is_customer() && !all.is_empty(),
            })
        })
    }

    /// Whether it selects the same participant for the whole conversation. That is true of an id and of
    /// plain `customer`. After a transfer, any other word may select another participant.
    pub fn is_stable(&self) -> bool {
        match &self.0 {
            SelectorKind::Id(_) => true,
            SelectorKind::Purpose { position, .. } => position.is_none() && self.is_customer(),
            SelectorKind::All | SelectorKind::First => false,
        }
    }

    fn is_customer(&self) -> bool {
        matches!(&self.0, SelectorKind::Purpose { word, .. } if word == CUSTOMER)
    }
}

type ParticipantResolution<'a> = Result<ResolvedParticipant<'a>, UnresolvedParticipant>;

fn first(all: &[Participant]) -> Option<ParticipantResolution<'_>> {
    all.first().map(|participant| Ok(ResolvedParticipant { participant, by: SelectionRule::First }))
}

/// Selects one of `matching`; `None` if it is empty.
fn among<'a>(
    matching: &[&'a Participant],
    position: Option<SelectorPosition>,
    rule: SelectionRule,
) -> Option<ParticipantResolution<'a>> {
    let live: Vec<_> = matching.iter().copied().filter(|participant| participant.live).collect();
    let pool = if live.is_empty() { matching } else { live.as_slice() };
    let (participant, by) = match position {
        Some(SelectorPosition::First) => (*pool.first()?, SelectionRule::Position),
        Some(SelectorPosition::Last) => (*pool.last()?, SelectionRule::Position),
        None if live.len() > 1 => {
            let candidates = pool.iter().copied().map(Participant::candidate).collect();
            return Some(Err(UnresolvedParticipant::Ambiguous(candidates)));
        }
        None => (*pool.last()?, rule),
    };
    Some(Ok(ResolvedParticipant { participant, by }))
}

fn purposes(all: &[Participant]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for participant in all {
        let purpose = Some(participant.purpose.as_str()).filter(|purpose| !purpose.is_empty());
        let purpose = purpose.unwrap_or(NO_PURPOSE);
        if !found.iter().any(|known| known.eq_ignore_ascii_case(purpose)) {
            found.push(purpose.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests;
