//! Which request goes next, and whether it may go now.
//!
//! A request is *own* if it fits into the share of its client, and *lent* if it borrows unused
//! capacity. Own requests go first. Two parts of the window are never lent: what its owners used
//! lately, and a sixteenth, so that an idle client can start at once.
//!
//! [`TokenBudget::offer`] decides how one request can be served. [`TokenBudget::candidates`] sorts
//! the queue.

use std::time::Duration;

use super::client_usage::ClientUsage;
use super::pace::gap;
use super::{CallPriority, CallRequest, CallRequestId, MonoTime, TokenBudget};

/// The part of the window that is reserved for reads, in percent of the limit.
const READS_FLOOR: u64 = 20;
/// Calls of a write. A window that cannot hold a write and the floor has no floor.
const CALLS_OF_A_WRITE: u64 = 3;
/// This part of the window is never lent.
const NEVER_LENT_ONE_IN: u64 = 16;
/// This part of the unused floor of reads is never lent to writes.
const FLOOR_NEVER_LENT_ONE_IN: u64 = 3;
/// Fixed-point scale of "own calls per weight".
const WEIGHT_SCALE: u128 = 1 << 32;

/// How a request can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdmissionOffer {
    /// Whether it borrows calls beyond the share of its client.
    pub(super) lent: bool,
    /// When the pace allows it.
    pub(super) opens: MonoTime,
    /// How far it may fill the window.
    pub(super) ceiling: u64,
}

/// The part of the window that is not lent, for all clients together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReservedCapacity {
    calls: u64,
    /// The gap between lent calls that leaves this part free.
    gap: Duration,
}

impl TokenBudget {
    /// Calls in any window: the lower of the configured limit and upstream's.
    pub(super) fn limit(&self) -> u64 {
        self.settings.limit.min(self.allowed)
    }

    /// How far this priority may fill the window.
    pub(super) fn ceiling(&self, priority: CallPriority) -> u64 {
        self.percent(self.settings.ceilings.of(priority).into()).max(1)
    }

