//! The readiness checks behind `/readyz`.

use super::clients_file::ClientSource;
use super::replicas::Replicas;
use super::tls::ServerTls;
use super::upstream::UpstreamSide;
use crate::app::{App, OperationQueue};
use crate::audit::AuditLog;
use crate::clock;
use crate::genesys::{CallLimiter, RetryPolicy, TokenStatus};
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
    pub upstream: UpstreamSide,
    pub app: App,
    pub shutdown: ShutdownSignal,
    pub audit: Option<AuditLog>,
    pub tls: Option<ServerTls>,
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
        let status = self.upstream.tokens.status();
        let credentials_refused = matches!(status, TokenStatus::Refused(_));
        let (authenticated, token) = token(status);
        let running = !self.shutdown.is_draining();
        let mut checks = vec![token];
        checks.push(check("lifecycle", running, if running { "running" } else { "draining" }));
        checks.extend(
            self.upstream.throttles.iter().map(|(name, one)| throttle_check(name, one.state())),
        );
        checks.push(rate_limit(&self.upstream.limiter));
        checks.push(retry_budget(&self.upstream.retries));
        checks.extend(self.tls.as_ref().map(ServerTls::check));
        let replaces = self.app.advises_full_patches();
        let detail = if replaces {
            "upstream replaces the map: set genesys.patch_body = \"full\""
        } else {
            "no sign of upstream replacing the map"
        };
        checks.push(check("upstream.merging", !replaces, detail));
        // Lost records do not make the service unready. If `audit.on_failure` is `block`, each write is
        // refused with the reason, and reads still work.
        checks.extend(self.audit.as_ref().map(|audit| {
            let state = audit.state();
            losses("audit", state.failing, (state.lost, "record", "records"))
        }));
        checks.extend(self.client_registry.check());
        checks.push(losses("log", self.log.fault(), (self.log.lines(), "line", "lines")));
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
        let throttles = self.upstream.throttles.iter();
        LiveStatus {
            at: clock::timestamp(),
            ready: token(self.upstream.tokens.status()).0 && !self.shutdown.is_draining(),
            budget: self.live_budget(),
            upstream: throttles.map(|(name, one)| upstream(name, one.state())).collect(),
            token: self.live_token(),
            writes: LiveWrites { waiting, in_flight },
            visibility_lag: LiveLag { p50_ms: lag(50), p95_ms: lag(95) },
            operations: Vec::new(),
        }
    }

    fn live_budget(&self) -> LiveBudget {
        let usage = self.upstream.limiter.usage();
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
                .into_iter()
                .map(|(id, calls)| LiveClient { client: name(id), calls })
                .collect(),
        }
    }

    fn live_token(&self) -> LiveToken {
        let (state, left) = match self.upstream.tokens.status() {
            TokenStatus::Starting => ("starting", None),
            TokenStatus::Good(left) => ("valid", Some(left.as_secs())),
            TokenStatus::Refused(_) => ("refused", None),
            TokenStatus::Unavailable(_) => ("unavailable", None),
        };
        let age_seconds = self.upstream.tokens.age().map(|age| age.as_secs());
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
    (ready, check("token", ok, detail))
}

fn check(name: &'static str, ok: bool, detail: impl Into<String>) -> HealthCheck {
    HealthCheck { name, ok, detail: detail.into() }
}

/// Whether records can be written, and how many were lost. The service can still serve requests.
fn losses(
    name: &'static str,
    fault: Option<String>,
    (lost, one, many): (u64, &str, &str),
) -> HealthCheck {
    let lost = match lost {
        0 => format!("no {one} lost"),
        lost => format!("{lost} {many} lost since the start"),
    };
    match fault {
        Some(reason) => check(name, false, format!("cannot be written: {reason}; {lost}")),
        None => check(name, true, lost),
    }
}

/// A store that fails refuses only the requests that need it.
fn operations(name: &'static str, operations: Option<&OperationQueue>) -> HealthCheck {
    let Some(operations) = operations else {
        return check(name, true, "in memory: idempotency keys only");
    };
    match operations.status() {
        Ok(summary) => {
            let oldest = summary.oldest.map_or_else(String::new, |oldest| {
                let age = (clock::now() - oldest).whole_seconds().max(0);
                format!(", the oldest for {age} s")
            });
            check(name, true, format!("{} accepted writes wait{oldest}", summary.unfinished))
        }
        Err(error) => check(name, false, format!("no write is accepted for later: {error}")),
    }
}

/// An exhausted budget is normal operation. Only a throttle window of upstream is a failure.
fn rate_limit(limiter: &CallLimiter) -> HealthCheck {
    let throttled = limiter.throttle_left();
    let detail = match throttled {
        Some(left) => format!("throttled for {} s more", left.as_secs_f64().ceil()),
        None => format!("room for {} calls", limiter.room()),
    };
    check("upstream.rate_limit", throttled.is_none(), detail)
}

fn retry_budget(retries: &RetryPolicy) -> HealthCheck {
    let BudgetState { made, paid_for, has_room } = retries.budget_state();
    let detail = format!(
        "{made} retries made in the last ten seconds; calls have earned {paid_for}, and three a \
         second are free"
    );
    check("upstream.retry_budget", has_room, detail)
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
    check(name, state.throttling == ThrottleLevel::Nothing, detail)
}
