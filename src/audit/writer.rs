//! Writes audit lines: a bounded queue, and a thread that empties it.
//!
//! Metrics count each record. The log reports the first loss, further losses at most every 10 s, and
//! the recovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::file::LineOutput;
use crate::ports::{AuditWriteError, MetricsRecorder};

/// Most records in the queue, enough for a brief stall of the disk.
const QUEUE_CAPACITY: usize = 4096;

/// Least time between two log lines about losses.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An output that needs longer than this for one line has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A line in the queue; without bytes, it only marks a place.
struct QueuedLine {
    line: Vec<u8>,
    /// Whether its loss counts.
    counts: bool,
    ack: oneshot::Sender<Result<(), AuditWriteError>>,
}

pub(super) struct AuditWriter {
    backend: AuditBackend,
    pub health: Arc<AuditHealth>,
}

enum AuditBackend {
    /// The output does not block, so the request writes.
    Direct(Mutex<Box<dyn LineOutput>>),
    Thread(SyncSender<QueuedLine>),
}

impl AuditWriter {
    pub(super) fn new(mut output: Box<dyn LineOutput>, recorder: Arc<MetricsRecorder>) -> Self {
        let (waiting, state) = (AtomicUsize::default(), Mutex::default());
        let health = Arc::new(AuditHealth { recorder, waiting, state });
        if !output.may_stall() {
            return Self { backend: AuditBackend::Direct(Mutex::new(output)), health };
        }
        let (sender, lines) = mpsc::sync_channel::<QueuedLine>(QUEUE_CAPACITY);
        let for_thread = Arc::clone(&health);
        let run = move || {
            while let Ok(line) = lines.recv() {
                let counts = line.counts;
                for_thread.state.lock().writing_since = Some(Instant::now());
                append(&mut *output, line, &for_thread);
                for_thread.state.lock().writing_since = None;
                for_thread.waiting.fetch_sub(counts.into(), Ordering::Relaxed);
            }
        };
        // Without its thread, the channel is closed, and each record counts as lost.
        let _ = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
        Self { backend: AuditBackend::Thread(sender), health }
    }

    /// Queues a line at once. The future resolves when the line is written or lost.
    pub(super) fn write(
        &self,
        line: Vec<u8>,
        counts: bool,
    ) -> impl Future<Output = Result<(), AuditWriteError>> + Send + use<> {
        let (ack, answer) = oneshot::channel();
        let queued_line = QueuedLine { line, counts, ack };
        match &self.backend {
            AuditBackend::Direct(output) => append(&mut **output.lock(), queued_line, &self.health),
            AuditBackend::Thread(sender) => {
                self.health.waiting.fetch_add(counts.into(), Ordering::Relaxed);
                if sender.try_send(queued_line).is_err() {
                    self.health.waiting.fetch_sub(counts.into(), Ordering::Relaxed);
                    self.health.failed(counts, "the output has stalled, and the queue is full");
                }
            }
        }
        async { answer.await.unwrap_or(Err(AuditWriteError)) }
    }

    /// Waits until all earlier lines are written or lost.
    pub(super) async fn flushed(&self) {
        let AuditBackend::Thread(sender) = &self.backend else { return };
        let sender = sender.clone();
        let (ack, answer) = oneshot::channel();
        let mark = QueuedLine { line: Vec::new(), counts: false, ack };
        // The queue may be full, and then this waits for room.
        let _ = tokio::task::spawn_blocking(move || sender.send(mark)).await;
        let _ = answer.await;
    }
}

fn append(output: &mut dyn LineOutput, queued_line: QueuedLine, health: &AuditHealth) {
    let QueuedLine { line, counts, ack } = queued_line;
    let written = if line.is_empty() { Ok(()) } else { output.append(&line) };
    match &written {
        Ok(()) if line.is_empty() => {}
        Ok(()) => health.written(counts),
        Err(error) => health.failed(counts, &format!("{}: {error}", output.name())),
    }
    // The receiver may not wait for the result.
    let _ = ack.send(written.map_err(|_| AuditWriteError));
}

/// State of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditHealthState {
    /// Why the last record could not be written, if it could not.
    pub failing: Option<String>,
    /// Records lost since the start.
    pub lost: u64,
}

/// Health of the audit log.
pub(super) struct AuditHealth {
    recorder: Arc<MetricsRecorder>,
    /// Lines in the queue whose loss counts.
    waiting: AtomicUsize,
    state: Mutex<WriterState>,
}

