//! A simulated Genesys Cloud for tests: the operations on live conversations that a client of
//! participant attributes needs, an OAuth token endpoint, and the ways in which the platform fails.
//!
//! It is written from the vendor's documents and from observed traffic, and depends on no client
//! code. If the simulator and a client read the platform's rules differently, a test fails.
//!
//! Guarantees for tests:
//!
//! - A write is applied completely and in order, or not at all. [`Simulator::ledger`] lists each one.
//! - Every wait uses tokio's clock, so paused time is exact. Timestamps in answers follow that clock.
//!
//! [`Simulator`] is a handle; clones share one platform. [`Simulator::router`] serves it, together
//! with the control API under `/__sim/`.
//!
//! ```
//! use genesys_simulator::{FaultAction, SimulatedCall, ScriptedFault, SimulatorSettings, Simulator};
//!
//! let simulator = Simulator::new(SimulatorSettings::default());
//! let id = simulator.add_call(SimulatedCall::new("11111111-1111-4111-8111-111111111111"))?;
//! simulator.inject(ScriptedFault::new(FaultAction::ResetAfter));
//! let app = simulator.router(); // an axum router: serve it, or call it directly
//! # let _ = (id, app);
//! # Ok::<(), genesys_simulator::LoadError>(())
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;

mod action;
mod analytics;
mod attributes;
mod budget;
mod call;
mod control;
mod demo;
mod faults;
mod journal;
mod load;
mod oauth;
mod patch;
mod reply;
mod routes;
mod scripted;
mod settings;
mod shapes;
mod state;
mod target;
mod world;

pub use action::FaultAction;
pub use attributes::{AttributeChanges, AttributeMap};
pub use call::{NO_ATTRIBUTES, SimulatedCall};
pub use demo::{DemoCall, DemoParticipant};
pub use faults::{FaultMatcher, FaultScope, RequestKind, ScriptedFault};
pub use journal::{CallRecord, RequestOutcome};
pub use load::LoadError;
pub use settings::{AfterEnd, EmptyHandling, NullHandling, PatchSemantics, SimulatorSettings};
pub use state::{LedgerEntry, WriteSource};

use world::{ClockReading, SimulatedWorld};

/// A simulated platform.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<SimulatorInner>,
}

struct SimulatorInner {
    world: Mutex<SimulatedWorld>,
    start: Instant,
    /// Wall time at `start`; later wall times are counted from it on tokio's clock.
    wall: OffsetDateTime,
}

impl Simulator {
    /// A platform without conversations.
    pub fn new(settings: SimulatorSettings) -> Self {
        let start = Instant::now();
        let world = Mutex::new(SimulatedWorld::new(settings, start));
        Self { shared: Arc::new(SimulatorInner { world, start, wall: wall_now() }) }
    }

    /// Adds a conversation, and returns its id.
    pub fn add_call(&self, call: SimulatedCall) -> Result<String, LoadError> {
        let (mut world, at) = self.world();
        let loaded = load::load(&call.document(at.wall))?;
        world.state.add(loaded, call.description)
    }

    /// Replaces the call with the same id, as after a transfer, and returns the id.
    pub fn replace_call(&self, call: SimulatedCall) -> Result<String, LoadError> {
        self.world().0.state.remove(&call.id);
        self.add_call(call)
    }

    /// Adds a captured conversation, the JSON of either GET, and returns its id.
    pub fn add_conversation(&self, document: &Value) -> Result<String, LoadError> {
        self.world().0.state.add(load::load(document)?, "loaded".to_owned())
    }

    /// Injects a fault, to be tried after all faults injected before.
    pub fn inject(&self, fault: ScriptedFault) {
        self.world().0.script.inject(fault);
    }

    /// How many more requests the injected faults will hit.
    pub fn faults_left(&self) -> u32 {
        self.faults().iter().fold(0, |sum, fault| sum.saturating_add(fault.times))
    }

    /// The faults that can still hit, with what is left of their counts.
    pub fn faults(&self) -> Vec<ScriptedFault> {
        self.world().0.script.left().cloned().collect()
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.world().0.script.clear();
    }

    /// Sets attributes as another writer would: merged, and visible at once in spite of the lag.
    /// False if there is no such participant.
    pub fn write_as_other<K, V>(
        &self,
        conversation: &str,
        participant: &str,
        map: impl IntoIterator<Item = (K, V)>,
    ) -> bool
    where
        K: Into<String>,
        V: Into<String>,
    {
        let changes = map.into_iter().map(|(key, value)| (key.into(), Some(value.into())));
        self.change_as_other(conversation, participant, changes.collect())
    }

    /// As [`Self::write_as_other`], and `None` removes a key.
    pub fn change_as_other(
        &self,
        conversation: &str,
        participant: &str,
        changes: AttributeChanges,
    ) -> bool {
        self.change_as_other_late(conversation, participant, changes, Duration::ZERO)
    }

    /// As [`Self::change_as_other`], and reads show it only after `lag`.
    pub fn change_as_other_late(
        &self,
        conversation: &str,
        participant: &str,
        changes: AttributeChanges,
        lag: Duration,
    ) -> bool {
        let (mut world, at) = self.world();
        world.write_as_other(conversation, participant, changes, (at.now, lag))
    }

    /// Ends a conversation; false if there is none.
    pub fn end_conversation(&self, conversation: &str) -> bool {
        let (mut world, at) = self.world();
        world.state.end(conversation, &wall_text(at.wall))
    }

    /// Invalidates all tokens issued so far, and returns their number.
    pub fn kill_tokens(&self) -> usize {
        self.world().0.tokens.kill_all()
    }

    /// Changes settings from the next request on. `change` must not call the simulator: it runs
    /// while the state is locked.
    pub fn set_settings(&self, change: impl FnOnce(&mut SimulatorSettings)) {
        change(&mut self.world().0.settings);
    }

    /// The settings in force.
    pub fn settings(&self) -> SimulatorSettings {
        self.world().0.settings.clone()
    }

    /// A participant's attributes as stored; reads may still show older ones.
    pub fn attributes(&self, conversation: &str, participant: &str) -> Option<AttributeMap> {
        self.world().0.state.truth(conversation, participant).cloned()
    }

    /// Every applied write, in order.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.world().0.state.ledger().cloned().collect()
    }

    /// Every request that arrived, in order.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.world().0.journal.records().cloned().collect()
    }

    /// How many requests of this kind arrived.
    pub fn count(&self, kind: RequestKind) -> usize {
        self.world().0.journal.records().filter(|record| record.kind == kind).count()
    }

    /// Forgets the requests so far; the ledger stays.
    pub fn clear_calls(&self) {
        self.world().0.journal.clear();
    }

    /// The state as of now, with writes that were to land late. Never held across an await.
    fn world(&self) -> (MutexGuard<'_, SimulatedWorld>, ClockReading) {
        let shared = &self.shared;
        // Each step leaves the state whole, so one that panicked does not spoil it for the others.
        let mut world = shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        world.settle(now);
        let wall = shared.wall + now.saturating_duration_since(shared.start);
        (world, ClockReading { now, wall })
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").finish_non_exhaustive()
    }
}

/// The simulator's only look at the wall clock.
#[expect(clippy::disallowed_methods, reason = "the start of the simulated wall clock")]
fn wall_now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// A time as the platform writes it.
fn wall_text(time: OffsetDateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    format!(
        "{date}T{:02}:{:02}:{:02}.{:03}Z",
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.millisecond()
    )
}
