//! Wishes that wait, each class in the order of arrival.

use std::collections::BTreeMap;

use super::{Priority, Want};

/// Names a wish that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WishId {
    pub(super) priority: Priority,
    pub(super) number: u64,
}

#[derive(Clone, Debug, Default)]
struct Line {
    wishes: BTreeMap<u64, Want>,
    calls: u64,
}

/// One line for each class.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    lines: [Line; Priority::ALL.len()],
    taken: u64,
    waiting: usize,
}

impl Queue {
    /// Puts a wish at the end of its line.
    pub(super) fn push(&mut self, want: Want) -> WishId {
        self.taken += 1;
        let line = &mut self.lines[want.priority as usize];
        line.wishes.insert(self.taken, want);
        line.calls += u64::from(want.calls);
        self.waiting += 1;
        WishId { priority: want.priority, number: self.taken }
    }

    /// Takes a wish out; `None` if it is not there any more.
    pub(super) fn remove(&mut self, id: WishId) -> Option<Want> {
        let line = &mut self.lines[id.priority as usize];
        let want = line.wishes.remove(&id.number)?;
        line.calls -= u64::from(want.calls);
        self.waiting -= 1;
        Some(want)
    }

    /// The first of a line.
    pub(super) fn head(&self, priority: Priority) -> Option<(WishId, Want)> {
        let (number, want) = self.lines[priority as usize].wishes.first_key_value()?;
        Some((WishId { priority, number: *number }, *want))
    }

    /// The first of any line, in no order.
    pub(super) fn any(&self) -> Option<WishId> {
        Priority::ALL.into_iter().find_map(|priority| self.head(priority)).map(|(id, _)| id)
    }

    /// How many calls a line waits for.
    pub(super) fn calls(&self, priority: Priority) -> u64 {
        self.lines[priority as usize].calls
    }

    /// How many calls all lines wait for.
    pub(super) fn all_calls(&self) -> u64 {
        self.lines.iter().map(|line| line.calls).sum()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}
