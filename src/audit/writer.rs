//! Writes audit lines: a queue bounded in bytes, and a thread that empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::health::AuditHealth;
use super::output::LineOutput;
use crate::ports::AuditWriteError;

/// Most bytes in the queue: some thousands of records, enough for a brief stall of the disk.
const QUEUE_CAPACITY: usize = 8 * 1024 * 1024;

/// A line in the queue.
pub(super) struct QueuedLine {
    pub line: Vec<u8>,
    /// Whether its loss counts.
    pub counts: bool,
}

type WriteAck = oneshot::Sender<Result<(), AuditWriteError>>;

/// Writes lines to an output.
pub(super) struct AuditWriter {
    backend: AuditBackend,
    /// Bytes in the queue.
    waiting: Arc<AtomicUsize>,
    /// Lines in the queue whose loss counts.
    lines: Arc<AtomicUsize>,
    health: Arc<AuditHealth>,
}

enum AuditBackend {
    /// The output does not block, so the request writes.
    Direct(Mutex<Box<dyn LineOutput>>),
    /// A thread writes; `None` if it could not be started.
    Thread(Option<Sender<(QueuedLine, WriteAck)>>),
}

impl AuditWriter {
    pub(super) fn new(output: Box<dyn LineOutput>, health: Arc<AuditHealth>) -> Self {
        let (waiting, lines) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let backend = if output.may_stall() {
            let (sender, receiver) = mpsc::channel();
            let (health, waiting, lines) = (health.clone(), waiting.clone(), lines.clone());
            let writer = WriterThread { output, health, waiting, lines };
            let thread = std::thread::Builder::new().name("audit".to_owned());
            AuditBackend::Thread(thread.spawn(move || writer.run(&receiver)).ok().map(|_| sender))
        } else {
            AuditBackend::Direct(Mutex::new(output))
        };
        Self { backend, waiting, lines, health }
    }

    /// Queues a line at once. The future resolves when the line is written or lost.
    pub(super) fn write(
        &self,
        entry: QueuedLine,
    ) -> impl Future<Output = Result<(), AuditWriteError>> + Send + use<> {
        let (ack, answer) = oneshot::channel();
        match &self.backend {
            AuditBackend::Direct(output) => {
                let mut output = output.lock();
                let _ = ack.send(append(&mut **output, &entry, &self.health));
            }
            AuditBackend::Thread(sender) => self.queue(sender.as_ref(), entry, ack),
        }
        async { answer.await.unwrap_or(Err(AuditWriteError)) }
    }

    /// Number of queued lines whose loss would count.
    pub(super) fn waiting(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    fn queue(
        &self,
        sender: Option<&Sender<(QueuedLine, WriteAck)>>,
        entry: QueuedLine,
        ack: WriteAck,
    ) {
        let (length, counts) = (entry.line.len(), entry.counts);
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        if before + length > QUEUE_CAPACITY {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.health.failed(counts, "the output has stalled, and the queue is full");
            return;
        }
        self.lines.fetch_add(usize::from(counts), Ordering::Relaxed);
        if sender.is_none_or(|sender| sender.send((entry, ack)).is_err()) {
            self.lines.fetch_sub(usize::from(counts), Ordering::Relaxed);
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.health.failed(counts, "the writer thread has ended");
        }
    }

    /// Waits until all earlier lines are written or lost.
    pub(super) async fn flushed(&self) {
        if let AuditBackend::Thread(Some(sender)) = &self.backend {
            let (ack, answer) = oneshot::channel();
            let nothing = QueuedLine { line: Vec::new(), counts: false };
            if sender.send((nothing, ack)).is_ok() {
                let _ = answer.await;
            }
        }
    }
}

/// The state of the thread.
struct WriterThread {
    output: Box<dyn LineOutput>,
    health: Arc<AuditHealth>,
    waiting: Arc<AtomicUsize>,
    lines: Arc<AtomicUsize>,
}

impl WriterThread {
    fn run(mut self, entries: &Receiver<(QueuedLine, WriteAck)>) {
        while let Ok((entry, ack)) = entries.recv() {
            self.health.write_started();
            let written = append(&mut *self.output, &entry, &self.health);
            self.health.write_ended();
            self.waiting.fetch_sub(entry.line.len(), Ordering::Relaxed);
            self.lines.fetch_sub(usize::from(entry.counts), Ordering::Relaxed);
            // The receiver may not wait for the result.
            let _ = ack.send(written);
        }
    }
}

fn append(
    output: &mut dyn LineOutput,
    entry: &QueuedLine,
    health: &AuditHealth,
) -> Result<(), AuditWriteError> {
    if entry.line.is_empty() {
        return Ok(());
    }
    match output.append(&entry.line) {
        Ok(()) => {
            health.written(entry.counts);
            Ok(())
        }
        Err(error) => {
            health.failed(entry.counts, &format!("{}: {error}", output.name()));
            Err(AuditWriteError)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use super::*;
    use crate::ports::NoMeter;

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
        let health = Arc::new(AuditHealth::new(Arc::new(NoMeter)));
        let output = Box::new(GatedOutput { gate, taken: Arc::clone(&taken) });
        (AuditWriter::new(output, Arc::clone(&health)), let_in, taken, health)
    }

    fn entry(length: usize) -> QueuedLine {
        QueuedLine { line: vec![b'x'; length], counts: true }
    }

    #[tokio::test]
    async fn a_line_is_queued_at_once_and_acknowledged_when_written() {
        let (writer, let_in, taken, _health) = slow();
        let written = writer.write(entry(3));
        tokio::pin!(written);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut written).await.is_err(), "not written yet");
        assert_eq!(writer.waiting(), 1);
        // The test does not await this one.
        drop(writer.write(entry(4)));
        let_in.send(()).expect("the thread lives");
        assert_eq!(written.await, Ok(()));
        let_in.send(()).expect("the thread lives");
        writer.flushed().await;
        assert_eq!(writer.waiting(), 0);
        assert_eq!(taken.lock().len(), 7);
    }

    #[tokio::test]
    async fn lines_beyond_the_queue_are_lost_at_once_and_counted() {
        let (writer, let_in, taken, health) = slow();
        let waits = writer.write(entry(QUEUE_CAPACITY - 10));
        let refused = tokio::time::timeout(Duration::from_secs(2), writer.write(entry(11))).await;
        assert_eq!(refused, Ok(Err(AuditWriteError)), "at once");
        assert_eq!(health.state().lost, 1);
        let fits = writer.write(entry(10));
        let_in.send(()).expect("the thread lives");
        let_in.send(()).expect("the thread lives");
        assert_eq!((waits.await, fits.await), (Ok(()), Ok(())));
        assert_eq!(taken.lock().len(), QUEUE_CAPACITY);
        // The queue has room again.
        let_in.send(()).expect("the thread lives");
        assert_eq!(writer.write(entry(QUEUE_CAPACITY)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_output_is_reported_before_lines_are_lost() {
        let (writer, let_in, _taken, health) = slow();
        let waits = writer.write(entry(1));
        while !health.is_writing() {
            std::thread::yield_now();
        }
        assert_eq!(health.state().failing, None, "not for long yet");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(health.state().failing.as_deref(), Some("the output has stalled"));
        let_in.send(()).expect("the thread lives");
        assert_eq!(waits.await, Ok(()));
        while health.is_writing() {
            std::thread::yield_now();
        }
        assert_eq!(health.state().failing, None);
    }
}
