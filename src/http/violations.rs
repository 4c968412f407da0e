//! The mistakes in one request.
//!
//! A client sees all at once, so that one correction is enough. A request can contain thousands, so the
//! number and the length of the reports are limited; further mistakes are counted.

use crate::domain::Violation;

/// Mistakes that are reported. A program that made more of them likely made them all alike.
const MAX_REPORTED: usize = 100;

#[derive(Clone, Debug, Default)]
pub(super) struct ViolationList {
    reported: Vec<Violation>,
    omitted: usize,
    hint: Option<&'static str>,
}

impl ViolationList {
    pub(super) fn note(&mut self, mistake: Violation) {
        self.note_with(|| mistake);
    }

    /// Adds a mistake with its own hint. The hint of the first mistake is used.
    pub(super) fn note_hinted(&mut self, hint: &'static str, mistake: impl FnOnce() -> Violation) {
        if self.reported.is_empty() {
            self.hint = Some(hint);
        }
        self.note_with(mistake);
    }

    /// Adds a mistake, and describes it only if it is reported.
    pub(super) fn note_with(&mut self, mistake: impl FnOnce() -> Violation) {
        if self.reported.len() < MAX_REPORTED {
            let Violation { pointer, detail } = mistake();
            let (pointer, detail) = (shortened_to(&pointer, 300), shortened_to(&detail, 300));
            self.reported.push(Violation { pointer, detail });
        } else {
            self.omitted += 1;
        }
    }

    /// The hint of the first mistake; it replaces the hint of the code.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    pub(super) fn reported(&self) -> &[Violation] {
        &self.reported
    }

    pub(super) fn omitted(&self) -> usize {
        self.omitted
    }
}

impl FromIterator<Violation> for ViolationList {
    fn from_iter<I: IntoIterator<Item = Violation>>(all: I) -> Self {
        let mut mistakes = Self::default();
        all.into_iter().for_each(|mistake| mistakes.note(mistake));
        mistakes
    }
}

impl From<Violation> for ViolationList {
    fn from(only: Violation) -> Self {
        Self::from_iter([only])
    }
}

/// A name that an answer repeats, cut to 160 characters.
pub(super) fn shortened(name: &str) -> String {
    shortened_to(name, 160)
}

/// The text, or its beginning and end with `…` between them. Long keys mostly differ at their end.
pub(super) fn shortened_to(text: &str, max: usize) -> String {
    let (count, end) = (text.chars().count(), max / 3);
    if count <= max {
        return text.to_owned();
    }
    let (first, last) = (text.chars().take(max - end), text.chars().skip(count - end));
    first.chain(['…']).chain(last).collect()
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
    fn a_name_is_whole_or_cut_in_its_middle() {
        let key = "conversationDetails.participantData.Account Number";
        assert_eq!(shortened(key), key);
        let (one, two) = ("k".repeat(300) + "one", "k".repeat(300) + "two");
        assert!(shortened(&one).contains('…') && shortened(&one).ends_with("one"));
        assert_ne!(shortened(&one), shortened(&two));
    }
}
