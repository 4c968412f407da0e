//! What has to be sent: found out by a read, or from what another read showed moments ago.

use super::{Cause, Class, Flow, Intent, Phase, Sight, Wanted, choose};
use crate::domain::{AttributeMap, Patch, Watch};
use crate::error::Error;
use std::time::Duration;
use tokio::time::Instant;

impl Flow {
    /// Finds the participant, and what has to be sent to it.
    pub(super) async fn plan(&mut self) -> Result<Patch, Error> {
        let start = Instant::now();
        let planned = if self.may_go_unread() { self.glimpse().await } else { self.look().await };
        self.request.cycle.spend(Phase::Read, start.elapsed());
        planned
    }

    /// Whether the participant may be known from an earlier read. A dry run tells what is there
    /// now, and a condition is judged on it.
    fn may_go_unread(&self) -> bool {
        // A whole map that is sent must not be an old one.
        let warm = !self.shared.settings.warm_for.is_zero() && !self.shared.settings.patch_full;
        warm && !self.request.options.dry_run && self.request.condition.is_none()
    }

    /// Reads, and compares.
    async fn look(&mut self) -> Result<Patch, Error> {
        let (reads, cycle) = (self.shared.reads.clone(), self.request.cycle.clone());
        let (sight, fare) = reads.read(self.first_read(), &cycle).await?;
        self.fare = fare;
        self.compare(&sight)
    }

    /// The same, unless somebody has read moments ago, or does before our own read is sent: then
    /// all that is asked for is sent, and the read-back judges.
    async fn glimpse(&mut self) -> Result<Patch, Error> {
        let warm_for = self.shared.settings.warm_for;
        let (reads, cycle) = (self.shared.reads.clone(), self.request.cycle.clone());
        let subject = self.subject();
        let remembered = self.shared.memory.recall(subject, warm_for);
        if let Some(sight) = remembered
            && let Some(pending) = self.recognise(&sight)?
        {
            return Ok(pending);
        }
        let mut follower = reads.follow(subject);
        let own = reads.read(self.first_read(), &cycle);
        tokio::pin!(own);
        loop {
            tokio::select! {
                biased;
                read = &mut own => {
                    let (sight, fare) = read?;
                    self.fare = fare;
                    return self.compare(&sight);
                }
                sight = follower.next(None) => {
                    if let Some(pending) = self.recognise(&sight)? {
                        return Ok(pending);
                    }
                }
            }
        }
    }

    /// The read that this write would make, with the calls that follow it.
    fn first_read(&self) -> Wanted {
        let options = &self.request.options;
        let (class, reserve) = match (options.dry_run, options.verify) {
            (true, _) => (Class::Read, 0),
            (false, true) => (Class::Write, 2),
            (false, false) => (Class::Write, 1),
        };
        let (subject, cause) = (self.subject(), Cause::Since(self.arrived));
        Wanted { subject, cause, class, retries: true, permit: None, reserve }
    }

    fn compare(&mut self, sight: &Sight) -> Result<Patch, Error> {
        let now = self.look_at(sight)?;
        self.starts_from(&now);
        self.pending(&now)
    }

    /// What an earlier read says, if that is enough: it cannot tell that somebody is not there, or
    /// that the call is over.
    fn recognise(&mut self, sight: &Sight) -> Result<Option<Patch>, Error> {
        let conversation = &sight.conversation;
        let over = conversation.live == Some(false) && !self.request.options.allow_ended;
        if over || choose(&self.request.selector, conversation, Intent::Write).is_err() {
            return Ok(None);
        }
        // A read of this very moment is as good as one of our own.
        let own = sight.sent > self.arrived;
        let now = self.look_at(sight)?;
        self.starts_from(&now);
        if own { self.pending(&now).map(Some) } else { Ok(Some(self.request.patch.clone())) }
    }

    /// The changes that `now` does not show, or that are not certain to stay as shown.
    pub(super) fn pending(&mut self, now: &AttributeMap) -> Result<Patch, Error> {
        let place = self.place()?;
        let wanted = &self.request.patch;
        let missing = wanted.missing_in(now);
        let held = &self.shared.held;
        let pending = wanted.only(|key| missing.get(key).is_some() || held.is_open(place, key));
        let kept = wanted.only(|key| pending.get(key).is_none());
        self.keep(&kept, now);
        Ok(pending)
    }

    /// Watches keys that `now` shows as wanted.
    pub(super) fn keep(&mut self, kept: &Patch, now: &AttributeMap) {
        self.kept = Watch::new(kept, now);
        self.kept.observe(now, Duration::ZERO);
    }
}
