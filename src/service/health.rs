//! The readiness checks behind `/readyz`.

use std::sync::Arc;

use super::clients_file::ClientSource;
use super::replicas::Replicas;
use super::tls::ServerTls;
use crate::app::{App, OperationQueue};
use crate::audit::AuditLog;
use crate::clock;
use crate::genesys::{CallLimiter, RetryPolicy, TokenCache, TokenStatus, UpstreamThrottle};
use crate::http::{HealthCheck, ReadinessProvider, ReadinessReport};
use crate::policy::{BudgetState, ThrottleLevel, ThrottleState};
use crate::shutdown::ShutdownSignal;
use crate::telemetry::LogLosses;

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
    pub replicas: Option<Replicas>,
    pub operations: Option<OperationQueue>,
}

impl ReadinessProvider for HealthChecks {
    /// The service is unready only while it starts or drains, or if its credentials are refused. An
    /// outage or throttling of upstream affects every replica. If all became unready, clients would
    /// get no clear errors.
    fn report(&self) -> ReadinessReport {
        let (authenticated, token) = self.token();
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
        match &self.replicas {
            Some(replicas) => checks.extend(replicas.checks()),
            None => checks.push(store(self.operations.as_ref())),
        }
        ReadinessReport { ready: authenticated && running, checks }
    }

    fn draining(&self) -> bool {
        self.shutdown.is_draining()
    }
}

impl HealthChecks {
    fn token(&self) -> (bool, HealthCheck) {
        let (ready, ok, detail) = match self.tokens.status() {
            TokenStatus::Starting => (false, false, "being fetched".to_owned()),
            TokenStatus::Good(left) => (true, true, format!("valid for {} s", left.as_secs())),
            TokenStatus::Refused(reason) => (false, false, reason),
            TokenStatus::Unavailable(reason) => (true, false, reason),
        };
        (ready, HealthCheck { name: "token", ok, detail })
    }
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
fn store(operations: Option<&OperationQueue>) -> HealthCheck {
    let Some(operations) = operations else {
        let detail = "in memory: idempotency keys only".to_owned();
        return HealthCheck { name: "store", ok: true, detail };
    };
    let (ok, detail) = match operations.status() {
        Ok(summary) => {
            let oldest = summary.oldest.map_or_else(String::new, |oldest| {
                let age = (clock::now() - oldest).whole_seconds().max(0);
                format!(", the oldest for {age} s")
            });
            (true, format!("{} accepted writes wait{oldest}", summary.unfinished))
        }
        Err(error) => (false, error.to_string()),
    };
    HealthCheck { name: "store", ok, detail }
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
