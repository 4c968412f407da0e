//! Wishes that wait, each class and payer in the order of arrival.

use std::collections::BTreeMap;

use super::{Priority, Want};

/// Names a wish that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WishId {
    pub(super) priority: Priority,
    pub(super) payer: u64,
    pub(super) number: u64,
}

#[derive(Clone, Debug, Default)]
struct Line {
    wishes: BTreeMap<u64, Want>,
    calls: u64,
}

/// A line for each class and payer.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    lines: [BTreeMap<u64, Line>; Priority::ALL.len()],
    calls: [u64; Priority::ALL.len()],
    taken: u64,
    waiting: usize,
}

impl Queue {
    /// Puts a wish at the end of its line.
    pub(super) fn push(&mut self, want: Want) -> WishId {
        self.taken += 1;
        let id = WishId { priority: want.priority, payer: want.payer.id, number: self.taken };
        let line = self.lines[want.priority as usize].entry(id.payer).or_default();
        line.wishes.insert(id.number, want);
        line.calls += u64::from(want.calls);
        self.calls[want.priority as usize] += u64::from(want.calls);
        self.waiting += 1;
        id
    }

    /// Takes a wish out; `None` if it is not there any more.
    pub(super) fn remove(&mut self, id: WishId) -> Option<Want> {
        let lines = &mut self.lines[id.priority as usize];
        let line = lines.get_mut(&id.payer)?;
        let want = line.wishes.remove(&id.number)?;
        line.calls -= u64::from(want.calls);
        if line.wishes.is_empty() {
            lines.remove(&id.payer);
        }
        self.calls[id.priority as usize] -= u64::from(want.calls);
        self.waiting -= 1;
        Some(want)
    }

    /// The first of each line of a class.
    pub(super) fn heads(&self, priority: Priority) -> impl Iterator<Item = (WishId, Want)> {
        self.lines[priority as usize].iter().filter_map(move |(payer, line)| {
            let (number, want) = line.wishes.first_key_value()?;
            Some((WishId { priority, payer: *payer, number: *number }, *want))
        })
    }

    /// The first of any line, in no order.
    pub(super) fn any(&self) -> Option<WishId> {
        Priority::ALL.into_iter().find_map(|priority| self.heads(priority).next()).map(|(id, _)| id)
    }

    /// How many calls a class waits for.
    pub(super) fn calls(&self, priority: Priority) -> u64 {
        self.calls[priority as usize]
    }

    /// How many calls a payer waits for in a class.
    pub(super) fn calls_of(&self, payer: u64, priority: Priority) -> u64 {
        self.lines[priority as usize].get(&payer).map_or(0, |line| line.calls)
    }

    /// Whether a payer waits, other than for what can be dropped.
    pub(super) fn waits(&self, payer: u64) -> bool {
        Priority::ALL[..Priority::Extra as usize]
            .iter()
            .any(|priority| self.lines[*priority as usize].contains_key(&payer))
    }

    /// How many calls all classes wait for.
    pub(super) fn all_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}
