//! Two counters over the last ten seconds, in slots of one second and constant memory.

use super::MonoTime;

const SLOTS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct CounterSlot {
    second: u64,
    events: u32,
    marked: u32,
}

/// Counts the events of the last ten seconds, and those that are marked as a retry or a failure.
#[derive(Clone, Debug, Default)]
pub struct RollingCounter {
    slots: [CounterSlot; SLOTS],
}

impl RollingCounter {
    /// Counts an event.
    pub fn record(&mut self, now: MonoTime, marked: bool) {
        let second = now.as_secs();
        let slot = &mut self.slots[usize::try_from(second % SLOTS as u64).unwrap_or_default()];
        if slot.second != second {
            *slot = CounterSlot { second, ..CounterSlot::default() };
        }
        slot.events = slot.events.saturating_add(1);
        slot.marked = slot.marked.saturating_add(u32::from(marked));
    }

    /// Returns all events and the marked events of the last ten seconds.
    pub fn totals(&self, now: MonoTime) -> (u32, u32) {
        let oldest = now.as_secs().saturating_sub(SLOTS as u64 - 1);
        let fresh =
            self.slots.iter().filter(|slot| (oldest..=now.as_secs()).contains(&slot.second));
        fresh.fold((0, 0), |(events, marked), slot| {
            (events.saturating_add(slot.events), marked.saturating_add(slot.marked))
        })
    }

    /// Marked events in the second of `now`.
    pub fn marked_in_second(&self, now: MonoTime) -> u32 {
        let second = now.as_secs();
        let slot = self.slots.iter().find(|slot| slot.second == second);
        slot.map_or(0, |slot| slot.marked)
    }

    /// Clears all counts.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_older_than_ten_seconds_do_not_count() {
        let at = Duration::from_millis;
        let mut window = RollingCounter::default();
        window.record(at(0), true);
        window.record(at(900), false);
        window.record(at(5000), false);
        assert_eq!(window.totals(at(5000)), (3, 1));
        assert_eq!(window.totals(at(9999)), (3, 1));
        assert_eq!([at(999), at(1000)].map(|now| window.marked_in_second(now)), [1, 0]);
        assert_eq!(window.totals(at(10_000)), (1, 0));
        window.record(at(10_000), true); // reuses the slot of second 0
        assert_eq!(window.totals(at(10_000)), (2, 1));
        assert_eq!(window.totals(at(100_000)), (0, 0));
    }
}
