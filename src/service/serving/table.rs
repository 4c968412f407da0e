//! All connections, by whom they count for.
//!
//! Where there is no room, the newcomer gets the place of the connection that has gone longest without
//! a request: of the same address, if that has reached its share, else of the one that holds most.
//! So whoever piles up connections loses his own. Those that have brought no request yet go first: else
//! many who connect once each would push out the kept connections of whoever works here. One with a request under way is never ended for
//! another; only if all are, the newcomer is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Bounds;
use super::line::{Clock, Line, Phase};
use crate::config::Network;
use crate::http::Source;
use crate::telemetry::{Ended, Metrics};

/// How many are looked at to find one to end: enough to find an old one, and little work under a
/// flood of new ones.
const LOOKED_AT: usize = 64;

/// The connections.
pub struct Table {
    bounds: Bounds,
    /// Those who bring connections of many callers, so that no share is theirs.
    trusted: Arc<[Network]>,
    metrics: Metrics,
    clock: Clock,
    started: Instant,
    lines: Mutex<Lines>,
    emptied: Notify,
}

#[derive(Default)]
struct Lines {
    by_source: BTreeMap<Source, Vec<Arc<Line>>>,
    total: usize,
    /// Where the last search ended, so that the next one looks at others.
    cursor: Option<Source>,
    turn: usize,
}

/// Which connections without a request so far go before those that have had one.
#[derive(Clone, Copy)]
enum Fresh {
    All,
    LongerThanAMoment,
}

impl Fresh {
    fn holds(self, line: &Line) -> bool {
        line.is_fresh() && (matches!(self, Self::All) || !line.lasted().is_zero())
    }
}

/// The place of a connection; it is free again when this is dropped.
pub struct Place {
    table: Arc<Table>,
    source: Source,
    line: Arc<Line>,
}

impl Place {
    /// Its connection.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.table.lines();
        lines.remove(self.source, &self.line);
        self.table.changed(&lines);
    }
}

