//! Pages of the list of live conversations, shared by all who want the same one while it is on its way.
//! Nothing of it is kept: whoever comes after it has a query of its own.
//!
//! A query runs in a task of its own, so that nobody's hang-up ends it for others; it ends when nobody
//! waits any more. Its time is that of the caller it was made for. Whoever has less time makes another
//! one, since this one may be tried again for longer; whoever has more may go on when it has failed.
//!
//! It is made on the account of that caller, too. As long as it has not left, it may have to wait for
//! that caller's share: nobody else joins it before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::coalesced_reads::GRACE;
use crate::domain::{ConversationFilter, ListPage};
use crate::error::Error;
use crate::ports::{Conversations, Cycle, FindCall};
use crate::shutdown::Shutdown;

/// What is looked for: the page with this number.
type Place = (ConversationFilter, u32);

/// Shared queries. Cheap to clone.
#[derive(Clone)]
pub struct SharedFinds {
    conversations: Arc<dyn Conversations>,
    shutdown: Shutdown,
    /// Those on their way. Of one place there are several only where the first has too much time, or
    /// waits on the account of another caller.
    flights: Arc<Mutex<HashMap<Place, Vec<Flight>>>>,
}

/// A query on its way. Those who wait for it have a receiver each.
#[derive(Clone)]
struct Flight {
    deadline: Instant,
    spent: Cycle,
    told: watch::Sender<Option<Ended>>,
}

impl Flight {
    /// Whether it serves somebody else as well, and without making him wait for what is not his.
    fn may_be_joined(&self, cycle: &Cycle) -> bool {
        let has_left = || self.spent.calls() > 0;
        self.deadline <= cycle.deadline() && (self.spent.payer() == cycle.payer() || has_left())
    }
}

#[derive(Clone)]
struct Ended {
    result: Result<ListPage, Error>,
    spent: Cycle,
}

impl SharedFinds {
    /// Shared queries of this upstream.
    pub fn new(conversations: Arc<dyn Conversations>, shutdown: Shutdown) -> Self {
        Self { conversations, shutdown, flights: Arc::default() }
    }

    /// Joins a query on its way, or makes one.
    ///
    /// # Errors
    /// Of upstream, or when the deadline comes first.
    pub async fn find(&self, place: &Place, cycle: &Cycle) -> Result<ListPage, Error> {
        loop {
            let (deadline, mut told) = self.board(place, cycle);
            let waited = timeout_at(cycle.deadline() + GRACE, told.wait_for(Option::is_some)).await;
            let Ok(ended) = waited.map(|told| told.ok().and_then(|ended| ended.clone())) else {
                return Err(Error::DeadlineExceeded("waiting for Genesys Cloud"));
            };
            let Some(Ended { result, spent }) = ended else {
                let cause = "the task of a query ended without a word";
                return Err(Error::Internal(cause.to_owned()));
            };
            cycle.share(&spent);
            let Err(error) = &result else { return result };
            let again = Instant::now() + error.retry_after().unwrap_or_default();
            // It had to give up where this caller need not.
            if again < deadline || again >= cycle.deadline() {
                return result;
            }
            sleep_until(again).await;
        }
    }

    /// A query that this caller can wait for, and its deadline.
    fn board(&self, place: &Place, cycle: &Cycle) -> (Instant, watch::Receiver<Option<Ended>>) {
        let mut flights = self.flights();
        let here = flights.entry(place.clone()).or_default();
        if let Some(flight) = here.iter().find(|flight| flight.may_be_joined(cycle)) {
            return (flight.deadline, flight.told.subscribe());
        }
        let (told, waits) = watch::channel(None);
        let spent = Cycle::traced(cycle.deadline(), cycle.span().cloned())
            .on_behalf_of(Arc::clone(cycle.client()));
        let flight = Flight { deadline: cycle.deadline(), spent, told };
        here.push(flight.clone());
        drop(flights);
        self.shutdown.tasks().spawn(self.clone().fly(place.clone(), flight));
        (cycle.deadline(), waits)
    }

    async fn fly(self, place: Place, flight: Flight) {
        // Whatever ends this task, a panic of upstream's client included: nobody is left waiting.
        let landing = Landing { finds: &self, place: &place, flight: &flight };
        let (filter, page) = (&place.0, place.1);
        let result = tokio::select! {
            biased;
            found = self.conversations.find(FindCall { filter, page }, &flight.spent) => found,
            () = landing.deserted() => return,
            () = self.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        // Nobody joins what has ended.
        drop(landing);
        let spent = flight.spent.clone();
        flight.told.send_replace(Some(Ended { result, spent }));
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Place, Vec<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a query when it has ended, however it did.
struct Landing<'a> {
    finds: &'a SharedFinds,
    place: &'a Place,
    flight: &'a Flight,
}

impl Landing<'_> {
    /// Waits until nobody waits for it; then nobody can join it either.
    async fn deserted(&self) {
        loop {
            self.flight.told.closed().await;
            let mut flights = self.finds.flights();
            if self.flight.told.receiver_count() == 0 {
                self.remove(&mut flights);
                return;
            }
        }
    }

    fn remove(&self, flights: &mut HashMap<Place, Vec<Flight>>) {
        let Some(here) = flights.get_mut(self.place) else { return };
        here.retain(|flight| !flight.told.same_channel(&self.flight.told));
        if here.is_empty() {
            flights.remove(self.place);
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.remove(&mut self.finds.flights());
    }
}