    fn percent(&self, percent: u64) -> u64 {
        u64::try_from(u128::from(self.limit()) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    }

    /// The floor of a client: its reads below this go before all writes.
    fn reads_floor(&self, client: &ClientUsage) -> u64 {
        let floor = self.percent(READS_FLOOR);
        if floor < CALLS_OF_A_WRITE { 0 } else { self.clients.share(client, floor) }
    }

    /// The part of the reads' fifth that reads have not used. Writes leave it free or borrow it.
    pub(super) fn unused_floor(&self) -> u64 {
        let floor = self.percent(READS_FLOOR);
        let fits = self.ceiling(CallPriority::Write) >= floor + CALLS_OF_A_WRITE;
        if fits { floor.saturating_sub(self.reads.len()) } else { 0 }
    }

    /// A client's share for this priority.
    pub(super) fn share(&self, client: &ClientUsage, priority: CallPriority) -> u64 {
        self.clients.share(client, self.ceiling(priority))
    }

    /// The share of a client, which new clients gain gradually. Writes of a new client leave the
    /// reads' floor free.
    pub(super) fn early_share(
        &self,
        client: &ClientUsage,
        priority: CallPriority,
        now: MonoTime,
    ) -> u64 {
        let ceiling = self.ceiling(priority);
        let is_young = client.is_young(self.settings.window, now);
        let floor =
            if priority == CallPriority::Write && is_young { self.unused_floor() } else { 0 };
        self.clients.share(client, ceiling.saturating_sub(floor))
    }

    /// How far own requests may fill the window.
    pub(super) fn own_ceiling(&self, priority: CallPriority) -> u64 {
        let ceiling = self.ceiling(priority.min(CallPriority::Write));
        if priority != CallPriority::Write {
            return ceiling;
        }
        ceiling.min(ceiling.saturating_sub(self.unused_floor()) + self.clients.lent())
    }

    /// Whether this is a read that fits into the client's floor.
    pub(super) fn is_below_floor(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        now: MonoTime,
    ) -> bool {
        let floor = client.burst(self.reads_floor(client), self.settings.window, now);
        request.priority == CallPriority::Read && client.reads() + u64::from(request.calls) <= floor
    }

    /// Whether a request fits into the share of its client. Reads leave a part of the share to
    /// writes: they stop half way between the two ceilings.
    pub(super) fn is_own(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        now: MonoTime,
    ) -> bool {
        let calls = u64::from(request.calls);
        let share = self.early_share(client, request.priority, now);
        let fits =
            |used: u64, share| used + calls <= client.burst(share, self.settings.window, now);
        match request.priority {
            CallPriority::Committed => true,
            CallPriority::Write | CallPriority::ReadBack => fits(client.own(), share),
            CallPriority::Read => {
                let all = u64::midpoint(share, self.share(client, CallPriority::Write).max(share));
                (fits(client.reads(), share) && fits(client.own(), all))
                    || self.is_below_floor(client, request, now)
            }
        }
    }

    /// The part of the window that is not lent to calls of this priority.
    pub(super) fn reserved(&self, priority: CallPriority, now: MonoTime) -> ReservedCapacity {
        let ceiling = self.ceiling(CallPriority::Write);
        let floor = self.unused_floor();
        // What clients use of their shares, what they will probably still need, and whether a part of
        // a share is idle.
        let (mut demand_of_all, mut still_needed, mut has_idle_share) = (0, 0, false);
        for (_, client) in self.clients.iter() {
            let share = self.share(client, CallPriority::Write);
            let demand = client.demand(share, self.settings.window, now);
            still_needed += demand.saturating_sub(client.own());
            demand_of_all += demand.min(self.share(client, priority));
            has_idle_share |= demand < share;
        }
        // Own calls cannot fill more than this.
        let max_own = ceiling.saturating_sub(floor) + self.clients.lent();
        let several = self.clients.are_several();
        let room = if several { max_own.saturating_sub(self.used()) } else { 0 };
        // Keep a sixteenth for idle clients that start, and a third of the reads' unused floor.
        let for_starters = if has_idle_share && several { ceiling / NEVER_LENT_ONE_IN } else { 0 };
        let for_reads = if priority == CallPriority::Write { floor } else { 0 };
        let never_lent = for_starters.max(for_reads / FLOOR_NEVER_LENT_ONE_IN);
        let calls = still_needed.min(room) + never_lent;
        // Lent calls spread over the part of the window that own calls leave.
        let own = demand_of_all.min(max_own).min(ceiling.saturating_sub(for_reads)) + never_lent;
        let spare = self.ceiling(priority).saturating_sub(own);
        ReservedCapacity { calls, gap: gap(self.settings.window, spare) }
    }

    /// How a request can be served: as the client's own, or lent.
    pub(super) fn offer(
        &self,
        request: &CallRequest,
        reserved: ReservedCapacity,
        now: MonoTime,
    ) -> AdmissionOffer {
        let Some(client) = self.clients.get(request.account.id) else {
            return AdmissionOffer {
                lent: false,
                opens: now,
                ceiling: self.ceiling(request.priority),
            };
        };
        let class = request.priority;
        let is_own = self.is_own(client, request, now);
        let own_opens = client.pace[class as usize].opens(now);
        let ceiling = self.own_ceiling(class);
        let has_room = self.used() + u64::from(request.calls) <= ceiling;
        let borrows_floor = class == CallPriority::Write && !has_room;
        if class == CallPriority::Committed || (is_own && own_opens <= now && !borrows_floor) {
            return AdmissionOffer { lent: false, opens: now, ceiling };
        }
        let opens = self.lending_pace.opens(now);
        let opens = if is_own && !borrows_floor { opens.min(own_opens) } else { opens };
        AdmissionOffer {
            lent: true,
            opens,
            ceiling: self.ceiling(class).saturating_sub(reserved.calls),
        }
    }

    /// Queued requests in the order in which they are served, each with its offer.
    pub(super) fn candidates(
        &self,
        now: MonoTime,
    ) -> Vec<(CallRequestId, CallRequest, AdmissionOffer)> {
        let reserved = CallPriority::ALL.map(|priority| self.reserved(priority, now));
        let heads = self.queue.heads().into_iter();
        let mut candidates: Vec<_> = heads
            .map(|(id, request)| (id, self.clamped(request)))
            .map(|(id, request)| {
                let offer = self.offer(&request, reserved[request.priority as usize], now);
                (id, request, offer)
            })
            .collect();
        candidates.sort_by_key(|(id, request, offer)| {
            let client = self.clients.get(request.account.id);
            let is_below = client.is_some_and(|client| self.is_below_floor(client, request, now));
            let rank = match (request.priority, offer.lent) {
                (CallPriority::Committed, _) => 0,
                (CallPriority::Read, false) if is_below => 1,
                (CallPriority::Write, false) => 2,
                (CallPriority::Read, false) => 3,
                (CallPriority::Write, true) => 4,
                (CallPriority::Read, true) => 5,
                (CallPriority::ReadBack, lent) => 6 + u8::from(lent),
            };
            let order = client.map_or(0, |client| {
                if offer.lent {
                    self.queue.start_tag(client)
                } else {
                    u128::from(client.own()) * WEIGHT_SCALE / u128::from(client.weight())
                }
            });
            (rank, order, *id)
        });
        candidates
    }

    /// Limits a request to what the window can hold: more could never be granted. The limit may have
    /// dropped while the request waited.
    pub(super) fn clamped(&self, request: CallRequest) -> CallRequest {
        let most = u32::try_from(self.ceiling(request.priority)).unwrap_or(u32::MAX);
        CallRequest { calls: request.calls.clamp(1, most), ..request }
    }

    /// The gap between lent calls.
    pub(super) fn lending_gap(&self, priority: CallPriority, now: MonoTime) -> Duration {
        self.reserved(priority, now).gap
    }

    /// The gap between a client's own calls while they are paced. Writes leave the reads' floor free.
    pub(super) fn own_gap(&self, client: &ClientUsage, priority: CallPriority) -> Duration {
        let floor = if priority == CallPriority::Write { self.unused_floor() } else { 0 };
        let calls = self.ceiling(priority).saturating_sub(floor);
        gap(self.settings.window, self.clients.share(client, calls))
    }
}
