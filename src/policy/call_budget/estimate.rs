//! Estimates when a request will be granted, and tells refused clients when to return.
//!
//! A refused request is promised a time behind all that wait and all that were promised before.
//! Meanwhile new requests of its client may use only a part of the queue.

use std::time::Duration;

use super::client_usage::PromisedReturn;
use super::token_bucket::{float, seconds};
use super::{CallRefusal, CallRequest, MonoTime, PriorityClass, TokenBudget};

/// How many promises are kept for each client.
const MAX_PROMISES: usize = 1000;
/// A promise holds for this part of the window after its time.
const PROMISE_HOLDS_ONE_IN: u32 = 12;
/// Refused requests that one window cannot serve return during its last part, spread over so many
/// steps.
const OVERFLOW_STEPS: u32 = 16;

impl TokenBudget {
    /// When `request` would be granted if it joined the queue now, and `promised` calls went first.
    pub(super) fn expected(&self, request: &CallRequest, promised: u64, now: MonoTime) -> MonoTime {
        let id = request.account.id;
        let Some(client) = self.clients.get(id) else { return now };
        let class = request.class;
        let (mut ahead, mut others, mut weights) = (promised, 0, client.weight);
        let mut waiting: Vec<u64> = vec![id];
        for queued in self.queue.values().filter(|queued| queued.class <= class) {
            let owner = queued.account.id;
            *if owner == id { &mut ahead } else { &mut others } += u64::from(queued.calls);
            if !waiting.contains(&owner) {
                waiting.push(owner);
                weights += u64::from(queued.account.weight.get());
            }
        }
        let calls = u64::from(request.calls);
        let need = ahead + calls;
        // In their turns, the others get so many calls before this request has its own.
        let turns =
            u128::from(need) * u128::from(weights - client.weight) / u128::from(client.weight);
        let others = others.min(u64::try_from(turns).unwrap_or(u64::MAX));
        let throttle = self.throttle.opens(ahead + others, self.gap(), now);
        let ceiling = self.ceiling(class.min(PriorityClass::Write));
        let room = self.room_at(need + others, ceiling, now).max(throttle);
        if class == PriorityClass::Committed {
            return room;
        }
        let effective = self.effective_class(client, request);
        let own = self.own_opens(client, request, ahead, now);
        let part = float(client.weight) / float(weights);
        let rate = self.lending_rate(effective, now) * part;
        let lent = self.lending.opens(effective, need, rate, now);
        both(own.saturating_sub(now), lent.saturating_sub(now)).saturating_add(now).max(room)
    }

    /// When `calls` more calls will fit into the window below `ceiling`.
    fn room_at(&self, calls: u64, ceiling: u64, now: MonoTime) -> MonoTime {
        let ceiling = self.expected_ceiling(ceiling);
        let rank = self.used().saturating_add(calls).saturating_sub(ceiling);
        if rank == 0 {
            return now;
        }
        let (mut external, mut at) = (0, None);
        while let Some(leaves) = self.external.nth(external + 1) {
            external = self.external.leaving_by(leaves);
            if external + self.log.leaving_by(leaves) >= rank {
                at = Some(leaves);
                break;
            }
        }
        // Assume that calls in flight end after the typical latency.
        let in_flight = now + self.settings.window + self.typical_latency;
        let own = self.log.nth(rank).unwrap_or(in_flight);
        at.map_or(own, |at| at.min(own))
    }

    /// Whether the calls would end after the deadline. The calls are assumed to take at most half of
    /// the remaining time: upstream may be faster than before. While refused requests of the client
    /// are to return, new ones leave them half of the time.
    pub(super) fn is_late(
        &self,
        request: &CallRequest,
        expected: MonoTime,
        returns: bool,
        now: MonoTime,
    ) -> bool {
        let left = request.deadline.saturating_sub(now);
        let client = self.clients.get(request.account.id);
        let yields =
            !returns && expected > now && client.is_some_and(|client| !client.promised.is_empty());
        let calls = self.typical_latency.saturating_mul(request.calls).min(left / 2);
        let wait = if yields { left / 2 } else { left };
        expected.saturating_add(calls) >= now.saturating_add(wait)
    }

    /// Refuses a request, and promises a time at which the client can return: in whole seconds, and
    /// within one window.
    pub(super) fn refuse(&mut self, request: &CallRequest, now: MonoTime) -> CallRefusal {
        if let Some(probe) = self.throttle.next_probe(now) {
            return CallRefusal { retry_after: probe.saturating_sub(now), throttled: true };
        }
        let left = self.throttle.left(now);
        let window = self.settings.window;
        let latest = window.max(left.map_or(Duration::ZERO, |left| left + window / 4));
        let promised = self.clients.get(request.account.id).map_or(0, |client| {
            let first = client.promised.iter().filter(|one| one.class <= request.class);
            first.map(|one| one.calls).sum()
        });
        let wait = self.expected(request, promised, now).saturating_sub(now);
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let mut wait = Duration::from_secs(whole.max(1));
        self.refusals = self.refusals.wrapping_add(1);
        if let Some(client) = self.clients.get_mut(request.account.id) {
            client.set_busy(now);
            let (promised, class) = (client.promised.len(), request.class);
            if wait > latest || promised >= MAX_PROMISES {
                // One window cannot serve them all: spread the rest over its end.
                let step = window / PROMISE_HOLDS_ONE_IN / OVERFLOW_STEPS;
                wait = latest.saturating_sub(step * (self.refusals % OVERFLOW_STEPS));
            } else {
                let promise = PromisedReturn { at: now + wait, calls: request.calls.into(), class };
                client.promised.push_back(promise);
            }
        }
        CallRefusal { retry_after: wait, throttled: left.is_some() }
    }

    /// Takes the promise that a new request redeems, if one is due.
    pub(super) fn take_promise(&mut self, request: &CallRequest, now: MonoTime) -> bool {
        let holds = self.settings.window / PROMISE_HOLDS_ONE_IN;
        let Some(client) = self.clients.get_mut(request.account.id) else { return false };
        client.promised.retain(|promise| promise.at + holds > now);
        let is_due = |promise: &PromisedReturn| promise.at <= now && promise.class == request.class;
        let due = client.promised.iter().position(is_due);
        due.and_then(|index| client.promised.remove(index)).is_some()
    }
}

/// How long two sources take together, if each alone takes so long.
fn both(one: Duration, other: Duration) -> Duration {
    let (one, other) = (one.as_secs_f64(), other.as_secs_f64());
    let together = if one == 0.0 || other == 0.0 { 0.0 } else { one / (1.0 + one / other) };
    seconds(together)
}
