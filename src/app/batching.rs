//! The turn of a participant: a list of waiting writes, merged at the moment of sending.
//!
//! One task works on the turn of a participant while anybody waits for it. It takes whoever waits
//! at that moment along, in order of arrival, and sends one PATCH for all; who comes later waits
//! for the next. Nobody waits in order to be batched. What became of it is told to each member,
//! which proves its own keys from there on while the next batch goes.
//!
//! A member may leave at any time. What has not left then never will: nothing is sent any more once
//! the deadline of the most impatient member has passed, and the others go again without it.

mod batch;
mod merge;
mod reserve;
mod singles;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::worker::Runner;
use super::coalesced_reads::Fare;
use super::pending_writes::{Mark, Place};
use super::{ById, Shared};
use crate::domain::{AttributeKey, AttributeMap, ParticipantId, Patch, Unseen};
use crate::error::Error;
use crate::ports::{CallFailure, Cycle, Payer, Stood};

/// What must be true of a map for a write to be made (`If-Match`, `If-None-Match`).
pub trait Precondition: fmt::Debug + Send + Sync {
    /// Whether it is true of the map that the participant holds now.
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool;

    /// The `ETag` of that map, for a caller whose condition is not true.
    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String;
}

/// What a write brings along into the turn.
#[derive(Debug)]
pub struct Ride {
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// When it arrived.
    pub arrived: Instant,
    /// What it wants to be sent.
    pub patch: Patch,
    /// The map as it has seen it last, and when that read was sent.
    pub shown: AttributeMap,
    pub shown_at: Instant,
    /// What must be true of the map.
    pub condition: Option<Arc<dyn Precondition>>,
    /// `PATCH`es of its own whose fate is unknown.
    pub marks: Vec<Mark>,
    /// Whether it will read back.
    pub verify: bool,
    /// Deadline and spending.
    pub cycle: Cycle,
    /// Calls that were booked for it.
    pub fare: Fare,
}

/// What a member of a batch is told.
#[derive(Debug)]
pub enum Told {
    /// Nothing of it was sent.
    Refused(Error),
    /// The same, but an earlier PATCH of its own may be the reason.
    Unsettled(Error),
    /// The task of the turn has died; something of it may have been sent.
    Lost,
    /// It was its batch's turn.
    Sent(Box<Sent>),
}

/// How it went with a batch, for one member.
#[derive(Debug)]
pub struct Sent {
    /// Changes of this member that were sent.
    pub carried: Patch,
    /// Keys of this member that a later caller's change was sent in place of.
    pub overtaken: BTreeSet<AttributeKey>,
    /// All that was sent.
    pub patch: Arc<Patch>,
    /// What reads showed before, and when that read was sent.
    pub shown: Arc<AttributeMap>,
    pub shown_at: Instant,
    /// What stood there, as far as it is known.
    pub stood: Arc<Stood>,
    /// Values that were ours already and may show before these do.
    pub unseen: Arc<Unseen>,
    /// When upstream accepted it, or why it did not, or is not known to have.
    pub result: Result<Instant, CallFailure>,
    /// Names the PATCH in the memory of open writes.
    pub mark: Option<Mark>,
    /// Booked for its first read-back.
    pub fare: Fare,
    /// What members have told of lost keys already.
    pub losses: Arc<Losses>,
    /// A number from 0 up to 1, the same for all members: what they do next, they do together.
    pub unit: f64,
}

/// What was counted and logged of keys that are gone after a batch: each once, by one member.
#[derive(Debug, Default)]
pub struct Losses(Mutex<(BTreeSet<AttributeKey>, bool)>);

impl Losses {
    /// How many of these keys were not counted before.
    pub fn count(&self, keys: &[AttributeKey]) -> usize {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|key| known.0.insert((*key).clone())).count()
    }

    /// Whether this is the first member to find the map replaced.
    pub fn is_first_evidence(&self) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut known.1, true)
    }
}

/// Who waits for whose turn.
#[derive(Default)]
pub struct Turns {
    lines: Mutex<ById<Place, Line>>,
    arrivals: AtomicU64,
}

#[derive(Default)]
struct Line {
    /// By number of arrival.
    seats: BTreeMap<u64, Seat>,
    running: bool,
    /// Whether the last to go went alone.
    alone_went: bool,
    /// When the next batch can leave at the earliest, where the budget of calls decides that.
    expected: Option<Instant>,
    /// On whose account they have been booked.
    payers: Vec<Payer>,
    changed: Arc<Notify>,
}

/// A member that waits, or is on its way.
#[derive(Debug)]
struct Seat {
    ride: Ride,
    place: Arc<Mutex<Whereabouts>>,
    tell: oneshot::Sender<Told>,
    /// It has been put off until then.
    not_before: Option<Instant>,
    put_off: u32,
    /// Its batch was rejected, perhaps for another member's sake: it goes with nobody any more.
    alone: bool,
    entered: Instant,
}

