//! One shared read on its way: it waits for its turn and its permits, leaves, and tells its joiners.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Ended, Fare, SharedReads, Sight, Subject, Wanted};
use crate::app::budget_accounts;
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{Class, Cycle, Payer, Permit, Permits, Phase, ReadCall, Span, Wish};

/// A read that takes longer than this does not hold up the next one.
const PATIENCE: Duration = Duration::from_millis(100);

/// A read that somebody waits for.
pub struct Job {
    pub id: u64,
    /// When it was sent; it is collecting joiners until then.
    pub sent: Option<Instant>,
    /// A PATCH was answered since it was sent.
    pub stale: bool,
    pub(super) joiners: Vec<Joiner>,
    /// The deadline of its most impatient joiner, once it is sent: nothing is tried again after it.
    pub start_by: Option<Instant>,
    /// It is not to be sent before, because another one was told to wait.
    not_before: Option<Instant>,
    class: Class,
    retries: bool,
    pub(super) permit: Option<Permit>,
    reserve: u32,
    /// On whose behalf it is made: of whoever was there first.
    client: Option<Arc<Client>>,
    /// Everybody on whose account it can be made.
    pub(super) payers: Vec<Payer>,
    /// When it can be sent at the earliest, as far as can be told.
    pub(super) expected: Option<Instant>,
    /// The trace that it is part of: an exported one, if any joiner's is.
    span: Option<Span>,
    /// Whether somebody wants to know what it did.
    recorded: bool,
    /// Somebody joined or left, or a read before it ended.
    pub(super) changed: Arc<Notify>,
}

pub(super) struct Joiner {
    number: u64,
    pub(super) deadline: Instant,
    tell: oneshot::Sender<Ended>,
}

impl Job {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            sent: None,
            stale: false,
            joiners: Vec::new(),
            start_by: None,
            not_before: None,
            class: Class::Extra,
            retries: false,
            permit: None,
            reserve: 0,
            client: None,
            payers: Vec::new(),
            expected: None,
            span: None,
            recorded: false,
            changed: Arc::default(),
        }
    }

    /// Whether it is known that this deadline comes before it can be sent. Whoever brings a permit
    /// along, is more important, or pays for it in place of others, may move it forward.
    pub fn is_too_late_for(&self, wanted: &Wanted, cycle: &Cycle) -> bool {
        let deadline = cycle.deadline();
        let waits = wanted.permit.is_none() && wanted.class >= self.class;
        waits
            && self.payers.contains(&cycle.payer())
            && self.expected.is_some_and(|expected| expected >= deadline)
    }

    /// Adds a joiner.
    pub fn join(&mut self, number: u64, wanted: Wanted, cycle: &Cycle) -> oneshot::Receiver<Ended> {
        let (tell, ended) = oneshot::channel();
        self.joiners.push(Joiner { number, deadline: cycle.deadline(), tell });
        if self.sent.is_none() {
            self.class = self.class.min(wanted.class);
            self.retries |= wanted.retries;
            self.permit = self.permit.take().or(wanted.permit);
            self.reserve = self.reserve.max(wanted.reserve);
            self.recorded |= cycle.trail().is_some();
            budget_accounts::add(&mut self.payers, cycle.payer());
            self.client.get_or_insert_with(|| Arc::clone(cycle.client()));
            Span::prefer(&mut self.span, cycle.span());
            self.changed.notify_one();
        }
        ended
    }

    pub fn leave(&mut self, number: u64) {
        let before = self.joiners.len();
        self.joiners.retain(|joiner| joiner.number != number);
        if self.joiners.len() < before {
            self.changed.notify_one();
        }
    }

    fn latest_deadline(&mut self) -> Option<Instant> {
        self.joiners.retain(|joiner| !joiner.tell.is_closed());
        self.joiners.iter().map(|joiner| joiner.deadline).max()
    }

    /// What has to be booked: nothing if a permit was brought along. Who would book more together
    /// with the read has it for nothing then, and books the rest in its turn: a read that was booked
    /// as the proof of a write waits for nobody.
    pub(super) fn wish(&mut self) -> Option<Wish> {
        let deadline = self.latest_deadline()?;
        let calls = if self.permit.is_some() { 0 } else { 1 + self.reserve };
        let payer = self.payers.first().copied().unwrap_or(Payer::NOBODY);
        Some(Wish { calls, class: self.class, deadline, payer })
    }

    /// Takes the permit that was brought along, as part of a write that goes on: should it be no good
    /// any more, its read goes before what has not begun.
    pub(super) fn take_permit(&mut self) -> Option<Permit> {
        let permit = self.permit.take()?;
        self.class = Class::Admitted;
        Some(permit)
    }

    /// Those who wait longer than the most impatient one, and long enough for another try after
    /// `wait`, where this one has failed for the sake of him.
    fn take_patient(&mut self, wait: Duration) -> Vec<Joiner> {
        let again = Instant::now() + wait;
        let is_patient = |joiner: &Joiner| {
            joiner.deadline > again
                && self.start_by.is_some_and(|start_by| joiner.deadline > start_by)
        };
        let (patient, rest) = std::mem::take(&mut self.joiners).into_iter().partition(is_patient);
        self.joiners = rest;
        patient
    }

    /// Takes out those whose deadline is not after `moment`.
    pub(super) fn take_until(&mut self, moment: Instant) -> Vec<Joiner> {
        let (late, rest) = std::mem::take(&mut self.joiners)
            .into_iter()
            .partition(|joiner| joiner.deadline <= moment);
        self.joiners = rest;
        late
    }
}

