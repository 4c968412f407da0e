//! The use cases: reading and writing the attributes of one participant.
//!
//! They see ports, policies and the domain, never HTTP or the upstream client. A write runs on the
//! task tracker and not in its client's future: a client that hangs up cannot cut it in half.

mod access_filter;
mod batching;
mod budget_accounts;
mod client_registry;
mod coalescing;
mod conversation_reads;
mod lag;
mod list;
mod list_queries;
mod operations;
mod pending_writes;
mod read;
mod request_limit;
mod settings;
mod snapshot;
mod snapshot_cache;
#[cfg(test)]
mod testing;
mod write;
mod write_coordinator;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use self::batching::WritePrecondition;
use self::batching::{BatchingParts, WriteQueues};
pub use self::client_registry::{
    AuthFailure, AuthenticatedClient, ClientRegistry, ClientTable, PresentedCredentials,
    RegisteredClient, key_digest,
};
use self::coalescing::Coalescer;
use self::conversation_reads::{ConversationReads, ReadCoalescer};
use self::lag::LagTracker;
pub use self::list::ListRequest;
use self::list_queries::ListQueries;
pub use self::operations::{
    OperationAnswer, OperationEnding, OperationQueue, OperationRunner, word as operation_word,
};
use self::pending_writes::PendingWrites;
pub use self::read::{ReadOutcome, ReadRequest, ViewRequest};
pub use self::request_limit::RequestLimiter;
pub use self::settings::AppSettings;
use self::snapshot_cache::SnapshotCache;
pub use self::write::{WriteOptions, WriteRequest};
pub use self::write_coordinator::{OutagePolicy, WriteCoordinator};
use crate::domain::{
    Conversation, ParticipantSelector, ResolvedParticipant, SelectorIntent, SettleTime,
    UnresolvedParticipant,
};
use crate::error::Error;
use crate::ports::{BudgetAccount, CallBudget, ConversationsPort, MetricsRecorder};
use crate::shutdown::ShutdownSignal;

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct App {
    shared: Arc<AppInner>,
}

/// What all requests share.
struct AppInner {
    client_registry: ClientRegistry,
    recorder: Arc<MetricsRecorder>,
    settings: Arc<AppSettings>,
    shutdown: ShutdownSignal,
    reads: ReadCoalescer,
    lists: Coalescer<ListQueries>,
    write_queues: WriteQueues,
    cache: Arc<SnapshotCache>,
    lags: Arc<LagTracker>,
    pending_writes: PendingWrites,
    /// What replicas know of each other's writes; `None` for a single process.
    replicas: Option<Arc<WriteCoordinator>>,
    /// A write has shown that upstream replaces the whole map.
    replaces: AtomicBool,
}

/// What the use cases need.
pub struct AppParts {
    /// The clients that may call.
    pub client_registry: ClientRegistry,
    /// Upstream.
    pub conversations: Arc<dyn ConversationsPort>,
    /// The budget of calls.
    pub call_budget: Arc<dyn CallBudget>,
    /// Records metrics.
    pub recorder: Arc<MetricsRecorder>,
    /// The settings.
    pub settings: AppSettings,
    /// Tells of a shutdown.
    pub shutdown: ShutdownSignal,
    /// What replicas know of each other's writes; `None` for a single process.
    pub replicas: Option<Arc<WriteCoordinator>>,
    /// Returns a number from 0 up to 1, for jitter.
    pub random: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl App {
    /// Puts the use cases together from these parts.
    #[expect(clippy::too_many_lines, reason = "one part after the other")]
    pub fn new(parts: AppParts) -> Self {
        let AppParts { conversations, call_budget, recorder, shutdown, .. } = parts;
        let settings = Arc::new(parts.settings);
        let pending_writes = PendingWrites::new(&settings, Arc::clone(&recorder));
        let keep_for = settings.warm_for.max(settings.max_age);
        let cache = Arc::new(SnapshotCache::new(keep_for, settings.memory, Arc::clone(&recorder)));
        let lags = Arc::new(LagTracker::new(settings.settle));
        let source = ConversationReads {
            conversations: Arc::clone(&conversations),
            cache: Arc::clone(&cache),
            pending_writes: pending_writes.clone(),
            lags: Arc::clone(&lags),
        };
        let reads = Coalescer::new(source, Arc::clone(&call_budget), shutdown.clone());
        let source = ListQueries(Arc::clone(&conversations));
        let lists = Coalescer::new(source, Arc::clone(&call_budget), shutdown.clone());
        let write_queues = WriteQueues::new(BatchingParts {
            conversations,
            call_budget,
            recorder: Arc::clone(&recorder),
            settings: Arc::clone(&settings),
            shutdown: shutdown.clone(),
            reads: reads.clone(),
            pending_writes: pending_writes.clone(),
            lags: Arc::clone(&lags),
            replicas: parts.replicas.clone(),
            random: parts.random,
        });
        let shared = AppInner {
            client_registry: parts.client_registry,
            recorder,
            settings,
            shutdown,
            reads,
            lists,
            write_queues,
            cache,
            lags,
            pending_writes,
            replicas: parts.replicas,
            replaces: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The clients that may call.
    pub fn callers(&self) -> &ClientRegistry {
        &self.shared.client_registry
    }

    /// Reserves each of these accounts its share of the write slots, before its first write.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.shared.pending_writes.set_known_clients(accounts);
    }

    /// The visibility lag that `percent` of the recent writes did not exceed; `None` without any.
    pub fn visibility_lag(&self, percent: usize) -> Option<Duration> {
        self.shared.lags.percentile(percent)
    }

    /// Whether a write has shown that upstream replaces the map although only changes are sent: the
    /// operator should set `genesys.patch_body = "full"`.
    pub fn advises_full_patches(&self) -> bool {
        self.shared.replaces.load(Ordering::Relaxed)
    }
}

impl AppInner {
    /// How long a third value has to stand before it counts as a later one.
    fn settle(&self) -> SettleTime {
        self.lags.settle()
    }
}

/// Returns the participant that a selector matches.
///
/// # Errors
/// If it matches none, or more than one.
pub fn choose<'a>(
    selector: &ParticipantSelector,
    conversation: &'a Conversation,
    intent: SelectorIntent,
) -> Result<ResolvedParticipant<'a>, Error> {
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
