//! Finds out what has to be sent, from a read or from the cache.
//!
//! A cached read never causes a refusal. Where it says that there is nothing to send, that the
//! conversation has ended, or that the map is nearly full, a fresh read comes first.

use super::{
    CoalescedRead, Freshness, PriorityClass, RequestPhase, SelectorIntent, Snapshot,
    WriteOperation, choose,
};
use crate::domain::{
    AttributeKey, AttributeMap, Conversation, KeyOutcome, ParticipantSummary, Patch, SelectionRule,
    WriteVerifier,
};
use crate::error::Error;
use std::time::Duration;
use tokio::time::Instant;

impl WriteOperation {
    /// Finds the participant, and the changes to send.
    pub(super) async fn prepare(&mut self) -> Result<Patch, Error> {
        let start = Instant::now();
        let planned = if self.may_go_unread() {
            self.diff_from_cache().await
        } else {
            self.read_and_diff().await
        };
        self.request.context.spend(RequestPhase::Read, start.elapsed());
        planned
    }

    /// Whether the cache may be used. A dry run and a precondition need the state of now.
    fn may_go_unread(&self) -> bool {
        // A whole map that is sent must be fresh.
        // Another replica may have written since.
        let alone = self.shared.replicas.is_none();
        let warm =
            alone && !self.shared.settings.warm_for.is_zero() && !self.shared.settings.patch_full;
        let plain = !self.request.options.dry_run && self.request.condition.is_none();
        let plain = plain && self.request.notes.is_none();
        warm && plain && self.request.selector.is_stable()
    }

    /// Reads and compares.
    async fn read_and_diff(&mut self) -> Result<Patch, Error> {
        let (reads, context) = (self.shared.reads.clone(), self.request.context.clone());
        let (snapshot, reserved_calls) = reads.call(self.first_read(), &context).await?;
        self.reserved_calls = reserved_calls;
        self.baseline.is_remembered = false;
        self.learn_from_replicas(&snapshot).await?;
        self.compare(&snapshot, false)
    }

    /// Learns what other replicas have sent, so that a value is not called unchanged that one of them
    /// is about to replace.
    async fn learn_from_replicas(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let Some(replicas) = self.shared.replicas.clone() else { return Ok(()) };
        self.apply_snapshot(snapshot)?;
        let learnt = replicas.learn(self.participant_key()?, &self.shared.pending_writes).await;
        if self.request.options.dry_run { Ok(()) } else { learnt }
    }

    /// Compares with a recent read if one is enough, or with one that ends before this write's
    /// read.
    async fn diff_from_cache(&mut self) -> Result<Patch, Error> {
        let read_target = self.subject();
        let remembered = self.shared.cache.recall(&read_target, self.shared.settings.warm_for);
        if let Some(snapshot) = remembered
            && self.is_enough(&snapshot)
        {
            return self.compare(&snapshot, snapshot.sent <= self.arrived);
        }
        let mut subscription = self.shared.reads.subscribe(&read_target);
        let (reads, context) = (self.shared.reads.clone(), self.request.context.clone());
        let own = reads.call(self.first_read(), &context);
        tokio::pin!(own);
        loop {
            tokio::select! {
                biased;
                read = &mut own => {
                    let (snapshot, reserved_calls) = read?;
                    self.reserved_calls = reserved_calls;
                    return self.compare(&snapshot, false);
                }
                snapshot = subscription.next(None) => {
                    if self.is_enough(&snapshot) {
                        return self.compare(&snapshot, snapshot.sent <= self.arrived);
                    }
                }
            }
        }
    }

    /// The read of this write, with the calls reserved together with it.
    fn first_read(&self) -> CoalescedRead {
        let options = &self.request.options;
        let (class, reserve) = match (options.dry_run, options.verify) {
            (true, _) => (PriorityClass::Read, 0),
            (false, true) => (PriorityClass::Write, 2),
            (false, false) => (PriorityClass::Write, 1),
        };
        let cause = Freshness::SentAfter(self.arrived);
        CoalescedRead { reserve, ..CoalescedRead::new(self.subject(), cause, class) }
    }

    fn compare(&mut self, snapshot: &Snapshot, is_remembered: bool) -> Result<Patch, Error> {
        self.baseline.is_remembered = is_remembered;
        let now = self.apply_snapshot(snapshot)?;
        self.set_baseline(&now);
        self.pending(&now)
    }