pub(super) fn tell(joiners: Vec<Joiner>, ended: &Ended) {
    for joiner in joiners {
        // Whoever has left does not want it any more.
        let _ = joiner.tell.send(ended.clone());
    }
}

impl Ended {
    pub(super) fn failed(error: Error) -> Self {
        Self { result: Err(error), spent: Cycle::new(Instant::now()), fare: Fare::default() }
    }
}

impl SharedReads {
    pub(super) async fn run(self, subject: Subject, id: u64) {
        // Whatever ends this task, a panic of upstream's client included: nobody is left waiting.
        let mut ends = Ends { reads: self, subject, id, is_over: false };
        ends.reads.after_those_before(subject, id).await;
        if let Some(permits) = ends.reads.book(subject, id).await {
            ends.is_over = ends.reads.make(subject, id, permits).await;
        }
    }

    /// Waits until no other read of the subject is on its way, or it has been for too long.
    async fn after_those_before(&self, subject: Subject, id: u64) {
        let mut had_to_wait = false;
        loop {
            let (until, changed) = {
                let mut topics = self.topics();
                let Some(topic) = topics.get_mut(&subject) else { return };
                let until = topic.sent.iter().filter_map(|job| job.sent).max();
                let until = until.map(|sent| sent + PATIENCE);
                let Some(job) = topic.job(id) else { return };
                let until = until.max(job.not_before).filter(|until| *until > Instant::now());
                (until, Arc::clone(&job.changed))
            };
            let Some(until) = until else { break };
            had_to_wait = true;
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        if had_to_wait {
            // What that read showed may be enough for some who wait for this one: they go first.
            tokio::task::yield_now().await;
        }
    }

    /// Makes the read. Whether it ended as it should, so that nothing is left of the job.
    async fn make(&self, subject: Subject, id: u64, mut permits: Permits) -> bool {
        let Some((call, cycle, sent)) = self.depart(subject, id, &mut permits) else {
            return false;
        };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.parts.conversations.read(call, &cycle) => read,
            // Nobody waits for its retries either.
            () = self.deserted(subject, id) => return true,
            () = self.parts.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        cycle.spend(Phase::Read, start.elapsed());
        let result = read.map(|conversation| {
            let conversation = Arc::new(conversation);
            Sight { sent, conversation, spent: cycle.clone() }
        });
        match &result {
            Ok(sight) => {
                if !self.parts.held.is_idle() {
                    let settle = (self.parts.settle)();
                    self.parts.held.seen_in(&sight.conversation, sight.sent, settle);
                }
                let stale = self.with(subject, id, |job| job.stale).unwrap_or(true);
                if self.parts.memory.remember(subject, sight, stale) {
                    tokio::spawn(Arc::clone(&self.parts.memory).sweep());
                }
            }
            Err(error) if cycle.was_hurried() => {
                self.go_again(subject, id, error.retry_after().unwrap_or_default());
            }
            Err(_) => {}
        }
        self.end(subject, id, &Ended { result, spent: cycle, fare: Fare::new(permits) });
        true
    }

    /// Lets those wait for another read who can, where this one was given up for the sake of the
    /// most impatient.
    fn go_again(&self, subject: Subject, id: u64, wait: Duration) {
        let mut topics = self.topics();
        let Some(topic) = topics.get_mut(&subject) else { return };
        let Some(job) = topic.sent.iter_mut().find(|job| job.id == id && job.retries) else {
            return;
        };
        let (patient, class, recorded) = (job.take_patient(wait), job.class, job.recorded);
        let (client, payers) = (job.client.clone(), job.payers.clone());
        if patient.is_empty() {
            return;
        }
        if topic.next.is_none() {
            let id = self.number();
            let not_before = Some(Instant::now() + wait);
            let next = Job { class, client, retries: true, not_before, ..Job::new(id) };
            topic.next = Some(next);
            self.parts.shutdown.tasks().spawn(Box::pin(self.clone().run(subject, id)));
        }
        if let Some(next) = &mut topic.next {
            next.joiners.extend(patient);
            next.recorded |= recorded;
            for payer in payers {
                budget_accounts::add(&mut next.payers, payer);
            }
        }
    }

    /// Waits until nobody waits for this read any more; then nobody can join it either.
    async fn deserted(&self, subject: Subject, id: u64) {
        loop {
            let changed = {
                let mut topics = self.topics();
                let Some(topic) = topics.get_mut(&subject) else { return };
                let Some(index) = topic.sent.iter().position(|job| job.id == id) else { return };
                if topic.sent[index].joiners.is_empty() {
                    topic.sent.swap_remove(index);
                    if let Some(next) = &topic.next {
                        next.changed.notify_one();
                    }
                    if topic.is_idle() {
                        topics.remove(&subject);
                    }
                    return;
                }
                Arc::clone(&topic.sent[index].changed)
            };
            changed.notified().await;
        }
    }

    /// From here on it is sent, and only those may join it whose cause is older.
    fn depart(
        &self,
        subject: Subject,
        id: u64,
        permits: &mut Permits,
    ) -> Option<(ReadCall, Cycle, Instant)> {
        let mut topics = self.topics();
        let topic = topics.get_mut(&subject)?;
        let mut job = topic.next.take_if(|job| job.id == id)?;
        let sent = Instant::now();
        job.sent = Some(sent);
        let deadline = job.latest_deadline()?;
        job.start_by = job.joiners.iter().map(|joiner| joiner.deadline).min();
        // What was booked by a write that goes on is part of it, also when it is tried again.
        let permit = job.take_permit().or_else(|| permits.take());
        let of_a_write = job.class <= Class::Write;
        let call = ReadCall {
            conversation: subject.conversation,
            participant: subject.participant,
            retries: job.retries,
            permit,
            class: if of_a_write { Class::Admitted } else { job.class },
        };
        let cycle = Cycle::traced(deadline, job.span.take()).recorded(job.recorded);
        let cycle = cycle.on_behalf_of(job.client.clone().unwrap_or_else(Client::anonymous));
        let cycle = cycle.starting_by(job.start_by.unwrap_or(deadline));
        topic.sent.push(job);
        Some((call, cycle, sent))
    }

    /// Tells everybody, and makes way for the next.
    fn end(&self, subject: Subject, id: u64, ended: &Ended) {
        let Some(job) = self.remove(subject, id, ended.result.as_ref().ok()) else { return };
        tell(job.joiners, ended);
    }

    fn remove(&self, subject: Subject, id: u64, shown: Option<&Sight>) -> Option<Job> {
        let mut topics = self.topics();
        let topic = topics.get_mut(&subject)?;
        let sent = topic.sent.iter().position(|job| job.id == id);
        let job = match sent {
            Some(index) => Some(topic.sent.swap_remove(index)),
            None => topic.next.take_if(|job| job.id == id),
        };
        if let Some(next) = &topic.next {
            next.changed.notify_one();
        }
        if let (Some(latest), Some(sight)) = (&topic.latest, shown) {
            latest.send_replace(Some(sight.clone()));
        }
        if topic.is_idle() {
            topics.remove(&subject);
        }
        job
    }
}

/// Removes a job when its task ends, however it does.
struct Ends {
    reads: SharedReads,
    subject: Subject,
    id: u64,
    /// The job is removed already.
    is_over: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.is_over {
            // Joiners that were not told see their channel close.
            self.reads.remove(self.subject, self.id, None);
        }
    }
}
