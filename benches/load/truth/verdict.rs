//! Counts of what was said, and of what was said falsely, with one example of each kind.

use std::collections::BTreeMap;

/// The kinds of false statements, in the order in which they are shown; each is shown also with 0.
pub const KINDS: [&str; 20] = [
    "verified, never applied",
    "verified, no read showed it",
    "unchanged, no read showed it",
    "unchanged, own write came out",
    "unverified, never accepted",
    "superseded, ours stands",
    "superseded, nothing after",
    "notApplied, was applied",
    "applied, never was",
    "dry run wrote",
    "foreign value overwritten",
    "value without a request",
    "sent after a later write",
    "accepted, never ended",
    "increment lost",
    "two winners of one ETag",
    "map that never was",
    "ended, was live",
    "reported live, had ended",
    "no answer",
];

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    counts: BTreeMap<&'static str, (usize, String)>,
    /// Later than the deadline and its tenth of a second.
    pub late: usize,
    /// Late while this process itself was held up.
    pub excused: usize,
    pub latest: String,
}

impl Verdict {
    /// Counts a false statement.
    pub fn accuse(&mut self, kind: &'static str, example: impl FnOnce() -> String) {
        let entry = self.counts.entry(kind).or_insert_with(|| (0, example()));
        entry.0 += 1;
    }

    /// How many false statements there were.
    pub fn total(&self) -> usize {
        self.counts.values().map(|(count, _)| count).sum()
    }

    /// How many of this kind.
    pub fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).map_or(0, |(count, _)| *count)
    }

    /// The kinds that occurred, with an example each.
    pub fn examples(&self) -> impl Iterator<Item = (&'static str, usize, &str)> {
        self.counts.iter().map(|(kind, (count, example))| (*kind, *count, example.as_str()))
    }

    /// Takes in what another run came to.
    pub fn add(&mut self, other: Self) {
        for (kind, (count, example)) in other.counts {
            self.counts.entry(kind).or_insert((0, example)).0 += count;
        }
        self.late += other.late;
        self.excused += other.excused;
        if self.latest.is_empty() {
            self.latest = other.latest;
        }
    }
}
