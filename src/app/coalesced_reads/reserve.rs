//! How a shared read comes by its permits: it books for those who wait, again when that changes, and
//! tells those who cannot wait so long.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::task::{Job, Joiner, tell};
use super::{Ended, SharedReads, Subject};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{Booking, BoxFuture, Payer, Permits, Wish};

/// Ends when what was booked is granted, or never will be.
type Granted = BoxFuture<'static, Result<Permits, Error>>;

impl SharedReads {
    /// Gets the permits for a read, and for what is booked with it. `None` once nobody waits.
    pub(super) async fn book(&self, subject: Subject, id: u64) -> Option<Permits> {
        loop {
            let (wish, changed) = self.wish(subject, id)?;
            if wish.calls == 0 {
                return self.with(subject, id, Job::take_permit)?.map(Permits::from);
            }
            let payers = self.with(subject, id, |job| job.payers.clone())?;
            let booking = match budget_accounts::book(&*self.parts.pacing, wish, &payers) {
                Ok(booking) => booking,
                Err(refusal) => {
                    self.refuse(subject, id, wish.deadline, &refusal);
                    continue;
                }
            };
            let (expected, granted) = match booking {
                Booking::Now(permits) => return Some(permits),
                Booking::Later { expected, granted } => (expected, granted),
            };
            self.expect((subject, id), expected, wish)?;
            match self.granted((subject, id), (wish, payers), &changed, (expected, granted)).await {
                Some(Ok(permits)) => return Some(permits),
                Some(Err(refusal)) => self.refuse(subject, id, wish.deadline, &refusal),
                None => {}
            }
            self.with(subject, id, |job| job.expected = None);
        }
    }

    /// It cannot be sent before `expected`: whoever must be answered by then is told now.
    fn expect(&self, (subject, id): (Subject, u64), expected: Instant, wish: Wish) -> Option<()> {
        let is_late = |one: &Joiner| one.deadline <= expected;
        let any_late = self.with(subject, id, |job| {
            job.expected = Some(expected);
            job.joiners.iter().any(is_late)
        })?;
        if any_late {
            let refusal = self.parts.pacing.refusal(wish.payer, wish.calls);
            self.refuse(subject, id, expected, &refusal);
        }
        Some(())
    }

    /// Waits for what was booked. `None` if something else is to be booked instead.
    async fn granted(
        &self,
        (subject, id): (Subject, u64),
        (wish, mut payers): (Wish, Vec<Payer>),
        changed: &Notify,
        (mut expected, mut granted): (Instant, Granted),
    ) -> Option<Result<Permits, Error>> {
        loop {
            tokio::select! {
                permits = &mut granted => return Some(permits),
                () = changed.notified() => {}
            }
            let (now, _) = self.wish(subject, id)?;
            // More important company moves it forward, and needs more calls perhaps.
            if now.class < wish.class || now.calls != wish.calls {
                return None;
            }
            // And so does company that pays for it, and gets the calls sooner.
            let all = self.with(subject, id, |job| job.payers.clone())?;
            let new: Vec<_> = all.into_iter().filter(|payer| !payers.contains(payer)).collect();
            if new.is_empty() {
                continue;
            }
            let deadline = now.deadline;
            match budget_accounts::book(&*self.parts.pacing, Wish { deadline, ..wish }, &new) {
                Ok(Booking::Now(permits)) => return Some(Ok(permits)),
                Ok(Booking::Later { expected: sooner, granted: other }) if sooner < expected => {
                    (expected, granted) = (sooner, other);
                }
                Ok(Booking::Later { .. }) | Err(_) => {}
            }
            payers.extend(new);
            self.expect((subject, id), expected, wish)?;
        }
    }

    /// What has to be booked. Without joiners the read is removed in the same moment, so that nobody
    /// joins what will not be made.
    fn wish(&self, subject: Subject, id: u64) -> Option<(Wish, Arc<Notify>)> {
        let mut topics = self.topics();
        let topic = topics.get_mut(&subject)?;
        let job = topic.next.as_mut().filter(|job| job.id == id)?;
        let wish = job.wish().map(|wish| (wish, Arc::clone(&job.changed)));
        if wish.is_none() {
            topic.next = None;
            if topic.is_idle() {
                topics.remove(&subject);
            }
        }
        wish
    }

    /// Refuses those whose deadline is not after `until`.
    fn refuse(&self, subject: Subject, id: u64, until: Instant, refusal: &Error) {
        let refused = self.with(subject, id, |job| job.take_until(until)).unwrap_or_default();
        tell(refused, &Ended::failed(refusal.clone()));
    }
}
