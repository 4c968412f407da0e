//! Which request goes next, and whether it may go now.
//!
//! Each client owns a share of the window by its weight. What it does not use is lent to others, at
//! an even pace, but for what it used lately and for a sixteenth of the window, with which any client
//! can begin. Requests within the client's share go before those that borrow.

use std::time::Duration;

use super::client_usage::ClientUsage;
use super::pace::gap;
use super::{CallPriority, CallRequest, CallRequestId, MonoTime, TokenBudget};

/// Reads are always left this part of the window, in percent of the limit.
const READS_FLOOR: u64 = 20;
/// Calls of a write. A window that cannot hold them and the floor of reads has no floor.
const CALLS_OF_A_WRITE: u64 = 3;
/// This part of the window is never lent.
const NEVER_LENT_ONE_IN: u64 = 16;

/// This part of what is left for reads is never lent to writes.
const FLOOR_NEVER_LENT_ONE_IN: u64 = 3;
/// Precision of what a client has for its weight.
const WHOLE: u128 = 1 << 32;

/// How a request can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdmissionOffer {
    /// Whether it needs calls beyond the share of its client.
    pub(super) lent: bool,
    /// When the pace lets it go.
    pub(super) opens: MonoTime,
    /// Up to here it may fill the window.
    pub(super) ceiling: u64,
}

/// What of the window is not for lending, for all clients together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReservedCapacity {
    calls: u64,
    gap: Duration,
}

impl TokenBudget {
    /// Calls in any window, as configured and as upstream says.
    pub(super) fn limit(&self) -> u64 {
        self.settings.limit.min(self.allowed)
    }

    /// How far a class and those below it may fill the window.
    pub(super) fn ceiling(&self, priority: CallPriority) -> u64 {
        self.percent(self.settings.ceilings.of(priority).into()).max(1)
    }

    fn percent(&self, percent: u64) -> u64 {
        u64::try_from(u128::from(self.limit()) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    }

    /// Reads of a client below this go before all writes.
    fn reads_floor(&self, client: &ClientUsage) -> u64 {
        let floor = self.percent(READS_FLOOR);
        if floor < CALLS_OF_A_WRITE { 0 } else { self.clients.share(client, floor) }
    }

    /// What reads have not used of their fifth. Writes leave it free, or borrow it.
    pub(super) fn unused_floor(&self) -> u64 {
        let floor = self.percent(READS_FLOOR);
        let fits = self.ceiling(CallPriority::Write) >= floor + CALLS_OF_A_WRITE;
        if fits { floor.saturating_sub(self.reads.len()) } else { 0 }
    }

    /// A client's share for this class.
    pub(super) fn share(&self, client: &ClientUsage, priority: CallPriority) -> u64 {
        self.clients.share(client, self.ceiling(priority))
    }

    /// The share that a client grows into while it is young. It leaves to reads what is theirs.
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

    /// How far requests within a share may fill the window.
    pub(super) fn own_ceiling(&self, priority: CallPriority) -> u64 {
        let ceiling = self.ceiling(priority.min(CallPriority::Write));
        if priority != CallPriority::Write {
            return ceiling;
        }
        ceiling.min(ceiling.saturating_sub(self.unused_floor()) + self.clients.lent())
    }

    /// Whether reads of this client have less than their floor.
    pub(super) fn is_below_floor(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        now: MonoTime,
    ) -> bool {
        let floor = client.burst(self.reads_floor(client), self.settings.window, now);
        request.priority == CallPriority::Read && client.reads() + u64::from(request.calls) <= floor
    }

    /// Whether a request is within the share of its client. Reads of a client leave some of its
    /// share to its writes: they stop half way between the two ceilings.
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

    /// What is not for lending to calls of this class.
    pub(super) fn kept(&self, priority: CallPriority, now: MonoTime) -> ReservedCapacity {
        let whole = self.ceiling(CallPriority::Write);
        let floor = self.unused_floor();
        let (mut needed, mut own, mut may_begin) = (0, 0, false);
        for (_, client) in self.clients.iter() {
            let share = self.share(client, CallPriority::Write);
            let demand = client.demand(share, self.settings.window, now);
            needed += demand.saturating_sub(client.own());
            own += demand.min(self.share(client, priority));
            may_begin |= demand < share;
        }
        // What is within the shares cannot fill more than this.
        let within_shares = whole.saturating_sub(floor) + self.clients.lent();
        let several = self.clients.are_several();
        let room = if several { within_shares.saturating_sub(self.used()) } else { 0 };
        let needed = needed.min(room);
        let own = own.min(within_shares);
        let begins = if may_begin && several { whole } else { 0 };
        let reads = if priority == CallPriority::Write { floor } else { 0 };
        let reserve = (begins / NEVER_LENT_ONE_IN).max(reads / FLOOR_NEVER_LENT_ONE_IN);
        let (calls, own) = (needed + reserve, own.min(whole.saturating_sub(reads)) + reserve);
        let spare = self.ceiling(priority).saturating_sub(own);
        ReservedCapacity { calls, gap: gap(self.settings.window, spare) }
    }

    /// How a request of this client can be served. `kept` is what is not for lending.
    pub(super) fn offer(
        &self,
        request: &CallRequest,
        kept: ReservedCapacity,
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
        let opens = self.loans.opens(now);
        let opens = if is_own && !borrows_floor { opens.min(own_opens) } else { opens };
        AdmissionOffer {
            lent: true,
            opens,
            ceiling: self.ceiling(class).saturating_sub(kept.calls),
        }
    }

    /// Requests that wait, in the order in which they are served, and how each can be.
    pub(super) fn candidates(
        &self,
        now: MonoTime,
    ) -> Vec<(CallRequestId, CallRequest, AdmissionOffer)> {
        let kept = CallPriority::ALL.map(|priority| self.kept(priority, now));
        let heads = self.queue.heads().into_iter();
        let mut candidates: Vec<_> = heads
            .map(|(id, request)| (id, self.whole(request)))
            .map(|(id, request)| {
                let offer = self.offer(&request, kept[request.priority as usize], now);
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
                    u128::from(client.own()) * WHOLE / u128::from(client.weight())
                }
            });
            (rank, order, *id)
        });
        candidates
    }

    /// A request for more than the window holds could never be granted whole. The window may have
    /// shrunk while the request waited.
    pub(super) fn whole(&self, request: CallRequest) -> CallRequest {
        let most = u32::try_from(self.ceiling(request.priority)).unwrap_or(u32::MAX);
        CallRequest { calls: request.calls.clamp(1, most), ..request }
    }

    /// The distance of calls that are lent.
    pub(super) fn loan_gap(&self, priority: CallPriority, now: MonoTime) -> Duration {
        self.kept(priority, now).gap
    }

    /// The distance of a client's own calls while they are paced. Writes leave to reads what is theirs.
    pub(super) fn own_gap(&self, client: &ClientUsage, priority: CallPriority) -> Duration {
        let floor = if priority == CallPriority::Write { self.unused_floor() } else { 0 };
        let calls = self.ceiling(priority).saturating_sub(floor);
        gap(self.settings.window, self.clients.share(client, calls))
    }
}
