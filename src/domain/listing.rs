//! Which live conversations there are: what a list is narrowed by, and its rows.

mod pages;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use smol_str::SmolStr;

use super::ids::{ConversationId, InvalidId, ParticipantId, hyphenated};
use super::timestamp::Timestamp;

pub use self::pages::{Bookmark, Listing, Pages};

/// Rows of upstream's pages: what the vendor's own examples ask for. The most that it would give is
/// not published.
pub const PAGE_SIZE: usize = 100;

/// Longest number: E.164 has 15 digits, extensions and national prefixes come on top.
const LONGEST_NUMBER: usize = 32;

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The customer called.
    Inbound,
    /// The customer was called.
    Outbound,
}

impl Direction {
    /// Both, in the spelling of upstream.
    pub const WORDS: [&str; 2] = ["inbound", "outbound"];

    /// The spelling of upstream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => Self::WORDS[0],
            Self::Outbound => Self::WORDS[1],
        }
    }

    /// The direction with this spelling.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Inbound, Self::Outbound].into_iter().find(|direction| direction.as_str() == word)
    }
}

/// Id of a queue or a user, which nothing is done with but to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceId(Uuid);

impl FromStr for ResourceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        hyphenated(text).map(Self)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A telephone number, without `tel:` and separators. Personal, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// The text is no telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no telephone number: 1 to 32 digits, optionally after `+` and after `tel:`")]
pub struct InvalidNumber;

impl FromStr for PhoneNumber {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let scheme = text.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("tel:"));
        let number = &text[scheme.map_or(0, str::len)..];
        let is_separator = |character: &char| matches!(character, ' ' | '-' | '.' | '(' | ')');
        let number: String = number.chars().filter(|character| !is_separator(character)).collect();
        let digits = number.strip_prefix('+').unwrap_or(&number);
        let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !only_digits || !(1..=LONGEST_NUMBER).contains(&digits.len()) {
            return Err(InvalidNumber);
        }
        Ok(Self(number))
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

impl PhoneNumber {
    /// The number, with `+` if it was given with one.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As upstream may have it: as a URI or bare, and with `+` also where that was left out.
    pub fn spellings(&self) -> Vec<String> {
        let mut numbers = vec![self.0.clone()];
        if !self.0.starts_with('+') {
            numbers.insert(0, format!("+{}", self.0));
        }
        numbers.into_iter().flat_map(|number| [format!("tel:{number}"), number]).collect()
    }
}

/// Which conversations are wanted, of those that are live and voice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConversationFilter {
    /// Those that began like this.
    pub direction: Option<Direction>,
    /// Those that are in this queue, or with an agent of it, now.
    pub queue: Option<ResourceId>,
    /// Those that this user takes part in now.
    pub user: Option<ResourceId>,
    /// Those from this number.
    pub ani: Option<PhoneNumber>,
    /// Those to this number.
    pub dnis: Option<PhoneNumber>,
}

/// A live conversation, as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ConversationId,
    /// When it began, in milliseconds since 1970: what lists are ordered by, the newest first.
    pub at: i64,
    /// The same as upstream spells it.
    pub start: Option<Timestamp>,
    /// Who called whom, as upstream spells it.
    pub direction: Option<SmolStr>,
    /// Everybody who ever joined.
    pub participants: Vec<ListedParticipant>,
}

/// A participant, as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedParticipant {
    /// Its id.
    pub id: ParticipantId,
    /// Its purpose; empty if upstream named none.
    pub purpose: SmolStr,
}

/// One page of upstream's.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Its rows, those without an id left out.
    pub rows: Vec<Listed>,
    /// How many rows it had.
    pub received: usize,
    /// How many rows there are on all pages, as far as upstream tells.
    pub total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_however_people_write_it() {
        for text in ["+15550100111", "tel:+15550100111", "TEL:+1 (555) 010-0111", "+1.555.0100111"]
        {
            let number: PhoneNumber = text.parse().expect(text);
            assert_eq!(number.expose(), "+15550100111");
            assert_eq!(number.spellings(), ["tel:+15550100111", "+15550100111"]);
        }
        let bare: PhoneNumber = "15550100111".parse().expect("a number");
        let all = ["tel:+15550100111", "+15550100111", "tel:15550100111", "15550100111"];
        assert_eq!(bare.spellings(), all);
        assert!(!format!("{bare:?}").contains("555"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(LONGEST_NUMBER + 1);
        for text in
            ["", "+", "tel:", "sip:a@b", "+1+2", "12a", "٣", "tel:tel:1", "té", long.as_str()]
        {
            assert_eq!(text.parse::<PhoneNumber>(), Err(InvalidNumber), "{text}");
        }
    }
}
