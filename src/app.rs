//! The use cases: reading and writing the attributes of one participant.
//!
//! Sees ports, policies and the domain, never HTTP or the upstream client. A write runs on the
//! task tracker and not in its client's future, so that a client who hangs up cannot cut it in
//! half.

mod access_filter;
mod batching;
mod budget_accounts;
mod client_registry;
mod coalesced_lists;
mod coalesced_reads;
mod list;
mod pending_writes;
mod read;
mod request_limit;
mod snapshot_cache;
#[cfg(test)]
mod testing;
mod write;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch as watch_channel;

pub use self::batching::WritePrecondition;
use self::batching::WriteQueues;
pub use self::client_registry::{
    AuthFailure, AuthenticatedClient, ClientRegistry, ClientTable, PresentedCredentials,
    RegisteredClient, key_digest,
};
use self::coalesced_lists::ListCoalescer;
use self::coalesced_reads::{ReadCoalescer, ReadParts, ReadTarget};
pub use self::list::ListRequest;
use self::pending_writes::PendingWrites;
pub use self::read::{ReadOutcome, ReadRequest, ViewRequest};
pub use self::request_limit::RequestLimiter;
use self::snapshot_cache::SnapshotCache;
pub use self::write::{WriteOptions, WriteRequest};
use crate::clock::MonotonicClock;
use crate::domain::{
    AttributeLimits, Conversation, ConversationId, ParticipantId, ParticipantSelector,
    SelectorIntent, SettleTime, UnresolvedParticipant,
};
use crate::error::Error;
use crate::policy::{Backoff, LagStatistics};
use crate::ports::{BudgetAccount, CallBudget, ConversationsPort, MetricsRecorder};
use crate::shutdown::ShutdownSignal;

/// Numbers of the use cases.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Limits on attributes.
    pub limits: AttributeLimits,
    /// Whether a PATCH holds the merged map, for an upstream that replaces.
    pub patch_full: bool,
    /// Read-backs of one write at most.
    pub max_reads: u32,
    /// How long a third value has to stand before it counts as a later one, until enough lags were
    /// measured.
    pub settle: Duration,
    /// How long a write that was not seen keeps its keys from counting as unchanged.
    pub outstanding: Duration,
    /// How often a 409 is answered by reading, merging and sending again.
    pub conflict_retries: u32,
    /// Waits before a PATCH of unknown fate is looked at.
    pub backoff: Backoff,
    /// How long after a read a write needs none of its own.
    pub warm_for: Duration,
    /// Bytes of conversations remembered for that.
    pub memory: usize,
    /// How old a read may be that serves another reader; zero for no cache at all.
    pub max_age: Duration,
    /// Writes under way at most.
    pub waiting: usize,
    /// Writes to one participant under way at most.
    pub waiting_per_participant: usize,
}

/// What is known by the id of a conversation, or of a participant.
type ById<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct App {
    shared: Arc<AppInner>,
}

/// What all requests share.
struct AppInner {
    client_registry: ClientRegistry,
    conversations: Arc<dyn ConversationsPort>,
    call_budget: Arc<dyn CallBudget>,
    recorder: Arc<dyn MetricsRecorder>,
    settings: AppSettings,
    shutdown: ShutdownSignal,
    reads: ReadCoalescer,
    finds: ListCoalescer,
    write_queues: WriteQueues,
    memory: Arc<SnapshotCache>,
    clock: MonotonicClock,
    /// A number from 0 up to 1, for jitter.
    random: Box<dyn Fn() -> f64 + Send + Sync>,
    lags: Arc<Mutex<LagStatistics>>,
    /// Whether any lag was measured.
    measured: watch_channel::Sender<bool>,
    /// A write reads back to measure the first lag, and others wait for it.
    exploring: AtomicBool,
    pending_writes: PendingWrites,
    /// A write has shown that upstream replaces.
    replaces: AtomicBool,
}

