//! Metric families whose handles are held once they exist.
//!
//! A look-up in a family hashes its labels under a lock, for every request several times; a held
//! handle is one atomic addition. Families still start empty, so that `/metrics` does not list
//! hundreds of combinations that never occur.

use std::hash::Hash;
use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::ports::{AttemptOutcome, PlatformOperation};

/// A family, and a slot for each combination of labels that is foreseen.
pub(super) struct CachedFamily<L, M> {
    pub(super) family: Family<L, M>,
    slots: Box<[OnceLock<M>]>,
}

impl<L: Clone + Hash + Eq, M: Clone> CachedFamily<L, M> {
    pub(super) fn new(slots: usize, family: Family<L, M>) -> Self {
        Self { family, slots: (0..slots).map(|_| OnceLock::new()).collect() }
    }

    /// Applies `act` to the metric of these labels; without a slot it is looked up.
    pub(super) fn with(
        &self,
        slot: Option<usize>,
        labels: impl FnOnce() -> L,
        act: impl FnOnce(&M),
    ) {
        match slot.and_then(|slot| self.slots.get(slot)) {
            Some(slot) => act(slot.get_or_init(|| self.family.get_or_create_owned(&labels()))),
            None => act(&self.family.get_or_create_owned(&labels())),
        }
    }
}

/// Bounds of durations in seconds: half a millisecond is a read from a stub nearby, a minute
/// the longest deadline.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// A histogram of durations.
pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Statuses that upstream is known to answer with, in ascending order.
const UPSTREAM_STATUSES: [u16; 16] =
    [200, 202, 204, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504];

/// Slots that the answers to one operation take.
const ANSWERS: usize = UPSTREAM_STATUSES.len() + 5;

/// Slots of a family by operation and answer.
pub(super) const OPERATION_ANSWERS: usize = PlatformOperation::ALL.len() * ANSWERS;

/// Statuses that the gateway answers with, in ascending order.
const OWN_STATUSES: [u16; 21] = [
    200, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 499, 500, 502,
    503, 504,
];

const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", OTHER];

/// Label of every method that no route serves, since clients can make methods up.
const OTHER: &str = "other";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    operation: &'static str,
    answer: String,
}

impl AttemptLabels {
    pub(super) fn new(operation: PlatformOperation, answer: AttemptOutcome) -> Self {
        let answer = match answer {
            AttemptOutcome::Status(status) => status.to_string(),
            AttemptOutcome::Timeout => "timeout".to_owned(),
            AttemptOutcome::Connect => "connect".to_owned(),
            AttemptOutcome::Reset => "reset".to_owned(),
            AttemptOutcome::Invalid => "invalid".to_owned(),
            AttemptOutcome::NotSent => "notSent".to_owned(),
        };
        Self { operation: operation.as_str(), answer }
    }

    pub(super) fn slot(operation: PlatformOperation, answer: AttemptOutcome) -> Option<usize> {
        let special = UPSTREAM_STATUSES.len();
        let within = match answer {
            AttemptOutcome::Status(status) => UPSTREAM_STATUSES.binary_search(&status).ok()?,
            AttemptOutcome::Timeout => special,
            AttemptOutcome::Connect => special + 1,
            AttemptOutcome::Reset => special + 2,
            AttemptOutcome::Invalid => special + 3,
            AttemptOutcome::NotSent => special + 4,
        };
        Some(operation as usize * ANSWERS + within)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub(super) operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct UpstreamLabels {
    pub(super) upstream: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RouteLabels {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

/// A method and a route, bounded as labels have to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointLabels {
    method: usize,
    route: usize,
    route_name: &'static str,
}

impl EndpointLabels {
    /// `route` is an index into the routes, and their number for what matched none.
    pub(super) fn new(method: &str, route: usize, route_name: &'static str) -> Self {
        let method = METHODS.iter().position(|known| *known == method);
        Self { method: method.unwrap_or(METHODS.len() - 1), route, route_name }
    }

    pub(super) const fn slots(routes: usize) -> usize {
        (routes + 1) * METHODS.len()
    }

    pub(super) const fn request_slots(routes: usize) -> usize {
        Self::slots(routes) * OWN_STATUSES.len()
    }

    pub(super) fn slot(self) -> usize {
        self.route * METHODS.len() + self.method
    }

    pub(super) fn request_slot(self, status: u16) -> Option<usize> {
        let status = OWN_STATUSES.binary_search(&status).ok()?;
        Some(self.slot() * OWN_STATUSES.len() + status)
    }

    pub(super) fn labels(self) -> RouteLabels {
        RouteLabels { method: METHODS[self.method], route: self.route_name }
    }

    pub(super) fn request_labels(self, status: u16) -> RequestLabels {
        RequestLabels { method: METHODS[self.method], route: self.route_name, status }
    }
}

/// Adds one.
pub(super) fn count(counter: &Counter) {
    counter.inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_foreseen_combination_has_a_slot_of_its_own() {
        let answers = UPSTREAM_STATUSES.into_iter().map(AttemptOutcome::Status).chain([
            AttemptOutcome::Timeout,
            AttemptOutcome::Connect,
            AttemptOutcome::Reset,
            AttemptOutcome::Invalid,
            AttemptOutcome::NotSent,
        ]);
        let mut slots: Vec<_> = answers
            .flat_map(|answer| {
                PlatformOperation::ALL.map(|operation| AttemptLabels::slot(operation, answer))
            })
            .map(|slot| slot.expect("foreseen"))
            .collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..OPERATION_ANSWERS).collect::<Vec<_>>());
        assert_eq!(AttemptLabels::slot(PlatformOperation::Read, AttemptOutcome::Status(418)), None);
    }

    #[test]
    fn the_tables_are_sorted_as_the_search_needs_them() {
        assert!(OWN_STATUSES.is_sorted() && UPSTREAM_STATUSES.is_sorted());
    }
}
