//! The state of a connection and its timeouts.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::telemetry::CloseReason;

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum number of connections.
    pub connections: usize,
    /// Maximum number of connections of one address.
    pub per_address: usize,
    /// Largest head of a request, in bytes.
    pub header_bytes: usize,
    /// Time for the head of a request to arrive.
    pub header_timeout: Duration,
    /// Time between a response and the next request.
    pub idle_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time in which a client may read nothing of its response.
    pub answer_timeout: Duration,
}

impl ConnectionLimits {
    /// Time between two checks of a connection, and so the inaccuracy of its timeouts.
    fn check_interval(&self) -> Duration {
        let shortest = self.header_timeout.min(self.idle_timeout).min(self.answer_timeout);
        (shortest / 4).max(Duration::from_millis(20))
    }
}

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionPhase {
    /// The connection is new, or the head of a request arrives.
    ReadHead,
    /// A request is being handled; its body may still arrive.
    Handle,
    /// The client reads a response, or has sent nothing since.
    KeepAlive,
}

/// The state of one connection, reported by its I/O and its requests.
pub struct ConnectionState(Mutex<PhaseTimes>);

struct PhaseTimes {
    phase: ConnectionPhase,
    /// When the phase began, or the client last read something in it.
    since: Instant,
    /// The time since which the client has read nothing of the response.
    blocked_since: Option<Instant>,
}

impl ConnectionState {
    /// The state of a new connection.
    pub fn new() -> Self {
        let (phase, since) = (ConnectionPhase::ReadHead, Instant::now());
        Self(Mutex::new(PhaseTimes { phase, since, blocked_since: None }))
    }

    /// Reports that bytes arrived.
    pub fn received(&self) {
        let mut times = self.0.lock();
        if times.phase == ConnectionPhase::KeepAlive {
            (times.phase, times.since) = (ConnectionPhase::ReadHead, Instant::now());
        }
    }

    /// Reports that a request begins.
    pub fn request_started(&self) {
        self.0.lock().phase = ConnectionPhase::Handle;
    }

    /// Reports that its response exists.
    pub fn answer_started(&self) {
        let mut times = self.0.lock();
        (times.phase, times.since) = (ConnectionPhase::KeepAlive, Instant::now());
    }

    /// Reports how many bytes of a response the client has accepted; `None` if it accepts none for now.
    pub fn wrote(&self, accepted: Option<usize>) {
        let mut times = self.0.lock();
        if accepted.is_none() {
            times.blocked_since.get_or_insert_with(Instant::now);
            return;
        }
        times.blocked_since = None;
        if accepted != Some(0) && times.phase != ConnectionPhase::Handle {
            times.since = Instant::now();
        }
    }

    /// The timeout that the connection has exceeded, if any.
    pub fn timed_out(&self, limits: &ConnectionLimits) -> Option<CloseReason> {
        let times = self.0.lock();
        // This applies while a request is handled, too: its response waits for an earlier one.
        if times.blocked_since.is_some_and(|since| since.elapsed() >= limits.answer_timeout) {
            return Some(CloseReason::AnswerTimeout);
        }
        let (limit, reason) = match times.phase {
            ConnectionPhase::Handle => return None,
            ConnectionPhase::ReadHead => (limits.header_timeout, CloseReason::HeaderTimeout),
            ConnectionPhase::KeepAlive => (limits.idle_timeout, CloseReason::IdleTimeout),
        };
        (times.since.elapsed() >= limit).then_some(reason)
    }

    /// Waits until the connection exceeds a timeout.
    pub async fn timeout(&self, limits: &ConnectionLimits) -> CloseReason {
        loop {
            tokio::time::sleep(limits.check_interval()).await;
            if let Some(reason) = self.timed_out(limits) {
                return reason;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        connections: 1,
        per_address: 1,
        header_bytes: 1,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        handshake_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(7),
    };

    async fn after(state: &ConnectionState, seconds: u64) -> Option<CloseReason> {
        advance(Duration::from_secs(seconds)).await;
        state.timed_out(&LIMITS)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_less_time_than_an_idle_connection() {
        let state = ConnectionState::new();
        assert_eq!(after(&state, 9).await, None);
        assert_eq!(after(&state, 1).await, Some(CloseReason::HeaderTimeout));
        state.request_started();
        assert_eq!(after(&state, 1000).await, None, "the deadline of the request decides");
        state.answer_started();
        assert_eq!(after(&state, 74).await, None);
        state.received();
        assert_eq!(after(&state, 9).await, None);
        assert_eq!(after(&state, 1).await, Some(CloseReason::HeaderTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_at_its_limit() {
        let state = ConnectionState::new();
        state.request_started();
        state.wrote(Some(9));
        assert_eq!(after(&state, 80).await, None, "an earlier response has no effect");
        state.answer_started();
        assert_eq!(after(&state, 75).await, Some(CloseReason::IdleTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_not_idle_while_it_sends() {
        let state = ConnectionState::new();
        state.request_started();
        state.answer_started();
        assert_eq!(after(&state, 70).await, None);
        state.wrote(Some(1));
        assert_eq!(after(&state, 70).await, None);
        assert_eq!(after(&state, 5).await, Some(CloseReason::IdleTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_client_times_out_and_a_slow_one_does_not() {
        let state = ConnectionState::new();
        state.request_started();
        for _ in 0..5 {
            state.wrote(None);
            assert_eq!(after(&state, 6).await, None);
            state.wrote(Some(1));
        }
        state.wrote(None);
        assert_eq!(after(&state, 7).await, Some(CloseReason::AnswerTimeout));
    }
}
