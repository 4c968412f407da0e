//! One connection, as those see it who keep it within its bounds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The head of the first request is awaited, or arrives.
    Opening = 0,
    /// A request is answered; its body may still be arriving.
    Busy = 1,
    /// The last request was answered, its answer was taken, and nothing came since.
    Idle = 2,
    /// The head of a further request has begun to arrive.
    Head = 3,
    /// The TLS handshake is made.
    Handshake = 4,
    /// The answer is there, and not all of it was taken yet.
    Answering = 5,
}

/// Bits of the mark that hold the phase; the others hold when it began.
const PHASE_BITS: u32 = 3;

/// A connection's phase, and the way to end it.
#[derive(Debug)]
pub struct Line {
    /// Phase and the moment in which it began, in one word, so that both are always of one time. The
    /// moments are those of [`Clock`].
    mark: AtomicU64,
    /// When the caller ceased to take what is sent, and one more; 0 while it takes it.
    stalled: AtomicU64,
    clock: Clock,
    task: OnceLock<AbortHandle>,
    ended: AtomicBool,
}

/// Milliseconds since the start, as of the last look at all connections. Reading it costs a request
/// less than asking the time would, and no bound is finer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(std::sync::Arc<AtomicU64>);

impl Clock {
    /// Sets the time.
    pub fn set(&self, since_start: Duration) {
        let millis = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Line {
    /// A new connection.
    pub fn new(clock: Clock) -> Self {
        let line = Self {
            mark: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            clock,
            task: OnceLock::new(),
            ended: AtomicBool::new(false),
        };
        line.enter(Phase::Opening);
        line
    }

    /// Enters a phase, now.
    pub fn enter(&self, phase: Phase) {
        let mark = self.clock.now() << PHASE_BITS | phase as u64;
        self.mark.store(mark, Ordering::Relaxed);
    }

    /// Bytes arrived.
    pub fn heard(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// The caller took a piece of what is sent, or at this moment takes nothing.
    pub fn takes(&self, piece: bool) {
        if piece {
            self.stalled.store(0, Ordering::Relaxed);
        } else if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.clock.now() + 1, Ordering::Relaxed);
        }
    }

    /// For how long the caller has taken nothing of what is sent.
    pub fn stalled(&self) -> Duration {
        match self.stalled.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.clock.now().saturating_sub(since - 1)),
        }
    }

    /// Nothing is left of the answer.
    pub fn took_all(&self) {
        if self.phase() == Phase::Answering {
            self.enter(Phase::Idle);
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        match self.mark.load(Ordering::Relaxed) & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Opening,
            1 => Phase::Busy,
            2 => Phase::Idle,
            3 => Phase::Head,
            4 => Phase::Handshake,
            _ => Phase::Answering,
        }
    }

    /// Whether nothing is under way on it that would be cut.
    pub fn is_waiting(&self) -> bool {
        !matches!(self.phase(), Phase::Busy | Phase::Answering)
    }

    /// Whether it has brought no request yet.
    pub fn is_fresh(&self) -> bool {
        matches!(self.phase(), Phase::Opening | Phase::Handshake)
    }

    /// For how long it has been doing it.
    pub fn lasted(&self) -> Duration {
        let began = self.mark.load(Ordering::Relaxed) >> PHASE_BITS;
        Duration::from_millis(self.clock.now().saturating_sub(began))
    }

    /// Names the task that serves it.
    pub fn runs_as(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Whether it can be ended: its task has been made, and not been ended yet.
    pub fn can_end(&self) -> bool {
        self.task.get().is_some() && !self.ended.load(Ordering::Relaxed)
    }

    /// Ends it; false if it cannot be ended.
    pub fn end(&self) -> bool {
        let Some(task) = self.task.get() else { return false };
        task.abort();
        !self.ended.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_arrives_between_requests_begins_a_head() {
        let clock = Clock::default();
        let line = Line::new(clock.clone());
        line.heard();
        assert_eq!(line.phase(), Phase::Opening);
        line.enter(Phase::Busy);
        line.heard();
        assert_eq!(line.phase(), Phase::Busy);
        line.enter(Phase::Idle);
        clock.set(Duration::from_secs(3));
        assert_eq!(line.lasted(), Duration::from_secs(3));
        line.heard();
        assert_eq!((line.phase(), line.lasted()), (Phase::Head, Duration::ZERO));
        clock.set(Duration::from_secs(5));
        line.heard();
        assert_eq!((line.phase(), line.lasted()), (Phase::Head, Duration::from_secs(2)));
    }

    #[test]
    fn an_answer_is_over_when_all_of_it_was_taken() {
        let clock = Clock::default();
        let line = Line::new(clock.clone());
        line.enter(Phase::Busy);
        line.took_all();
        assert_eq!(line.phase(), Phase::Busy);
        line.enter(Phase::Answering);
        assert!(!line.is_waiting());
        line.took_all();
        assert!(line.is_waiting());
    }

    #[test]
    fn a_caller_has_stalled_since_it_took_nothing_more() {
        let clock = Clock::default();
        let line = Line::new(clock.clone());
        line.takes(false);
        clock.set(Duration::from_secs(3));
        line.takes(false);
        assert_eq!(line.stalled(), Duration::from_secs(3));
        line.takes(true);
        assert_eq!(line.stalled(), Duration::ZERO);
        line.takes(false);
        clock.set(Duration::from_secs(4));
        assert_eq!(line.stalled(), Duration::from_secs(1));
    }
}