    /// Whether this read is enough to start with. A read sent before this write arrived may choose
    /// the participant and the changes, but it neither verifies nor refuses.
    fn is_enough(&self, snapshot: &Snapshot) -> bool {
        let conversation = &snapshot.conversation;
        let over = conversation.live == Some(false) && !self.request.options.allow_ended;
        let Ok(chosen) = choose(&self.request.selector, conversation, SelectorIntent::Write) else {
            return false;
        };
        if over {
            return false;
        }
        if snapshot.sent > self.arrived {
            return true;
        }
        // The selector prefers a customer, who may have joined since.
        if chosen.by == SelectionRule::External {
            return false;
        }
        let participant_key = (conversation.id, chosen.participant.id);
        let map = &chosen.participant.attributes;
        let pending = self.to_send(participant_key, map);
        let kept = self.request.patch.len() - pending.len();
        // Without a read-back, no read would show the keys that are not sent.
        let shows_kept = kept == 0 || self.request.options.verify;
        let limits = self.shared.settings.limits.remembered();
        !pending.is_empty() && shows_kept && limits.check(map, &pending.applied_to(map)).is_ok()
    }

    /// The changes that `now` does not show, or that may still be undone.
    fn to_send(&self, participant_key: super::ParticipantKey, now: &AttributeMap) -> Patch {
        let wanted = &self.request.patch;
        let missing = wanted.missing_in(now);
        let pending_writes = &self.shared.pending_writes;
        if self.shared.replicas.as_ref().is_some_and(|replicas| replicas.is_unproved()) {
            return wanted.clone();
        }
        wanted
            .only(|key| missing.get(key).is_some() || pending_writes.is_open(participant_key, key))
    }

    /// The changes to send to the chosen participant; the other keys are tracked.
    pub(super) fn pending(&mut self, now: &AttributeMap) -> Result<Patch, Error> {
        let is_done = self.check_earlier(now)?;
        let mut pending = self.to_send(self.participant_key()?, now);
        if is_done {
            pending = Patch::default();
        }
        let kept = self.request.patch.only(|key| pending.get(key).is_none());
        self.track_unchanged(&kept, now);
        Ok(pending)
    }

    /// Tracks keys that `now` shows as wanted. If `now` is from the cache, a read-back must show
    /// them.
    pub(super) fn track_unchanged(&mut self, kept: &Patch, now: &AttributeMap) {
        self.verification.unchanged_keys = WriteVerifier::unsent(kept, now);
        if !self.baseline.is_remembered {
            self.verification.unchanged_keys.observe(now, Duration::ZERO);
        }
    }

    /// Keys that were not sent and that no read of this write has shown.
    pub(super) fn unread(&self) -> impl Iterator<Item = &AttributeKey> {
        let settle = self.shared.settle();
        let unread = move |key: &&AttributeKey| {
            self.verification.unchanged_keys.outcome(key, settle) == Some(KeyOutcome::Unverified)
        };
        self.request.patch.keys().filter(unread)
    }

    /// Whether there are such keys.
    pub(super) fn has_unread(&self) -> bool {
        self.unread().next().is_some()
    }

    /// Keys that were not sent because they seemed to be in place, but are not.
    pub(super) fn take_missing(&mut self) -> Patch {
        let missing = self.verification.unchanged_keys.third();
        self.verification.unchanged_keys.remove(&missing);
        missing
    }

    /// Applies what a read shows of the chosen participant, so that the answer describes it as of
    /// now.
    pub(super) fn follow(&mut self, conversation: &Conversation) {
        let Some(target) = &mut self.target else { return };
        let Some(found) = conversation.participant(target.participant.id) else { return };
        let (now, left) = (found.candidate(), found.is_customer_who_left() && !self.ended);
        let before: ParticipantSummary = std::mem::replace(&mut target.participant, now.clone());
        let meant = choose(&self.request.selector, conversation, SelectorIntent::Write);
        target.has_moved = !meant.is_ok_and(|chosen| chosen.participant.id == now.id);
        let has_moved = target.has_moved;
        if left {
            self.warn("the customer has left the conversation, which is still live");
        } else if before != now && !self.ended {
            self.warn(
                "the participant has changed since it was chosen; `participant` is as of now",
            );
        }
        if has_moved {
            let selector = &self.request.selector;
            self.warn(format!(
                "`{selector}` does not mean this participant alone any more; the write went to it"
            ));
        }
    }
}