#[derive(Default)]
struct WriterState {
    health: AuditHealthState,
    logged_at: Option<Instant>,
    /// When the current write of the thread began.
    writing_since: Option<Instant>,
}

impl AuditHealth {
    pub(super) fn current(&self) -> AuditHealthState {
        let state = self.state.lock();
        let mut health = state.health.clone();
        if state.writing_since.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
            health.failing.get_or_insert_with(|| "the output has stalled".to_owned());
        }
        health
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn written(&self, counts: bool) {
        self.recorder.audit_records.inc_by(counts.into());
        let WriterState { health, logged_at, .. } = &mut *self.state.lock();
        if health.failing.take().is_some() {
            *logged_at = None;
            tracing::warn!(audit.lost = health.lost, "audit records are written again");
        }
    }

    fn failed(&self, counts: bool, reason: &str) {
        self.recorder.audit_lost.inc_by(counts.into());
        let WriterState { health, logged_at, .. } = &mut *self.state.lock();
        health.lost += u64::from(counts);
        health.failing = Some(reason.to_owned());
        if logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *logged_at = Some(Instant::now());
            tracing::error!(audit.lost = health.lost, reason, "audit records cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use super::*;

    /// Accepts one line for each message.
    struct GatedOutput {
        gate: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl LineOutput for GatedOutput {
        fn append(&mut self, line: &[u8]) -> io::Result<()> {
            self.gate.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken.lock().extend_from_slice(line);
            Ok(())
        }

        fn name(&self) -> String {
            "slow".to_owned()
        }
    }

    type Taken = Arc<Mutex<Vec<u8>>>;

    fn slow() -> (AuditWriter, SyncSender<()>, Taken, Arc<AuditHealth>) {
        let (let_in, gate) = sync_channel(1000);
        let taken = Taken::default();
        let output = Box::new(GatedOutput { gate, taken: Arc::clone(&taken) });
        let writer = AuditWriter::new(output, Arc::default());
        let health = Arc::clone(&writer.health);
        (writer, let_in, taken, health)
    }

    fn line(length: usize) -> Vec<u8> {
        vec![b'x'; length]
    }

    #[tokio::test]
    async fn a_line_is_queued_at_once_and_acknowledged_when_written() {
        let (writer, let_in, taken, health) = slow();
        let written = writer.write(line(3), true);
        tokio::pin!(written);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut written).await.is_err(), "not written yet");
        assert_eq!(health.waiting(), 1);
        // The test does not await this one.
        drop(writer.write(line(4), true));
        let_in.send(()).expect("the thread lives");
        assert_eq!(written.await, Ok(()));
        let_in.send(()).expect("the thread lives");
        writer.flushed().await;
        assert_eq!(health.waiting(), 0);
        assert_eq!(taken.lock().len(), 7);
    }

    #[tokio::test]
    async fn lines_beyond_the_queue_are_lost_at_once_and_counted() {
        let (writer, let_in, taken, health) = slow();
        // The thread holds one line, and the queue the others.
        let first = writer.write(line(1), true);
        while health.state.lock().writing_since.is_none() {
            std::thread::yield_now();
        }
        for _ in 0..QUEUE_CAPACITY {
            drop(writer.write(line(1), true));
        }
        let refused = tokio::time::timeout(Duration::from_secs(2), writer.write(line(1), true));
        assert_eq!(refused.await, Ok(Err(AuditWriteError)), "at once");
        assert_eq!((health.current().lost, health.waiting()), (1, QUEUE_CAPACITY + 1));
        let gate =
            std::thread::spawn(move || (0..=QUEUE_CAPACITY).all(|_| let_in.send(()).is_ok()));
        writer.flushed().await;
        assert_eq!(first.await, Ok(()));
        assert!(gate.join().expect("no panic"));
        assert_eq!((taken.lock().len(), health.waiting()), (QUEUE_CAPACITY + 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_output_is_reported_before_lines_are_lost() {
        let (writer, let_in, _taken, health) = slow();
        let waits = writer.write(line(1), true);
        while health.state.lock().writing_since.is_none() {
            std::thread::yield_now();
        }
        assert_eq!(health.current().failing, None, "not for long yet");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(health.current().failing.as_deref(), Some("the output has stalled"));
        let_in.send(()).expect("the thread lives");
        assert_eq!(waits.await, Ok(()));
        while health.state.lock().writing_since.is_some() {
            std::thread::yield_now();
        }
        assert_eq!(health.current().failing, None);
    }
}
