//! Which request goes next, and whether it may go now.
//!
//! A request is *own* if the share and the pace of its client allow it, and *lent* if it borrows
//! what other clients do not use. Own requests go first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client_usage::{CALLS_OF_A_WRITE, ClientShare, ClientUsage};
use super::token_bucket::float;
use super::{CallRequest, CallRequestId, MonoTime, PriorityClass, TokenBudget};

/// Reads below this part of the window go before writes, in percent of the limit.
const READS_FLOOR: u64 = 20;
/// This part of the window is never lent.
const NEVER_LENT_ONE_IN: u64 = 16;
/// So many lent calls may go at once.
const LENDING_BURST: u64 = 2 * CALLS_OF_A_WRITE;

/// How a request can be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdmissionOffer {
    /// Whether it borrows calls.
    pub(super) lent: bool,
    /// When the pace allows it.
    pub(super) opens: MonoTime,
    /// How far it may fill the window.
    pub(super) ceiling: u64,
}

impl TokenBudget {
    /// Calls in any window: the lower of the configured limit and upstream's.
    pub fn limit(&self) -> u64 {
        self.settings.limit.min(self.allowed)
    }

    /// The gap between calls that fill the window evenly.
    pub(super) fn gap(&self) -> Duration {
        let gap = self.settings.window.as_nanos().div_ceil(u128::from(self.limit().max(1)));
        Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX))
    }

    /// How far this class may fill the window.
    pub(super) fn ceiling(&self, class: PriorityClass) -> u64 {
        self.percent(self.settings.ceilings.of(class).into()).max(1).min(self.limit())
    }

    fn percent(&self, percent: u64) -> u64 {
        u64::try_from(u128::from(self.limit()) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    }

    /// A client's share for this class. Among several clients, its read-backs have the share of its
    /// writes, which they finish: others may have filled the window up to the ceiling of read-backs.
    pub(super) fn share(&self, client: &ClientUsage, class: PriorityClass) -> ClientShare {
        let class = match class {
            PriorityClass::ReadBack if self.clients.iter().len() > 1 => PriorityClass::Write,
            class => class,
        };
        self.clients.share(client.weight, self.ceiling(class))
    }

    /// Limits a request to what the window can hold: more could never be granted.
    pub(super) fn clamped(&self, request: CallRequest) -> CallRequest {
        let most = self.expected_ceiling(self.ceiling(request.class));
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        CallRequest { calls: request.calls.min(most).max(1), ..request }
    }

    /// Whether the window has room for a request below `ceiling`.
    pub(super) fn fits(&self, request: &CallRequest, ceiling: u64) -> bool {
        self.used().saturating_add(request.calls.into()) <= self.of_credits(ceiling)
    }

    /// Whether throttle, window and pace allow a request now.
    pub(super) fn may_go(
        &self,
        request: &CallRequest,
        offer: &AdmissionOffer,
        now: MonoTime,
    ) -> bool {
        let throttle = self.throttle.opens(0, self.gap(), now);
        self.fits(request, offer.ceiling) && offer.opens <= now && throttle <= now
    }

    /// Reads below their floor are treated like writes, and go before them.
    pub(super) fn effective_class(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
    ) -> PriorityClass {
        let floor = self.percent(READS_FLOOR);
        let reads = client.reads.len() + u64::from(request.calls);
        let is_below =
            floor >= CALLS_OF_A_WRITE && reads <= self.clients.share(client.weight, floor).calls;
        match request.class {
            PriorityClass::Read if is_below => PriorityClass::Write,
            class => class,
        }
    }

    /// Refills the buckets of a client, and those of lending.
    pub(super) fn refill(&mut self, id: u64, now: MonoTime) {
        for class in PriorityClass::ALL {
            let rate = self.lending_rate(class, now);
            let burst = if self.clients.iter().len() > 1 { LENDING_BURST } else { 0 };
            self.lending.refill(class, rate, (burst, burst), now);
            let Some(client) = self.clients.get(id) else { return };
            let share = self.share(client, class);
            if let Some(client) = self.clients.get_mut(id) {
                client.refill(class, share, now);
            }
        }
    }

    /// How far lent calls may fill the window.
    fn lending_ceiling(&self, class: PriorityClass) -> u64 {
        let ceiling = self.ceiling(class);
        ceiling - ceiling / NEVER_LENT_ONE_IN
    }

    /// Calls a second that can be lent: what remains of the window when each client makes as many
    /// calls as lately, or as its share holds if it is busy. A lone client owns all.
    pub(super) fn lending_rate(&self, class: PriorityClass, now: MonoTime) -> f64 {
        if self.clients.iter().len() < 2 {
            return 0.0;
        }
        let demands =
            self.clients.iter().map(|client| client.demand(self.share(client, class), now));
        let spare = self.lending_ceiling(class).saturating_sub(demands.sum());
        float(spare) / self.settings.window.as_secs_f64()
    }

    /// When a request is possible within the share of its client, after `ahead` other calls.
    pub(super) fn own_opens(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        ahead: u64,
        now: MonoTime,
    ) -> MonoTime {
        let class = self.effective_class(client, request);
        let shares = (self.share(client, class), self.share(client, PriorityClass::Write));
        client.opens(class, (ahead, request.calls.into()), shares, now)
    }

    /// How a request can be served: as the client's own, or lent.
    pub(super) fn offer(&self, request: &CallRequest, now: MonoTime) -> AdmissionOffer {
        let class = request.class;
        let ceiling = self.ceiling(class.min(PriorityClass::Write));
        let Some(client) = self.clients.get(request.account.id) else {
            return AdmissionOffer { lent: false, opens: now, ceiling: self.ceiling(class) };
        };
        if class == PriorityClass::Committed {
            return AdmissionOffer { lent: false, opens: now, ceiling };
        }
        let own = self.own_opens(client, request, 0, now);
        if own <= now {
            return AdmissionOffer { lent: false, opens: now, ceiling };
        }
        let effective = self.effective_class(client, request);
        let rate = self.lending_rate(effective, now);
        let lent = self.lending.opens(effective, request.calls.into(), rate, now);
        let ceiling = self.lending_ceiling(effective);
        AdmissionOffer { lent: true, opens: lent.min(own), ceiling }
    }

    /// The oldest queued request of each client and class with its offer, in the order in which they
    /// are served.
    pub(super) fn candidates(
        &mut self,
        now: MonoTime,
    ) -> Vec<(CallRequestId, CallRequest, AdmissionOffer)> {
        let mut heads = BTreeMap::new();
        for (id, request) in &self.queue {
            heads.entry((request.account.id, request.class)).or_insert((*id, *request));
        }
        let mut refilled = None;
        let mut candidates = Vec::with_capacity(heads.len());
        for ((client, _), (id, request)) in heads {
            if refilled.replace(client) != Some(client) {
                self.refill(client, now);
            }
            let request = self.clamped(request);
            candidates.push((id, request, self.offer(&request, now)));
        }
        candidates.sort_by(|one, other| {
            let [(rank, tag), (other_rank, other_tag)] =
                [one, other].map(|(_, request, offer)| self.order(request, offer));
            rank.cmp(&other_rank).then(tag.total_cmp(&other_tag)).then(one.0.cmp(&other.0))
        });
        candidates
    }

    /// The rank of a request, and the start tag of its client.
    fn order(&self, request: &CallRequest, offer: &AdmissionOffer) -> (u8, f64) {
        let Some(client) = self.clients.get(request.account.id) else { return (0, 0.0) };
        let is_below = self.effective_class(client, request) < request.class;
        let rank = match (request.class, offer.lent) {
            (PriorityClass::Committed, _) => 0,
            (PriorityClass::Read, false) if is_below => 1,
            (PriorityClass::Write, false) => 2,
            (PriorityClass::Read, false) => 3,
            (PriorityClass::ReadBack, false) => 4,
            (PriorityClass::Read, true) if is_below => 5,
            (PriorityClass::Write, true) => 6,
            (PriorityClass::Read, true) => 7,
            (PriorityClass::ReadBack, true) => 8,
        };
        (rank, client.start_tag)
    }
}
