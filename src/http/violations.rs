//! The mistakes of one request: all of them, as long as that helps anybody.
//!
//! Whoever fixes a request wants to see all that is wrong with it. A request may hold thousands of
//! mistakes, though, and each is longer told than made: what is told is bounded here, in number and
//! in length, and what is left out is counted.

use crate::domain::Violation;

/// Mistakes that are told. A person fixes no more at once, and what made more makes them all alike.
const MAX_REPORTED: usize = 100;

/// Bytes of a place, and of a sentence, that are told: a key may be as long as a body.
const MAX_DETAIL_BYTES: usize = 300;

/// What stands for the middle of a longer one.
const CUT: &str = "…";

/// Bytes of the end that are kept: long keys mostly differ there.
const MAX_END: usize = 100;

/// What is wrong with a request.
#[derive(Clone, Debug, Default)]
pub(super) struct ViolationList {
    told: Vec<Violation>,
    left_out: usize,
    hint: Option<&'static str>,
}

impl ViolationList {
    /// Notes one.
    pub(super) fn note(&mut self, Violation { pointer, detail }: Violation) {
        self.note_with(|| Violation { pointer, detail });
    }

    /// Notes one that has a hint of its own. The first mistake of a request decides on its hint.
    pub(super) fn note_hinted(&mut self, hint: &'static str, mistake: impl FnOnce() -> Violation) {
        if self.told.is_empty() {
            self.hint = Some(hint);
        }
        self.note_with(mistake);
    }

    /// What to do about the first mistake, where the hint of the code says less.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// Notes one that takes some work to tell, which is not done for one that is left out.
    pub(super) fn note_with(&mut self, mistake: impl FnOnce() -> Violation) {
        if self.told.len() < MAX_REPORTED {
            let Violation { pointer, detail } = mistake();
            self.told.push(Violation { pointer: cut(pointer), detail: cut(detail) });
        } else {
            self.left_out += 1;
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Those that are told, in their order.
    pub(super) fn reported(&self) -> &[Violation] {
        &self.told
    }

    /// How many there are besides.
    pub(super) fn omitted(&self) -> usize {
        self.left_out
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

/// The text, or its beginning and its end; no escape of a pointer is cut in two.
fn cut(text: String) -> String {
    if text.len() <= MAX_DETAIL_BYTES {
        return text;
    }
    let mut end = text.floor_char_boundary(MAX_DETAIL_BYTES - CUT.len() - MAX_END);
    if let Some(escape) = text[..end].rfind('%').filter(|escape| end - escape < "%00".len()) {
        end = escape;
    }
    let mut rest = text.ceil_char_boundary(text.len() - MAX_END);
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
    fn a_hundred_are_told_and_more_are_counted() {
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
    fn long_keys_that_differ_at_their_end_are_told_apart() {
        let told = |end: &str| {
            let key = "k".repeat(400) + end;
            ViolationList::from(Violation::of_attribute(&key, "")).reported()[0].pointer.clone()
        };
        assert!(told("one").ends_with("one") && told("two").ends_with("two"));
    }

    #[test]
    fn a_long_place_is_cut_between_its_escapes() {
        let told = |key: &str| -> String {
            ViolationList::from(Violation::of_attribute(key, "")).reported()[0].pointer.clone()
        };
        assert_eq!(told(&"k".repeat(200)).len(), "#/attributes/".len() + 200);
        for filler in 0..3 {
            let place = told(&("k".repeat(filler) + &"é".repeat(10_000)));
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
