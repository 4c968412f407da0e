//! A service with a defect: every call upstream panics, with a value in the payload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use attribute_gateway::app::{App, AppParts, AppSettings, ClientRegistry, RequestLimiter};
use attribute_gateway::domain::{
    AttributeLimits, AttributeMap, Conversation, ListPage, Participant, TimeRange,
};
use attribute_gateway::error::Error;
use attribute_gateway::http::{
    AppState, EtagKey, HttpSettings, LiveFeed, LiveStatus, OpenApiFiles, OpsState,
    ReadinessProvider, ReadinessReport, paths, router,
};
use attribute_gateway::policy::Backoff;
use attribute_gateway::ports::{
    BoxFuture, ConversationsPort, PatchOutcome, RequestContext, UpstreamPatch, UpstreamQuery,
    UpstreamRead,
};
use attribute_gateway::shutdown::ShutdownSignal;
use attribute_gateway::telemetry::{RecentRequests, ServiceMetrics};

use super::budget::UnlimitedBudget;
use axum::Router;
use gateway_store::embedded::EmbeddedStore;
use gateway_store::{SealingKey, StoreLimits};

use super::call::CUSTOMER;

/// The routes of a service whose every read panics; the message holds `payload`.
pub fn defective(payload: &'static str) -> Router {
    service_over(Defect { payload, reads: false, panics: AtomicU32::new(u32::MAX) })
}

/// The same, where reads work and the PATCH panics, on its way.
pub fn defective_in_patch(payload: &'static str) -> Router {
    service_over(Defect { payload, reads: true, panics: AtomicU32::new(u32::MAX) })
}

/// The same, where only the first PATCH panics.
pub fn defective_once() -> Router {
    service_over(Defect { payload: "nothing", reads: true, panics: AtomicU32::new(1) })
}

fn service_over(defect: Defect) -> Router {
    let metrics = ServiceMetrics::new(paths::ALL);
    let shutdown = ShutdownSignal::default();
    let in_flight = shutdown.tasks().clone();
    let app = App::new(AppParts {
        replicas: None,
        client_registry: ClientRegistry::unauthenticated(),
        conversations: Arc::new(defect),
        call_budget: Arc::new(UnlimitedBudget),
        recorder: Arc::clone(metrics.recorder()),
        settings: app_settings(),
        shutdown,
        random: Box::new(|| 0.5),
    });
    let readiness = Arc::new(Ready);
    let documents = OpenApiFiles::default();
    let (recent, live) = (RecentRequests::default(), LiveFeed::new(LiveStatus::default));
    let (audit, spans, crowd) = (None, None, None);
    let requests = Arc::new(RequestLimiter::new(5000));
    let answers = EmbeddedStore::in_memory(SealingKey::derive("secret"), StoreLimits::default());
    let answers = answers.expect("a store");
    let ops = Arc::new(OpsState {
        readiness,
        metrics,
        spans,
        recent,
        live,
        audit,
        documents,
        requests,
        answers: Arc::new(answers),
        operations: None,
        address_limiter: crowd,
        in_flight,
    });
    router(AppState { app, ops, settings: Arc::new(http_settings()) })
}

struct Defect {
    payload: &'static str,
    reads: bool,
    /// How many `PATCH`es panic.
    panics: AtomicU32,
}

impl ConversationsPort for Defect {
    fn reads_participants_singly(&self) -> bool {
        false
    }

    fn read<'a>(
        &'a self,
        call: UpstreamRead,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        let customer = Participant {
            id: CUSTOMER.parse().expect("an id"),
            purpose: "customer".into(),
            state: Some("connected".into()),
            live: true,
            name: None,
            span: TimeRange::default(),
            attributes: AttributeMap::default(),
        };
        let (id, participants) = (call.conversation, vec![customer]);
        Box::pin(async move {
            if self.reads {
                Ok(Conversation { id, live: Some(true), span: TimeRange::default(), participants })
            } else {
                panics(self.payload)
            }
        })
    }

    fn find<'a>(
        &'a self,
        _: UpstreamQuery<'a>,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async { panics(self.payload) })
    }

    fn patch<'a>(
        &'a self,
        _: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        Box::pin(async {
            context.count_call();
            tokio::time::sleep(Duration::from_millis(10)).await;
            let left = |left: u32| left.checked_sub(1);
            if self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
                panics(self.payload)
            }
            PatchOutcome::Accepted
        })
    }
}

fn panics(payload: &str) -> ! {
    panic!("on purpose, with {payload}")
}

struct Ready;

impl ReadinessProvider for Ready {
    fn report(&self) -> ReadinessReport {
        ReadinessReport { ready: true, credentials_refused: false, checks: Vec::new() }
    }

    fn draining(&self) -> bool {
        false
    }
}

/// Settings of the use cases as they are by default.
pub fn app_settings() -> AppSettings {
    AppSettings {
        limits: AttributeLimits { total_bytes: 10_240 },
        patch_full: false,
        max_reads: 12,
        settle: Duration::from_secs(10),
        outstanding: Duration::from_secs(30),
        conflict_retries: 3,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        warm_for: Duration::from_secs(10),
        memory: 8 * 1024 * 1024,
        max_age: Duration::ZERO,
        waiting: 4096,
        waiting_per_participant: 256,
    }
}

fn http_settings() -> HttpSettings {
    HttpSettings {
        deadline: Duration::from_secs(5),
        body_limit: 64 * 1024,
        body_timeout: Duration::from_secs(10),
        default_participant: "customer".parse().expect("a selector"),
        total_bytes: 10_240,
        etag: EtagKey::derive("secret"),
        require_if_match: false,
    }
}