/// Where a member is, as far as it can still change its mind.
#[derive(Debug)]
enum Whereabouts {
    Waiting,
    OnItsWay(Cycle),
    Gone,
}

/// A member's own end of its seat. Dropping it is leaving.
#[derive(Debug)]
pub struct Ticket {
    shared: std::sync::Weak<Shared>,
    place: Place,
    arrival: u64,
    whereabouts: Arc<Mutex<Whereabouts>>,
    told: oneshot::Receiver<Told>,
}

impl Turns {
    /// The next number in the order of arrival.
    pub fn arrival(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// Joins the turn of a participant.
    ///
    /// # Errors
    /// If it is known already that its deadline comes before the next batch can leave.
    pub fn enter(shared: &Arc<Shared>, place: Place, ride: Ride) -> Result<Ticket, Error> {
        let (tell, told) = oneshot::channel();
        let (arrival, deadline) = (ride.arrival, ride.cycle.deadline());
        let whereabouts = Arc::new(Mutex::new(Whereabouts::Waiting));
        let entered = Instant::now();
        let mut lines = shared.turns.lines();
        let line = lines.entry(place).or_default();
        let payer = ride.cycle.payer();
        let is_late = line.expected.is_some_and(|expected| expected >= deadline);
        // Whoever pays in place of others, or has calls already, may move it forward.
        if is_late && line.payers.contains(&payer) && !ride.fare.is_paid() {
            drop(lines);
            return Err(shared.pacing.refusal(payer, 2));
        }
        let seat = Seat {
            ride,
            place: Arc::clone(&whereabouts),
            tell,
            not_before: None,
            put_off: 0,
            alone: false,
            entered,
        };
        line.seats.insert(arrival, seat);
        line.changed.notify_one();
        if !std::mem::replace(&mut line.running, true) {
            Runner::start(Arc::clone(shared), place);
        }
        drop(lines);
        shared.meter.writes_waiting(1);
        Ok(Ticket { shared: Arc::downgrade(shared), place, arrival, whereabouts, told })
    }

    fn lines(&self) -> MutexGuard<'_, ById<Place, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits until it was this member's turn.
    pub async fn told(&mut self) -> Told {
        (&mut self.told).await.unwrap_or(Told::Lost)
    }

    /// Whether a PATCH with changes of this member is out, and may have been applied.
    pub fn is_exposed(&self) -> bool {
        self.spent().is_some_and(|cycle| cycle.is_exposed())
    }

    /// What its batch has spent, if it is on its way.
    pub fn spent(&self) -> Option<Cycle> {
        match &*self.whereabouts() {
            Whereabouts::OnItsWay(cycle) => Some(cycle.clone()),
            Whereabouts::Waiting | Whereabouts::Gone => None,
        }
    }

    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // In this order, as whoever puts a seat back takes the two locks.
        let mut lines = shared.turns.lines();
        *self.whereabouts() = Whereabouts::Gone;
        if let Some(line) = lines.get_mut(&self.place)
            && line.seats.remove(&self.arrival).is_some()
        {
            line.changed.notify_one();
            shared.meter.writes_waiting(-1);
        }
    }
}

impl Seat {
    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        matches!(*self.whereabouts(), Whereabouts::Gone)
    }

    fn deadline(&self) -> Instant {
        self.ride.cycle.deadline()
    }

    /// Comes along. Whoever has left does not, and who should have been answered by now is told.
    fn aboard(self, cycle: &Cycle) -> Option<Self> {
        if self.deadline() <= Instant::now() {
            self.tell(Told::Refused(Error::DeadlineExceeded("waiting for its turn")));
            return None;
        }
        {
            let mut whereabouts = self.whereabouts();
            if matches!(*whereabouts, Whereabouts::Gone) {
                return None;
            }
            *whereabouts = Whereabouts::OnItsWay(cycle.clone());
        }
        Some(self)
    }

    /// Cannot be part of it. What it has sent before may have been applied all the same, and may be
    /// what stands against it: then it has to look again.
    fn fail(self, error: Error) {
        if self.ride.marks.is_empty() {
            return self.tell(Told::Refused(error));
        }
        self.tell(Told::Unsettled(error));
    }

    fn tell(self, told: Told) {
        if matches!(told, Told::Refused(_) | Told::Unsettled(_)) {
            // Whatever leaves with its batch now is nothing of it.
            *self.whereabouts() = Whereabouts::Gone;
        }
        // Whoever has left does not want it any more.
        let _ = self.tell.send(told);
    }
}