impl Table {
    /// No connections.
    pub fn new(bounds: Bounds, trusted: Arc<[Network]>, metrics: Metrics) -> Self {
        Self {
            bounds,
            trusted,
            metrics,
            clock: Clock::default(),
            started: Instant::now(),
            lines: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    /// Gives a new connection a place, if there is one or one can be had.
    pub fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let source = Source::of(address.ip());
        let mut lines = self.lines();
        let of_source = lines.by_source.get(&source).map_or(0, Vec::len);
        let shares = self.trusted.iter().any(|proxy| proxy.contains(address.ip()));
        if of_source >= self.bounds.per_address && !shares {
            self.end(lines.longest_waiting(source, Fresh::All))?;
        } else if lines.total >= self.bounds.connections {
            self.end(lines.longest_waiting_of_heaviest(Fresh::All))?;
        }
        let line = Arc::new(Line::new(self.clock.clone()));
        lines.add(source, Arc::clone(&line));
        self.changed(&lines);
        drop(lines);
        Some(Place { table: Arc::clone(self), source, line })
    }

    /// Ends one connection without a request, if there is any; not the very one that was just taken, which
    /// may have used up what was left.
    pub fn make_room(&self) {
        let victim = self.lines().longest_waiting_of_heaviest(Fresh::LongerThanAMoment);
        self.end(victim);
    }

    fn end(&self, line: Option<Arc<Line>>) -> Option<()> {
        line?.end();
        self.metrics.connection_ended(Ended::Displaced);
        Some(())
    }

    /// Ends the connections whose time is up.
    pub fn look(&self) {
        self.clock.set(self.started.elapsed());
        self.end_where(|line| {
            // Also with a request under way, whose answer has to wait for an earlier one.
            if line.stalled() >= self.bounds.answer_timeout {
                return Some(Ended::AnswerTimeout);
            }
            let (limit, ended) = match line.phase() {
                Phase::Busy | Phase::Answering => return None,
                Phase::Opening | Phase::Head => (self.bounds.header_timeout, Ended::HeaderTimeout),
                Phase::Handshake => (self.bounds.handshake_timeout, Ended::HandshakeTimeout),
                Phase::Idle => (self.bounds.idle_timeout, Ended::IdleTimeout),
            };
            (line.lasted() >= limit).then_some(ended)
        });
    }

    /// Ends the connections that no request is under way on, but those that began less than `fresh` ago:
    /// their request may stand in a buffer already.
    pub fn end_those_that_rest(&self, fresh: Duration) {
        self.end_where(|line| {
            let rests = match line.phase() {
                Phase::Busy | Phase::Answering => false,
                Phase::Idle => true,
                Phase::Opening | Phase::Head | Phase::Handshake => line.lasted() >= fresh,
            };
            rests.then_some(Ended::Shutdown)
        });
    }

    /// Ends every connection.
    pub fn end_all(&self) {
        self.end_where(|_| Some(Ended::Shutdown));
    }

    fn end_where(&self, verdict: impl Fn(&Line) -> Option<Ended>) {
        for line in self.lines().by_source.values().flatten() {
            if let Some(ended) = verdict(line)
                && line.end()
            {
                self.metrics.connection_ended(ended);
            }
        }
    }

    /// Waits until there is no connection.
    pub async fn empty(&self) {
        let mut emptied = std::pin::pin!(self.emptied.notified());
        loop {
            emptied.as_mut().enable();
            if self.lines().total == 0 {
                return;
            }
            emptied.as_mut().await;
            emptied.set(self.emptied.notified());
        }
    }

    /// Tells of the new number, under the lock, so that the last one told is the last one.
    fn changed(&self, lines: &Lines) {
        self.metrics.connections(lines.total);
        if lines.total == 0 {
            self.emptied.notify_waiters();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, source: Source, line: Arc<Line>) {
        self.by_source.entry(source).or_default().push(line);
        self.total += 1;
    }

    fn remove(&mut self, source: Source, line: &Arc<Line>) {
        let Some(lines) = self.by_source.get_mut(&source) else { return };
        if let Some(at) = lines.iter().position(|other| Arc::ptr_eq(other, line)) {
            lines.swap_remove(at);
            self.total -= 1;
        }
        if lines.is_empty() {
            self.by_source.remove(&source);
        }
    }

    /// The connection of this source that has gone longest without a request, among some, and those
    /// first that have brought none; taken out.
    fn longest_waiting(&mut self, source: Source, which: Fresh) -> Option<Arc<Line>> {
        let lines = self.by_source.get(&source)?;
        self.turn = self.turn.wrapping_add(LOOKED_AT);
        let begin = self.turn % lines.len().max(1);
        let some = lines[begin..].iter().chain(&lines[..begin]).take(LOOKED_AT);
        let waiting = some.filter(|line| line.is_waiting() && line.can_end());
        let rank = |line: &&Arc<Line>| (which.holds(line), line.lasted(), !line.is_fresh());
        let found = waiting.max_by_key(rank).cloned()?;
        self.remove(source, &found);
        Some(found)
    }

    /// How many connections of this source have brought no request, among some, and for how long one of
    /// them has not.
    fn fresh_of(&self, source: Source, which: Fresh) -> Option<(usize, Duration, Source)> {
        let some = self.by_source.get(&source)?.iter().take(LOOKED_AT);
        let fresh = some.filter(|line| which.holds(line) && line.can_end());
        let (count, longest) = fresh.fold((0, Duration::ZERO), |(count, longest), line| {
            (count + 1, longest.max(line.lasted()))
        });
        (count > 0).then_some((count, longest, source))
    }

    /// The same for the source that holds most, among some: of those that have brought no request, if
    /// there are any.
    fn longest_waiting_of_heaviest(&mut self, which: Fresh) -> Option<Arc<Line>> {
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let others = self.by_source.range((after, Bound::Unbounded));
        let some = others.chain(&self.by_source).take(LOOKED_AT);
        let mut found: Vec<_> = some.map(|(source, lines)| (lines.len(), *source)).collect();
        self.cursor = found.last().map(|(_, source)| *source);
        let most_fresh = found.iter().filter_map(|(_, source)| self.fresh_of(*source, which)).max();
        if let Some((_, _, source)) = most_fresh
            && let Some(line) = self.longest_waiting(source, which)
        {
            return Some(line);
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().find_map(|(_, source)| self.longest_waiting(source, which))
    }
}

#[cfg(test)]
mod tests;