/// What the use cases are made of.
pub struct AppParts {
    /// Who may call.
    pub client_registry: ClientRegistry,
    /// Upstream.
    pub conversations: Arc<dyn ConversationsPort>,
    /// The budget of calls.
    pub call_budget: Arc<dyn CallBudget>,
    /// Where metrics go.
    pub recorder: Arc<dyn MetricsRecorder>,
    /// Numbers.
    pub settings: AppSettings,
    /// Going down.
    pub shutdown: ShutdownSignal,
    /// A number from 0 up to 1, for jitter.
    pub random: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl App {
    /// The use cases over these parts.
    pub fn new(
        AppParts {
            client_registry,
            conversations,
            call_budget,
            recorder,
            settings,
            shutdown,
            random,
        }: AppParts,
    ) -> Self {
        let pending_writes = PendingWrites::new(&settings, Arc::clone(&recorder));
        let keep_for = settings.warm_for.max(settings.max_age);
        let memory = Arc::new(SnapshotCache::new(keep_for, settings.memory, Arc::clone(&recorder)));
        let (clock, lags) = (MonotonicClock::start(), Arc::<Mutex<LagStatistics>>::default());
        let (seen, unmeasured) = (Arc::clone(&lags), settings.settle);
        let reads = ReadCoalescer::new(ReadParts {
            conversations: Arc::clone(&conversations),
            call_budget: Arc::clone(&call_budget),
            memory: Arc::clone(&memory),
            pending_writes: pending_writes.clone(),
            settle: Box::new(move || locked(&seen).settle(clock.now(), unmeasured)),
            shutdown: shutdown.clone(),
        });
        let finds = ListCoalescer::new(Arc::clone(&conversations), shutdown.clone());
        let shared = AppInner {
            client_registry,
            conversations,
            call_budget,
            recorder,
            settings,
            shutdown,
            reads,
            finds,
            write_queues: WriteQueues::default(),
            memory,
            clock,
            random,
            lags,
            measured: watch_channel::Sender::new(false),
            exploring: AtomicBool::new(false),
            pending_writes,
            replaces: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Who may call.
    pub fn callers(&self) -> &ClientRegistry {
        &self.shared.client_registry
    }

    /// Sees to it that each of these has its part of the places, whether it has written yet or not.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.shared.pending_writes.set_known_clients(accounts);
    }

    /// Whether a write has shown that upstream replaces the map although changes are sent: the
    /// operator should set `genesys.patch_body = "full"`.
    pub fn advises_full_patches(&self) -> bool {
        self.shared.replaces.load(Ordering::Relaxed)
    }
}

impl AppInner {
    fn lags(&self) -> MutexGuard<'_, LagStatistics> {
        locked(&self.lags)
    }

    /// How long a third value has to stand before it counts as a later one.
    fn settle(&self) -> SettleTime {
        let longest = self.settings.settle;
        let measured = self.lags().settle(self.clock.now(), longest);
        SettleTime { measured, longest: longest.max(measured) }
    }

    /// Whether reads show everybody in a conversation.
    fn reads_whole(&self) -> bool {
        !self.conversations.reads_participants_singly()
    }

    /// What has to be read to see this participant.
    fn subject(
        &self,
        conversation: ConversationId,
        participant: Option<ParticipantId>,
    ) -> ReadTarget {
        let participant = participant.filter(|_| self.conversations.reads_participants_singly());
        ReadTarget { conversation, participant }
    }
}

fn locked(lags: &Mutex<LagStatistics>) -> MutexGuard<'_, LagStatistics> {
    lags.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The participant that a request means, or the error that tells why there is none.
///
/// # Errors
/// That it means nobody, or more than one.
pub fn choose<'a>(
    selector: &ParticipantSelector,
    conversation: &'a Conversation,
    intent: SelectorIntent,
) -> Result<crate::domain::ResolvedParticipant<'a>, Error> {
    selector.choose(conversation, intent).map_err(|unresolved| match unresolved {
        UnresolvedParticipant::NotOne => {
            Error::InvalidParticipant("`all` names no single participant")
        }
        UnresolvedParticipant::NotFound { purposes, first_needs_naming } => {
            let asked = selector.to_string();
            Error::ParticipantNotFound { asked, purposes, first_needs_naming }
        }
        UnresolvedParticipant::Ambiguous(candidates) => {
            Error::AmbiguousParticipant { asked: selector.to_string(), candidates }
        }
    })
}

/// A conversation as a log field.
fn log_id(id: ConversationId) -> tracing::field::DisplayValue<ConversationId> {
    tracing::field::display(id)
}
