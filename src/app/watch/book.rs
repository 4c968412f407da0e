//! How a shared read comes by its permits: it books for those who wait, again when that changes, and
//! tells those who cannot wait so long.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::job::{Job, tell};
use super::{Ended, SharedReads, Subject};
use crate::error::Error;
use crate::ports::{Booking, BoxFuture, Permits, Wish};

impl SharedReads {
    /// Gets the permits for a read, and for what is booked with it. `None` once nobody waits.
    pub(super) async fn book(&self, subject: Subject, id: u64) -> Option<Permits> {
        loop {
            let (wish, changed) = self.wish(subject, id)?;
            if wish.calls == 0 {
                return self.with(subject, id, Job::take_permit)?.map(Permits::from);
            }
            let booking = match self.parts.pacing.book(wish) {
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
            self.with(subject, id, |job| job.expected = Some(expected));
            if self
                .with(subject, id, |job| job.joiners.iter().any(|one| one.deadline <= expected))?
            {
                let refusal = self.parts.pacing.refusal(wish.calls);
                self.refuse(subject, id, expected, &refusal);
            }
            match self.granted((subject, id), wish, &changed, granted).await {
                Some(Ok(permits)) => return Some(permits),
                Some(Err(refusal)) => self.refuse(subject, id, wish.deadline, &refusal),
                None => {}
            }
            self.with(subject, id, |job| job.expected = None);
        }
    }

    /// Waits for what was booked. `None` if something else is to be booked instead.
    async fn granted(
        &self,
        (subject, id): (Subject, u64),
        wish: Wish,
        changed: &Notify,
        granted: BoxFuture<'static, Result<Permits, Error>>,
    ) -> Option<Result<Permits, Error>> {
        tokio::pin!(granted);
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
