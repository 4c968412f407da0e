//! Cursors: a position in a list as text. A seal binds a cursor to its filters and proves that a replica
//! of this gateway made it; all replicas accept it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::{
    CallDirection, ConversationFilter, ConversationId, CursorPosition, PhoneNumber, ResourceId,
};
use crate::http::etag::EtagKey;

const VERSION: u8 = 2;

/// Length of the seal in bytes. It is not shortened, so that the comparison takes constant time.
const SEAL_BYTES: usize = 32;

/// Length of version, page and time in bytes.
const HEAD_BYTES: usize = 1 + 4 + 8;
const ID_BYTES: usize = 16;

/// Maximum length of a cursor. Longer texts are refused without decoding.
pub(super) const MAX_CURSOR_BYTES: usize = 4096;

/// Returns the cursor that continues after `position`.
pub(super) fn write(
    position: &CursorPosition,
    filter: &ConversationFilter,
    key: &EtagKey,
) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&position.page.to_be_bytes());
    bytes.extend_from_slice(&position.at.to_be_bytes());
    for id in &position.shown {
        bytes.extend_from_slice(id.as_bytes());
    }
    let seal = key.seal(&bytes, &parts(filter));
    bytes.extend_from_slice(seal.as_ref());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the position of a cursor; `None` if the gateway did not issue it for this filter.
pub(super) fn read(
    text: &str,
    filter: &ConversationFilter,
    key: &EtagKey,
) -> Option<CursorPosition> {
    if text.len() > MAX_CURSOR_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (content, sealed) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
    let is_ours = key.has_sealed(content, &parts(filter), sealed);
    if !is_ours || content.first() != Some(&VERSION) {
        return None;
    }
    let (head, ids) = content.split_at_checked(HEAD_BYTES)?;
    let shown =
        ids.chunks(ID_BYTES).map(|id| Some(ConversationId::from_bytes(id.try_into().ok()?)));
    Some(CursorPosition {
        page: u32::from_be_bytes(head.get(1..5)?.try_into().ok()?),
        at: i64::from_be_bytes(head.get(5..)?.try_into().ok()?),
        shown: shown.collect::<Option<_>>()?,
    })
}

/// The parts of the filter that the seal covers.
fn parts(filter: &ConversationFilter) -> [String; 5] {
    let ConversationFilter { direction, queue, user, ani, dnis } = filter;
    let id = |id: &Option<ResourceId>| id.map(|id| id.to_string()).unwrap_or_default();
    let number = |number: &Option<PhoneNumber>| {
        number.as_ref().map(|number| number.expose().to_owned()).unwrap_or_default()
    };
    let direction = direction.map_or("", CallDirection::as_str).to_owned();
    [direction, id(queue), id(user), number(ani), number(dnis)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> EtagKey {
        EtagKey::derive("secret")
    }

    fn filters() -> Vec<ConversationFilter> {
        let id = "9e000000-0000-4000-8000-000000000001";
        let none = ConversationFilter::default;
        vec![
            none(),
            ConversationFilter { direction: Some(CallDirection::Inbound), ..none() },
            ConversationFilter { queue: id.parse().ok(), ..none() },
            ConversationFilter { user: id.parse().ok(), ..none() },
            ConversationFilter { ani: "+15550100111".parse().ok(), ..none() },
            ConversationFilter { dnis: "+15550100111".parse().ok(), ..none() },
        ]
    }

    fn position(page: u32, at: i64, ids: &[u128]) -> CursorPosition {
        let shown = ids.iter().map(|id| ConversationId::from_bytes(id.to_be_bytes())).collect();
        CursorPosition { page, at, shown }
    }

    #[test]
    fn a_cursor_is_valid_only_with_its_filter_and_key() {
        let filters = filters();
        for (index, filter) in filters.iter().enumerate() {
            let text = write(&position(3, 7, &[1, 2]), filter, &key());
            for (other, judged) in filters.iter().enumerate() {
                assert_eq!(read(&text, judged, &key()).is_some(), index == other, "{other}");
            }
            assert_eq!(read(&text, filter, &EtagKey::derive("another")), None);
        }
    }

    #[test]
    fn the_longest_cursor_is_read() {
        let ids: Vec<u128> = (0..100).collect();
        let text =
            write(&position(u32::MAX, i64::MIN, &ids), &ConversationFilter::default(), &key());
        assert!(text.len() < MAX_CURSOR_BYTES);
        assert_eq!(
            read(&text, &ConversationFilter::default(), &key()).map(|m| m.shown.len()),
            Some(100)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            page: u32,
            at: i64,
            ids in proptest::collection::vec(any::<u128>(), 0..5),
            filter in 0_usize..6,
        ) {
            let (position, filter) = (position(page, at, &ids), &filters()[filter]);
            let text = write(&position, filter, &key());
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(read(&text, filter, &key()), Some(position));
        }

        #[test]
        fn a_changed_cursor_is_refused(at: i64, place: usize, other in "[A-Za-z0-9_-]") {
            let filter = ConversationFilter::default();
            let text = write(&position(1, at, &[9]), &filter, &key());
            let place = place % text.len();
            let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
            prop_assume!(changed != text);
            prop_assert_eq!(read(&changed, &filter, &key()), None);
            prop_assert_eq!(read(&text[..place], &filter, &key()), None);
        }

        #[test]
        fn nothing_else_is_a_cursor(text in ".{0,80}") {
            prop_assert_eq!(read(&text, &ConversationFilter::default(), &key()), None);
        }
    }
}
