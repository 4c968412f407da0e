//! The readiness checks behind `/readyz`.

use std::sync::Arc;

use super::clients_file::ClientSource;
use super::replicas::Replicas;
use super::tls::ServerTls;
use crate::app::{App, OperationQueue};
use crate::audit::AuditLog;
use crate::clock;
use crate::genesys::{CallLimiter, RetryPolicy, TokenCache, TokenStatus, UpstreamThrottle};
use crate::http::{
    HealthCheck, LiveBudget, LiveClient, LiveLag, LiveStatus, LiveToken, LiveUpstream, LiveWrites,
    ReadinessProvider, ReadinessReport,
};
use crate::policy::{BudgetState, ThrottleLevel, ThrottleState};
use crate::ports::BudgetAccount;
use crate::shutdown::ShutdownSignal;
use crate::telemetry::{LogLosses, ServiceMetrics, milliseconds};

/// Most clients in the live view.
const LIVE_CLIENTS: usize = 20;

/// The parts that are checked.
pub struct HealthChecks {
    pub client_registry: ClientSource,
    pub tokens: TokenCache,
    pub limiter: CallLimiter,
    pub retries: Arc<RetryPolicy>,
    pub throttles: [(&'static str, Arc<UpstreamThrottle>); 3],
    pub app: App,
    pub shutdown: ShutdownSignal,
    pub audit: Option<AuditLog>,
    pub tls: Option<Arc<ServerTls>>,
    pub log: LogLosses,
    pub metrics: ServiceMetrics,
    pub replicas: Option<Replicas>,
    pub operations: Option<OperationQueue>,
}

impl ReadinessProvider for HealthChecks {
    /// The service is unready only while it starts or drains, or if its credentials are refused. An
    /// outage or throttling of upstream affects every replica. If all became unready, clients would
    /// get no clear errors.
    fn report(&self) -> ReadinessReport {
        let status = self.tokens.status();
        let credentials_refused = matches!(status, TokenStatus::Refused(_));
        let (authenticated, token) = token(status);
        let running = !self.shutdown.is_draining();
        let mut checks = vec![token];
        checks.push(HealthCheck {
            name: "lifecycle",
            ok: running,
            detail: if running { "running" } else { "draining" }.to_owned(),
        });
        checks.extend(
            self.throttles.iter().map(|(name, throttle)| throttle_check(name, throttle.state())),
        );
        checks.push(rate_limit(&self.limiter));
        checks.push(retry_budget(&self.retries));
        checks.extend(self.tls.as_ref().map(|tls| tls.check()));
        let replaces = self.app.advises_full_patches();
        checks.push(HealthCheck {
            name: "upstream.merging",
            ok: !replaces,
            detail: if replaces {
                "upstream replaces the map: set genesys.patch_body = \"full\"".to_owned()
            } else {
                "no sign of upstream replacing the map".to_owned()
            },
        });
        checks.extend(self.audit.as_ref().map(audit));
        checks.extend(self.client_registry.check());
        checks.push(log(&self.log));
        checks.extend(self.replicas.iter().flat_map(Replicas::checks));
        let name = if self.replicas.is_some() { "store.operations" } else { "store" };
        checks.push(operations(name, self.operations.as_ref()));
        ReadinessReport { ready: authenticated && running, credentials_refused, checks }
    }

    fn draining(&self) -> bool {
        self.shutdown.is_draining()
    }
}

impl HealthChecks {
    /// What the live view shows, without operations.
    pub fn live(&self) -> LiveStatus {
        let (waiting, in_flight) = self.metrics.writes();
        let lag = |percent| self.app.visibility_lag(percent).map(milliseconds);
        LiveStatus {
            at: clock::timestamp(),
            ready: token(self.tokens.status()).0 && !self.shutdown.is_draining(),
            budget: self.live_budget(),
            upstream: self
                .throttles
                .iter()
                .map(|(name, one)| upstream(name, one.state()))
                .collect(),
            token: self.live_token(),
            writes: LiveWrites { waiting, in_flight },
            visibility_lag: LiveLag { p50_ms: lag(50), p95_ms: lag(95) },
            operations: Vec::new(),
        }
    }

    fn live_budget(&self) -> LiveBudget {
        let usage = self.limiter.usage();
        let known = self.client_registry.client_registry.clients();
        let name = |id| {
            let client = known.iter().find(|one| BudgetAccount::from(&***one).id == id);
            match client {
                Some(client) => client.name.to_string(),
                None if id == BudgetAccount::SHARED.id => "shared".to_owned(),
                None => "removed client".to_owned(),
            }
        };
        let mut calls = usage.clients;
        calls.sort_unstable_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        calls.truncate(LIVE_CLIENTS);
        LiveBudget {
            limit: usage.limit,
            window_seconds: usage.window.as_secs_f64(),
            available: usage.available,
            waiting: usage.waiting,
            others: usage.external,
            throttled_seconds: usage.throttled.map(|left| left.as_secs_f64()),
            clients: calls
                .iter()
                .map(|&(id, calls)| LiveClient { client: name(id), calls })
                .collect(),
        }
    }

    fn live_token(&self) -> LiveToken {
        let (state, left) = match self.tokens.status() {
            TokenStatus::Starting => ("starting", None),
            TokenStatus::Good(left) => ("valid", Some(left.as_secs())),
            TokenStatus::Refused(_) => ("refused", None),
            TokenStatus::Unavailable(_) => ("unavailable", None),
        };
        let age_seconds = self.tokens.age().map(|age| age.as_secs());
        LiveToken { state, age_seconds, expires_in_seconds: left }
    }
}

fn token(status: TokenStatus) -> (bool, HealthCheck) {
    let (ready, ok, detail) = match status {
        TokenStatus::Starting => (false, false, "being fetched".to_owned()),
        TokenStatus::Good(left) => (true, true, format!("valid for {} s", left.as_secs())),
        TokenStatus::Refused(reason) => (false, false, reason),
        TokenStatus::Unavailable(reason) => (true, false, reason),
    };
    (ready, HealthCheck { name: "token", ok, detail })
}

/// Lost records do not make the service unready. If `audit.on_failure` is `block`, each write is
/// refused with the reason, and reads still work.
fn audit(audit: &AuditLog) -> HealthCheck {
    let state = audit.state();
    let lost = match state.lost {
        0 => "no record lost".to_owned(),
        lost => format!("{lost} records lost since the start"),
    };
    let detail = match &state.failing {
        Some(reason) => format!("cannot be written: {reason}; {lost}"),
        None => lost,
    };
    HealthCheck { name: "audit", ok: state.failing.is_none(), detail }
}

/// A log that cannot be written does not make the service unready: it can still serve requests.
fn log(losses: &LogLosses) -> HealthCheck {
    let lost = match losses.lines() {
        0 => "no line lost".to_owned(),
        lines => format!("{lines} lines lost since the start"),
    };
    let fault = losses.fault();
    let detail = match &fault {
        Some(reason) => format!("cannot be written: {reason}; {lost}"),
        None => lost,
    };
    HealthCheck { name: "log", ok: fault.is_none(), detail }
}

/// A store that fails refuses only the requests that need it.
fn operations(name: &'static str, operations: Option<&OperationQueue>) -> HealthCheck {
    let Some(operations) = operations else {
        let detail = "in memory: idempotency keys only".to_owned();
        return HealthCheck { name, ok: true, detail };
    };
    let (ok, detail) = match operations.status() {
        Ok(summary) => {
            let oldest = summary.oldest.map_or_else(String::new, |oldest| {
                let age = (clock::now() - oldest).whole_seconds().max(0);
                format!(", the oldest for {age} s")
            });
            (true, format!("{} accepted writes wait{oldest}", summary.unfinished))
        }
        Err(error) => (false, format!("no write is accepted for later: {error}")),
    };
    HealthCheck { name, ok, detail }
}

/// An exhausted budget is normal operation. Only a throttle window of upstream is a failure.
fn rate_limit(limiter: &CallLimiter) -> HealthCheck {
    let throttled = limiter.throttle_left();
    let detail = match throttled {
        Some(left) => format!("throttled for {} s more", left.as_secs_f64().ceil()),
        None => format!("room for {} calls", limiter.room()),
    };
    HealthCheck { name: "upstream.rate_limit", ok: throttled.is_none(), detail }
}

fn retry_budget(retries: &RetryPolicy) -> HealthCheck {
    let BudgetState { made, paid_for, has_room } = retries.budget_state();
    let detail = format!(
        "{made} retries made in the last ten seconds; calls have earned {paid_for}, and three a \
         second are free"
    );
    HealthCheck { name: "upstream.retry_budget", ok: has_room, detail }
}

fn upstream(name: &'static str, state: ThrottleState) -> LiveUpstream {
    let ThrottleState { requests, accepts, throttling } = state;
    let state = match throttling {
        ThrottleLevel::Nothing => "ok",
        ThrottleLevel::Share => "reduced",
        ThrottleLevel::FailingConversations => "failingConversations",
        ThrottleLevel::AllButProbes => "probing",
    };
    LiveUpstream { name: name.trim_start_matches("upstream."), state, requests, accepts }
}

fn throttle_check(name: &'static str, state: ThrottleState) -> HealthCheck {
    let refused = match state.throttling {
        ThrottleLevel::Nothing => "no calls are refused",
        ThrottleLevel::Share => "a part of the calls is refused",
        ThrottleLevel::FailingConversations => {
            "of the one or two conversations that fail, only one probing call a second is made"
        }
        ThrottleLevel::AllButProbes => "only one probing call a second is made",
    };
    let ThrottleState { requests, accepts, .. } = state;
    let detail =
        format!("{requests} requests, {accepts} accepts in the last ten seconds; {refused}");
    HealthCheck { name, ok: state.throttling == ThrottleLevel::Nothing, detail }
}
