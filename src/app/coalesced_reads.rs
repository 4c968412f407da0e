//! Reads of conversations, shared by everybody who may use them.
//!
//! The invariant: nobody is served by a read that was sent before its cause. A read is joined while
//! it is not sent yet, or if it was sent after the cause of the joiner: for a reader the last answer
//! to a PATCH of ours, for a write its arrival or the acceptance of what it sent. So one read-back
//! serves every verification of a conversation that waits, whoever the participant.
//!
//! At most one read of a conversation is on its way at a time, unless it is slow; the next one
//! collects joiners meanwhile. It runs in a task of its own, so that nobody's hang-up ends it.

mod reserve;
mod task;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::task::Job;
use super::ById;
use super::pending_writes::{Held, Place};
use super::snapshot_cache::Memory;
use crate::domain::{Conversation, ConversationId, ParticipantId};
use crate::error::Error;
use crate::ports::{Class, Conversations, Cycle, Pacing, Permit, Permits};
use crate::shutdown::Shutdown;

/// What is read: a conversation, or one participant where the route can do no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant, on a route that reads participants singly.
    pub participant: Option<ParticipantId>,
}

/// What one read showed.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When it was sent, or a little before.
    pub sent: Instant,
    /// What it showed.
    pub conversation: Arc<Conversation>,
    /// What it cost: everybody who shares it counts its calls.
    pub spent: Cycle,
}

/// What a read must not have been sent before.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    /// The last answer to a PATCH of ours to this conversation.
    LastPatch,
    /// This moment.
    Since(Instant),
}

/// A read that somebody wants.
#[derive(Debug)]
pub struct Wanted {
    /// Of what.
    pub subject: Subject,
    /// What it must not have been sent before.
    pub cause: Cause,
    /// How important it is.
    pub class: Class,
    /// Whether it is repeated when it fails. Read-backs have a schedule of their own.
    pub retries: bool,
    /// The right to make it, if that was booked before.
    pub permit: Option<Permit>,
    /// Calls to book together with it, for the write that follows.
    pub reserve: u32,
}

/// Rights to further calls, shared by those who booked them together.
#[derive(Clone, Debug, Default)]
pub struct Fare(Option<Arc<Mutex<Permits>>>);

impl Fare {
    /// Shares these; none at all is free of charge.
    pub fn new(permits: Permits) -> Self {
        Self((permits.calls() > 0).then(|| Arc::new(Mutex::new(permits))))
    }

    /// Whether there is one left.
    pub fn is_paid(&self) -> bool {
        let left = |all: &Arc<Mutex<Permits>>| {
            all.lock().unwrap_or_else(PoisonError::into_inner).calls() > 0
        };
        self.0.as_ref().is_some_and(left)
    }

    /// Takes one out, if there is one left.
    pub fn take(&self) -> Option<Permit> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a read ended, for each who joined it.
#[derive(Clone, Debug)]
struct Ended {
    result: Result<Sight, Error>,
    spent: Cycle,
    fare: Fare,
}

/// The reads of one subject.
#[derive(Default)]
struct Topic {
    /// Not sent yet; whoever comes joins it.
    next: Option<Job>,
    /// On their way.
    sent: Vec<Job>,
    /// Shows every read that ends to those who follow.
    latest: Option<watch::Sender<Option<Sight>>>,
    followers: usize,
}

/// Shared reads. Cheap to clone.
#[derive(Clone)]
pub struct SharedReads {
    parts: Arc<ReadParts>,
    topics: Arc<Mutex<ById<Subject, Topic>>>,
    ids: Arc<AtomicU64>,
}

/// What reading needs.
pub struct ReadParts {
    /// Upstream.
    pub conversations: Arc<dyn Conversations>,
    /// The budget of calls.
    pub pacing: Arc<dyn Pacing>,
    /// What was read last.
    pub memory: Arc<Memory>,
    /// What we have written and not seen yet.
    pub held: Held,
    /// How long a third value has to stand before it counts as another writer's.
    pub settle: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Going down.
    pub shutdown: Shutdown,
}

/// Joiners are told by the read itself when its time is up; this catches those whose own deadline
/// is earlier. Well within the 100 ms that an answer may be late.
pub(super) const GRACE: Duration = Duration::from_millis(10);

impl SharedReads {
    /// Reads made of these parts.
    pub fn new(parts: ReadParts) -> Self {
        Self { parts: Arc::new(parts), topics: Arc::default(), ids: Arc::default() }
    }

    /// Joins a read that may serve, or makes one.
    ///
    /// # Errors
    /// Of upstream, of the budget, or when the deadline comes first.
    pub async fn read(&self, wanted: Wanted, cycle: &Cycle) -> Result<(Sight, Fare), Error> {
        let (mut seat, ended) = self.join(wanted, cycle)?;
        match tokio::time::timeout_at(cycle.deadline() + GRACE, ended).await {
            Ok(Ok(Ended { result, spent, fare })) => {
                seat.is_taken = false;
                cycle.share(&spent);
                result.map(|sight| (sight, fare))
            }
            Ok(Err(_)) => {
                Err(Error::Internal("the task of a read ended without a word".to_owned()))
            }
            Err(_) => Err(Error::DeadlineExceeded(if seat.was_sent() {
                "waiting for Genesys Cloud"
            } else {
                "waiting to be sent"
            })),
        }
    }

