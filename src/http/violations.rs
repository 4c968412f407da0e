//! The mistakes in one request.
//!
//! A client sees all mistakes at once, so that one correction is enough. A request can contain
//! thousands, and a report is longer than the mistake. So the number and the length of the reports
//! are limited; further mistakes are counted.

use crate::domain::Violation;

/// Mistakes that are reported. A program that made more of them likely made them all alike.
const MAX_REPORTED: usize = 100;

/// Maximum bytes of a pointer, and of a detail. A key can be as long as a body.
const MAX_DETAIL_BYTES: usize = 300;

/// Replaces the middle of a longer text.
const CUT: &str = "…";

/// Bytes kept at the end, where long keys mostly differ.
const END_BYTES: usize = 100;

/// The mistakes in a request.
#[derive(Clone, Debug, Default)]
pub(super) struct ViolationList {
    reported: Vec<Violation>,
    omitted: usize,
    hint: Option<&'static str>,
}

impl ViolationList {
    /// Adds a mistake.
    pub(super) fn note(&mut self, Violation { pointer, detail }: Violation) {
        self.note_with(|| Violation { pointer, detail });
    }

    /// Adds a mistake with its own hint. The hint of the first mistake is used.
    pub(super) fn note_hinted(&mut self, hint: &'static str, mistake: impl FnOnce() -> Violation) {
        if self.reported.is_empty() {
            self.hint = Some(hint);
        }
        self.note_with(mistake);
    }

    /// The hint of the first mistake; it replaces the hint of the code.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// Adds a mistake, and describes it only if it is reported.
    pub(super) fn note_with(&mut self, mistake: impl FnOnce() -> Violation) {
        if self.reported.len() < MAX_REPORTED {
            let Violation { pointer, detail } = mistake();
            self.reported.push(Violation { pointer: cut(pointer), detail: cut(detail) });
        } else {
            self.omitted += 1;
        }
    }

    /// Whether there are no mistakes.
    pub(super) fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    /// The reported mistakes, in order.
    pub(super) fn reported(&self) -> &[Violation] {
        &self.reported
    }

    /// The number of further mistakes.
    pub(super) fn omitted(&self) -> usize {
        self.omitted
    }
}

impl FromIterator<Violation> for ViolationList {
    fn from_iter<I: IntoIterator<Item = Violation>>(all: I) -> Self {
        let mut mistakes = Self::default();
        for mistake in all {
            mistakes.note(mistake);
        }
        mistakes
    }
}

impl From<Violation> for ViolationList {
    fn from(only: Violation) -> Self {
        Self::from_iter([only])
    }
}

/// The text, or its beginning and end. Percent escapes in a pointer are kept whole.
fn cut(text: String) -> String {
    if text.len() <= MAX_DETAIL_BYTES {
        return text;
    }
    let mut end = text.floor_char_boundary(MAX_DETAIL_BYTES - CUT.len() - END_BYTES);
    if let Some(escape) = text[..end].rfind('%').filter(|escape| end - escape < "%00".len()) {
        end = escape;
    }
    let mut rest = text.ceil_char_boundary(text.len() - END_BYTES);
    let inside = |at: usize| text[..at].bytes().rev().take(2).any(|byte| byte == b'%');
    while inside(rest) {
        rest = text.ceil_char_boundary(rest + 1);
    }
    [&text[..end], CUT, &text[rest..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_are_reported_and_more_are_counted() {
        let all = |count: usize| -> ViolationList {
            (0..count).map(|number| Violation::new(number.to_string(), "is wrong")).collect()
        };
        assert_eq!((all(100).reported().len(), all(100).omitted()), (100, 0));
        let more = all(350);
        assert_eq!((more.reported().len(), more.omitted()), (100, 250));
        assert_eq!(more.reported()[99].pointer, "99");
        assert!(all(0).is_empty() && !all(1).is_empty());
    }

    #[test]
    fn long_keys_that_differ_at_their_end_stay_different() {
        let pointer = |end: &str| {
            let key = "k".repeat(400) + end;
            ViolationList::from(Violation::of_attribute(&key, "")).reported()[0].pointer.clone()
        };
        assert!(pointer("one").ends_with("one") && pointer("two").ends_with("two"));
    }

    #[test]
    fn a_long_place_is_cut_between_its_escapes() {
        let pointer = |key: &str| -> String {
            ViolationList::from(Violation::of_attribute(key, "")).reported()[0].pointer.clone()
        };
        assert_eq!(pointer(&"k".repeat(200)).len(), "#/attributes/".len() + 200);
        for filler in 0..3 {
            let place = pointer(&("k".repeat(filler) + &"é".repeat(10_000)));
            assert!(
                place.len() <= MAX_DETAIL_BYTES && place.len() > MAX_DETAIL_BYTES - 15,
                "{place}"
            );
            let key = place.trim_start_matches("#/attributes/").trim_start_matches('k');
            let (start, end) = key.split_once(CUT).expect("cut");
            assert!(start.len() % 3 == 0 && end.len() % 3 == 0, "{place}");
            assert!(start.starts_with('%') && end.starts_with('%'), "{place}");
        }
    }
}
