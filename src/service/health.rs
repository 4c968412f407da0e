//! What `/readyz` tells: whether the service wants requests, and what an operator should know.

use std::sync::Arc;

use crate::app::App;
use crate::genesys::{Guard, TokenCache, TokenStatus};
use crate::http::{Check, Readiness, ReadinessReport};
use crate::ports::BreakerState;
use crate::shutdown::Shutdown;

/// Looks at everything that readiness depends on.
pub struct Health {
    pub tokens: TokenCache,
    pub guards: [(&'static str, Arc<Guard>); 2],
    pub app: App,
    pub shutdown: Shutdown,
}

impl Readiness for Health {
    /// Not ready only while starting, draining, or with refused credentials. An outage, a breaker
    /// or throttling would be the same behind every replica: taking all of them out of rotation
    /// would turn clear errors into none at all.
    fn report(&self) -> ReadinessReport {
        let (authenticated, token) = self.token();
        let running = !self.shutdown.is_draining();
        let mut checks = vec![token];
        checks.push(Check {
            name: "lifecycle",
            ok: running,
            detail: if running { "running" } else { "draining" }.to_owned(),
        });
        checks.extend(self.guards.iter().map(|(name, guard)| breaker(name, guard.state())));
        let advised = self.app.advises_full_patches();
        checks.push(Check {
            name: "upstream.merging",
            ok: !advised,
            detail: if advised {
                "upstream replaces the map: set genesys.patch_body = \"full\"".to_owned()
            } else {
                "no sign of upstream replacing the map".to_owned()
            },
        });
        ReadinessReport { ready: authenticated && running, checks }
    }

    fn draining(&self) -> bool {
        self.shutdown.is_draining()
    }
}

impl Health {
    fn token(&self) -> (bool, Check) {
        let (ready, ok, detail) = match self.tokens.status() {
            TokenStatus::Starting => (false, false, "being fetched".to_owned()),
            TokenStatus::Good(left) => (true, true, format!("good for {} s", left.as_secs())),
            TokenStatus::Refused(reason) => (false, false, reason),
            TokenStatus::Unavailable(reason) => (true, false, reason),
        };
        (ready, Check { name: "token", ok, detail })
    }
}

fn breaker(name: &'static str, state: BreakerState) -> Check {
    let detail = match state {
        BreakerState::Closed => "circuit breaker closed",
        BreakerState::HalfOpen => "circuit breaker half open: a probe is out",
        BreakerState::Open => "circuit breaker open: too many calls failed lately",
    };
    Check { name, ok: state == BreakerState::Closed, detail: detail.to_owned() }
}
