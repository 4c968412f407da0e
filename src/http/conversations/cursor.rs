//! Cursors: how far a client has come in a list, as a text that is good only with the filters it came
//! from and that nobody else can make. Replicas of one gateway understand each other's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::{ConversationFilter, ConversationId, CursorPosition};
use crate::http::etag::EtagKey;

/// The form of what follows; another form needs another number.
const VERSION: u8 = 2;

/// Bytes of the seal: all of it, since only so it is compared in constant time.
const SEAL: usize = 32;

/// Version, page, time.
const HEAD: usize = 1 + 4 + 8;

/// Bytes of an id.
const ID: usize = 16;

/// Longer texts are no cursors, and need no look.
pub(super) const MAX_CURSOR_BYTES: usize = 4096;

/// The cursor that goes on after `mark`.
pub(super) fn write(mark: &CursorPosition, filter: &ConversationFilter, key: &EtagKey) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&mark.page.to_be_bytes());
    bytes.extend_from_slice(&mark.at.to_be_bytes());
    for id in &mark.shown {
        bytes.extend_from_slice(id.as_bytes());
    }
    let seal = bound(filter, |parts| key.seal(&bytes, parts));
    bytes.extend_from_slice(seal.as_ref());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where a cursor goes on; `None` if it was not given for this filter.
pub(super) fn read(
    text: &str,
    filter: &ConversationFilter,
    key: &EtagKey,
) -> Option<CursorPosition> {
    if text.len() > MAX_CURSOR_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (content, sealed) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
    let is_ours = bound(filter, |parts| key.has_sealed(content, parts, sealed));
    if !is_ours || content.first() != Some(&VERSION) {
        return None;
    }
    let (head, ids) = content.split_at_checked(HEAD)?;
    let shown = ids.chunks(ID).map(|id| Some(ConversationId::from_bytes(id.try_into().ok()?)));
    Some(CursorPosition {
        page: u32::from_be_bytes(head.get(1..5)?.try_into().ok()?),
        at: i64::from_be_bytes(head.get(5..)?.try_into().ok()?),
        shown: shown.collect::<Option<_>>()?,
    })
}

/// Hands over what binds a cursor to its filter.
fn bound<T>(filter: &ConversationFilter, with: impl FnOnce(&[&str]) -> T) -> T {
    let ConversationFilter { direction, queue, user, ani, dnis } = filter;
    let mut parts = vec![direction.map(|direction| direction.as_str().to_owned())];
    parts.extend([queue, user].map(|id| id.map(|id| id.to_string())));
    parts
        .extend([ani, dnis].map(|number| number.as_ref().map(|number| number.expose().to_owned())));
    let parts: Vec<_> = parts.iter().map(|part| part.as_deref().unwrap_or_default()).collect();
    with(&parts)
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
            ConversationFilter {
                direction: crate::domain::CallDirection::parse("inbound"),
                ..none()
            },
            ConversationFilter { queue: id.parse().ok(), ..none() },
            ConversationFilter { user: id.parse().ok(), ..none() },
            ConversationFilter { ani: "+15550100111".parse().ok(), ..none() },
            ConversationFilter { dnis: "+15550100111".parse().ok(), ..none() },
        ]
    }

    fn mark(page: u32, at: i64, ids: &[u128]) -> CursorPosition {
        let shown = ids.iter().map(|id| ConversationId::from_bytes(id.to_be_bytes())).collect();
        CursorPosition { page, at, shown }
    }

    #[test]
    fn a_cursor_is_good_with_its_own_filter_and_key_alone() {
        let filters = filters();
        for (index, filter) in filters.iter().enumerate() {
            let text = write(&mark(3, 7, &[1, 2]), filter, &key());
            for (other, judged) in filters.iter().enumerate() {
                assert_eq!(read(&text, judged, &key()).is_some(), index == other, "{other}");
            }
            assert_eq!(read(&text, filter, &EtagKey::derive("another")), None);
        }
    }

    #[test]
    fn the_longest_cursor_is_read() {
        let ids: Vec<u128> = (0..100).collect();
        let text = write(&mark(u32::MAX, i64::MIN, &ids), &ConversationFilter::default(), &key());
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
            let (mark, filter) = (mark(page, at, &ids), &filters()[filter]);
            let text = write(&mark, filter, &key());
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(read(&text, filter, &key()), Some(mark));
        }

        #[test]
        fn a_cursor_that_was_changed_anywhere_is_refused(at: i64, place: usize, other in "[A-Za-z0-9_-]") {
            let filter = ConversationFilter::default();
            let text = write(&mark(1, at, &[9]), &filter, &key());
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