    /// Follows the reads of a subject that others make.
    pub fn follow(&self, subject: Subject) -> Follower {
        let mut topics = self.topics();
        let topic = topics.entry(subject).or_default();
        topic.followers += 1;
        let latest = topic.latest.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        Follower { reads: self.clone(), subject, latest }
    }

    /// A PATCH was answered, or will never be: reads that were sent before serve no reader any more.
    pub fn patched(&self, place: Place) {
        self.parts.memory.patched(place);
        let mut topics = self.topics();
        for participant in [None, Some(place.1)] {
            if let Some(topic) = topics.get_mut(&Subject { conversation: place.0, participant }) {
                topic.sent.iter_mut().for_each(|job| job.stale = true);
            }
        }
    }

    fn join(
        &self,
        wanted: Wanted,
        cycle: &Cycle,
    ) -> Result<(Seat, oneshot::Receiver<Ended>), Error> {
        let (subject, number, calls) = (wanted.subject, self.number(), 1 + wanted.reserve);
        let mut topics = self.topics();
        let topic = topics.entry(subject).or_default();
        let (cause, deadline) = (wanted.cause, cycle.deadline());
        let is_new = topic.joinable(cause, deadline).is_none();
        if is_new {
            topic.next = Some(Job::new(self.number()));
        }
        let job = topic.joinable(cause, deadline).expect("there is one that is not sent yet");
        let id = job.id;
        let joined =
            (!job.is_too_late_for(&wanted, cycle)).then(|| job.join(number, wanted, cycle));
        drop(topics);
        if is_new {
            self.parts.shutdown.tasks().spawn(Box::pin(self.clone().run(subject, id)));
        }
        let ended = joined.ok_or_else(|| self.parts.pacing.refusal(cycle.payer(), calls))?;
        Ok((Seat { reads: self.clone(), subject, id, number, is_taken: true }, ended))
    }

    /// A number that nothing else has.
    fn number(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Works on a job; `None` if it has ended.
    fn with<T>(&self, subject: Subject, id: u64, work: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.topics().get_mut(&subject)?.job(id).map(work)
    }

    fn topics(&self) -> MutexGuard<'_, ById<Subject, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topic {
    /// A read that serves this cause: on its way, or not sent yet. Whoever is more impatient than
    /// all who wait for one on its way might have to wait for its retries.
    fn joinable(&mut self, cause: Cause, deadline: Instant) -> Option<&mut Job> {
        let serves = |job: &&mut Job| {
            let fresh = match cause {
                Cause::LastPatch => !job.stale,
                Cause::Since(moment) => job.sent.is_some_and(|sent| sent > moment),
            };
            fresh && job.start_by.is_some_and(|start_by| start_by <= deadline)
        };
        self.sent.iter_mut().find(serves).or(self.next.as_mut())
    }

    fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.sent.iter_mut().chain(&mut self.next).find(|job| job.id == id)
    }

    fn is_idle(&self) -> bool {
        self.next.is_none() && self.sent.is_empty() && self.followers == 0
    }
}

/// A place among the joiners of a read; given up when it is dropped.
struct Seat {
    reads: SharedReads,
    subject: Subject,
    id: u64,
    number: u64,
    /// Whoever was told has left it.
    is_taken: bool,
}

impl Seat {
    fn was_sent(&self) -> bool {
        self.reads.with(self.subject, self.id, |job| job.sent.is_some()).unwrap_or(true)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.is_taken {
            return;
        }
        // It may have gone over to a later read than the one it joined.
        let mut topics = self.reads.topics();
        if let Some(topic) = topics.get_mut(&self.subject) {
            let jobs = topic.sent.iter_mut().chain(&mut topic.next);
            for job in jobs {
                job.leave(self.number);
            }
        }
    }
}

/// Sees the reads of a subject that others make.
pub struct Follower {
    reads: SharedReads,
    subject: Subject,
    latest: watch::Receiver<Option<Sight>>,
}

impl Follower {
    /// The next read to end, if `moment` is given one that was sent after it.
    pub async fn next(&mut self, moment: Option<Instant>) -> Sight {
        loop {
            if self.latest.changed().await.is_err() {
                // The sender lives as long as there are followers.
                std::future::pending::<()>().await;
            }
            let latest = self.latest.borrow_and_update().clone();
            if let Some(sight) = latest.filter(|sight| Some(sight.sent) > moment) {
                return sight;
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut topics = self.reads.topics();
        if let Some(topic) = topics.get_mut(&self.subject) {
            topic.followers -= 1;
            if topic.is_idle() {
                topics.remove(&self.subject);
            }
        }
    }
}
