//! A service with a defect: whatever it asks of upstream panics, with a value in the payload.

use std::sync::Arc;
use std::time::Duration;

use attribute_gateway::app::{App, AppParts, AppSettings};
use attribute_gateway::domain::{Conversation, Limits};
use attribute_gateway::error::Error;
use attribute_gateway::http::{
    AppState, EtagKey, HttpSettings, Ops, Readiness, ReadinessReport, paths, router,
};
use attribute_gateway::policy::Backoff;
use attribute_gateway::ports::{BoxFuture, CallFailure, Conversations, Cycle, PatchCall, ReadCall};
use attribute_gateway::shutdown::Shutdown;
use attribute_gateway::telemetry::{AccessLog, Metrics};
use axum::Router;

/// The routes of a service whose every read and write panics; the message holds `payload`.
pub fn defective(payload: &'static str, access: &AccessLog) -> Router {
    let metrics = Metrics::new(paths::ALL);
    let shutdown = Shutdown::default();
    let in_flight = shutdown.tasks().clone();
    let app = App::new(AppParts {
        conversations: Arc::new(Defect(payload)),
        meter: Arc::new(metrics.clone()),
        settings: app_settings(),
        shutdown,
        random: Box::new(|| 0.5),
    });
    let ops = Ops { readiness: Arc::new(Ready), metrics, access: access.clone(), in_flight };
    router(AppState { app, ops, settings: Arc::new(http_settings()) })
}

struct Defect(&'static str);

impl Conversations for Defect {
    fn read<'a>(&'a self, _: ReadCall, _: &'a Cycle) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(async { panics(self.0) })
    }

    fn patch<'a>(&'a self, _: PatchCall, _: &'a Cycle) -> BoxFuture<'a, Result<(), CallFailure>> {
        Box::pin(async { panics(self.0) })
    }
}

fn panics(payload: &str) -> ! {
    panic!("on purpose, with {payload}")
}

struct Ready;

impl Readiness for Ready {
    fn report(&self) -> ReadinessReport {
        ReadinessReport { ready: true, checks: Vec::new() }
    }

    fn draining(&self) -> bool {
        false
    }
}

fn app_settings() -> AppSettings {
    AppSettings {
        limits: Limits { total_bytes: 10_240 },
        patch_full: false,
        max_reads: 12,
        settle: Duration::from_secs(1),
        outstanding: Duration::from_secs(30),
        conflict_retries: 3,
        survival_watch: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
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
    }
}
