//! Estimates when a request will be granted, and tells refused clients when to return.
//!
//! The estimate adds up the calls that go first: queued requests of the same client, queued requests
//! of others that the fair order puts before it, and refused requests that will return. It then takes
//! the latest of three times: when the window has room, when the pace allows it, and when a throttle
//! ends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client_usage::ClientUsage;
use super::pace::gap;
use super::{BudgetAccount, CallPriority, CallRefusal, CallRequest, MonoTime, TokenBudget};

/// How many refused requests are remembered for each client.
const MAX_PROMISES: usize = 10_000;

/// Refused requests that one window cannot serve return during the last twelfth of the window, spread
/// over 16 steps.
const OVERFLOW_ONE_IN: u32 = 12;
const OVERFLOW_STEPS: u32 = 16;

impl TokenBudget {
    /// When `request` would be granted if it joined the queue now.
    pub(super) fn expected(&self, request: &CallRequest, now: MonoTime) -> MonoTime {
        self.expected_after(0, request, now)
    }

    /// The same, when `promised` calls of returning requests go first.
    fn expected_after(&self, promised: u64, request: &CallRequest, now: MonoTime) -> MonoTime {
        let Some(client) = self.clients.get(request.account.id) else { return now };
        let id = request.account.id;
        let (waiting, ahead) = self.ahead(client, request, now);
        let ahead = ahead + promised;
        let need = ahead + u64::from(request.calls);
        let before = self.before(&waiting, id, ahead);
        let limit_gap = gap(self.settings.window, self.limit());
        let throttle = self.throttle.opens_after(ahead + before, limit_gap, now);
        let all = need + before;
        // Committed calls need only room.
        if request.priority == CallPriority::Committed {
            return throttle.max(self.room_for(all, self.limit(), now));
        }
        // As an own request: within the share, at its pace, with room below its ceiling.
        let own_ceiling = self.own_ceiling(request.priority);
        let own = self
            .own_share_at(client, request, need, now)
            .max(self.own_pace_at(client, request.priority, ahead, now))
            .max(self.room_for(need, own_ceiling, now));
        // As a lent request: at the pace of lending, with room that is not reserved.
        let reserved = self.reserved(request.priority, now);
        let offer = self.offer(request, reserved, now);
        let ceiling = if offer.lent { offer.ceiling } else { self.ceiling(request.priority) };
        let lending_gap = self.lending_gap(request.priority, now);
        let lent = self
            .lending_pace
            .opens_after(ahead + before, lending_gap, now)
            .max(self.room_for(all, ceiling, now));
        own.min(lent).max(throttle)
    }

    /// Queued calls that may go first: by client, and of this client alone. Reads below their floor
    /// go before all writes, so queued writes do not count for them.
    fn ahead(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        now: MonoTime,
    ) -> (BTreeMap<u64, u64>, u64) {
        let waiting = self.queue.calls_up_to(request.priority);
        let of = |waiting: &BTreeMap<u64, u64>| waiting.get(&request.account.id).copied();
        let ahead = of(&waiting).unwrap_or_default();
        if request.priority != CallPriority::Read {
            return (waiting, ahead);
        }
        let above = self.queue.calls_up_to(CallPriority::Write);
        let reads = ahead - of(&above).unwrap_or_default();
        let calls = u32::try_from(reads).unwrap_or(u32::MAX).saturating_add(request.calls);
        if self.is_below_floor(client, &CallRequest { calls, ..*request }, now) {
            let count = |(id, calls): (&u64, &u64)| (*id, calls - above.get(id).unwrap_or(&0));
            return (waiting.iter().map(count).collect(), reads);
        }
        (waiting, ahead)
    }

    /// Queued calls of other clients that go first, when `ahead` calls of this client do.
    fn before(&self, waiting: &BTreeMap<u64, u64>, id: u64, ahead: u64) -> u64 {
        let Some(client) = self.clients.get(id) else { return 0 };
        let others = waiting.iter().filter(|(other, _)| **other != id);
        let turns = others.filter_map(|(other, calls)| {
            let other = self.clients.get(*other)?;
            Some(self.queue.before(client, ahead, other).min(*calls))
        });
        turns.sum()
    }

    /// When `need` further calls will fit into the client's share.
    fn own_share_at(
        &self,
        client: &ClientUsage,
        request: &CallRequest,
        need: u64,
        now: MonoTime,
    ) -> MonoTime {
        let window = self.settings.window;
        let calls = u32::try_from(need).unwrap_or(u32::MAX);
        if self.is_own(client, &CallRequest { calls, ..*request }, now) {
            return now;
        }
        let share = self.share(client, request.priority).max(1);
        let beyond = (client.own() + need).saturating_sub(share);
        let early = self.early_share(client, request.priority, now);
        let grown = client.burst_at(client.own() + need, early, window, now);
        client.leaves(beyond, window, now).max(grown).min(now + window)
    }

    /// When the pace of the client's own calls allows a call after `ahead` others.
    fn own_pace_at(
        &self,
        client: &ClientUsage,
        priority: CallPriority,
        ahead: u64,
        now: MonoTime,
    ) -> MonoTime {
        let gap = self.own_gap(client, priority);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        client.pace[priority as usize].opens(now).saturating_add(gap.saturating_mul(ahead))
    }

    /// When `calls` more calls will fit into the window below `ceiling`.
    fn room_for(&self, calls: u64, ceiling: u64, now: MonoTime) -> MonoTime {
        let rank = self.used().saturating_add(calls).saturating_sub(ceiling);
        if rank == 0 {
            return now;
        }
        let gone = |then| self.log.leaving_by(then) + self.external.leaving_by(then);
        let groups = self.external.groups().iter().map(|group| group.leaves);
        let external = groups.filter(|then| gone(*then) >= rank).min();
        // Assume that calls in flight end after the typical latency.
        let in_flight = now + self.settings.window + self.typical_latency;
        let own = self.log.nth(rank).unwrap_or(in_flight);
        external.map_or(own, |external| external.min(own))
    }

    /// Whether the calls would end after the deadline. The calls are assumed to take at most half of
    /// the remaining time: upstream may be faster than before.
    pub(super) fn is_late(&self, request: &CallRequest, expected: MonoTime, now: MonoTime) -> bool {
        let left = request.deadline.saturating_sub(now);
        let calls = self.typical_latency.saturating_mul(request.calls).min(left / 2);
        expected.saturating_add(calls) >= request.deadline
    }

    /// Refuses a request, and estimates when the client can return. Refused requests of one client
    /// get different times, spread at the rate at which the client is served, within one window.
    pub(super) fn refuse(
        &mut self,
        account: BudgetAccount,
        (priority, calls): (CallPriority, u32),
        now: MonoTime,
    ) -> CallRefusal {
        if let Some(probe) = self.throttle.next_probe(now) {
            let retry_after = probe.saturating_sub(now);
            return CallRefusal { retry_after, throttled: true };
        }
        let request =
            self.clamped(CallRequest { calls, priority, deadline: MonoTime::MAX, account });
        let left = self.throttle.left(now);
        let window = self.settings.window;
        let latest = now + window.max(left.map_or(Duration::ZERO, |left| left + window / 4));
        let promised =
            self.clients.register(account, now).promised.iter().map(|(_, calls)| calls).sum();
        let mut at = self.expected_after(promised, &request, now);
        let client = self.clients.register(account, now);
        let refused = client.promised.len();
        if at > latest || refused >= MAX_PROMISES {
            // One window cannot serve them all: spread the rest over its end.
            let step = u32::try_from(refused).unwrap_or_default() % OVERFLOW_STEPS;
            at = latest.saturating_sub(window / OVERFLOW_ONE_IN / OVERFLOW_STEPS * step);
        }
        client.promised.push_back((at, request.calls.into()));
        let class = priority as usize;
        client.pace[class].hold(now, now + window);
        CallRefusal { retry_after: at.saturating_sub(now), throttled: left.is_some() }
    }
}
