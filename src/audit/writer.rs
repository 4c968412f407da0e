//! From the requests to the output: a queue that is bounded in bytes, and a thread at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::health::AuditHealth;
use super::output::LineOutput;
use crate::ports::AuditWriteError;

/// Most that waits to be written: some thousands of records, and as long as a disk may think.
const QUEUE_CAPACITY: usize = 8 * 1024 * 1024;

/// A line on its way.
pub(super) struct QueuedLine {
    pub line: Vec<u8>,
    /// Its loss counts.
    pub counts: bool,
}

type WriteAck = oneshot::Sender<Result<(), AuditWriteError>>;

/// The way to an output.
pub(super) struct AuditWriter {
    way: AuditBackend,
    /// Bytes.
    waiting: Arc<AtomicUsize>,
    /// Lines whose loss counts.
    lines: Arc<AtomicUsize>,
    ledger: Arc<AuditHealth>,
}

enum AuditBackend {
    /// An output that takes no time.
    Direct(Mutex<Box<dyn LineOutput>>),
    /// `None` where no thread could be started.
    Thread(Option<Sender<(QueuedLine, WriteAck)>>),
}

impl AuditWriter {
    pub(super) fn new(output: Box<dyn LineOutput>, ledger: Arc<AuditHealth>) -> Self {
        let (waiting, lines) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let way = if output.may_stall() {
            let (sender, receiver) = mpsc::channel();
            let (ledger, waiting, lines) = (ledger.clone(), waiting.clone(), lines.clone());
            let writer = WriterThread { output, ledger, waiting, lines };
            let thread = std::thread::Builder::new().name("audit".to_owned());
            AuditBackend::Thread(thread.spawn(move || writer.run(&receiver)).ok().map(|_| sender))
        } else {
            AuditBackend::Direct(Mutex::new(output))
        };
        Self { way, waiting, lines, ledger }
    }

    /// Takes a line, now; the future tells whether it was written.
    pub(super) fn write(
        &self,
        entry: QueuedLine,
    ) -> impl Future<Output = Result<(), AuditWriteError>> + Send + use<> {
        let (told, answer) = oneshot::channel();
        match &self.way {
            AuditBackend::Direct(output) => {
                let mut output = output.lock();
                let _ = told.send(append(&mut **output, &entry, &self.ledger));
            }
            AuditBackend::Thread(sender) => self.queue(sender.as_ref(), entry, told),
        }
        async { answer.await.unwrap_or(Err(AuditWriteError)) }
    }

    /// Lines that are not written yet, and whose loss would count.
    pub(super) fn waiting(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    fn queue(
        &self,
        sender: Option<&Sender<(QueuedLine, WriteAck)>>,
        entry: QueuedLine,
        told: WriteAck,
    ) {
        let (length, counts) = (entry.line.len(), entry.counts);
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        if before + length > QUEUE_CAPACITY {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.ledger.failed(counts, "the output stands still, and too much waits for it");
            return;
        }
        self.lines.fetch_add(usize::from(counts), Ordering::Relaxed);
        if sender.is_none_or(|sender| sender.send((entry, told)).is_err()) {
            self.lines.fetch_sub(usize::from(counts), Ordering::Relaxed);
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.ledger.failed(counts, "the thread that writes is gone");
        }
    }

    /// Ends when all that was taken before has been written, or was lost.
    pub(super) async fn flushed(&self) {
        if let AuditBackend::Thread(Some(sender)) = &self.way {
            let (told, answer) = oneshot::channel();
            let nothing = QueuedLine { line: Vec::new(), counts: false };
            if sender.send((nothing, told)).is_ok() {
                let _ = answer.await;
            }
        }
    }
}

/// What the thread works with.
struct WriterThread {
    output: Box<dyn LineOutput>,
    ledger: Arc<AuditHealth>,
    waiting: Arc<AtomicUsize>,
    lines: Arc<AtomicUsize>,
}

impl WriterThread {
    fn run(mut self, entries: &Receiver<(QueuedLine, WriteAck)>) {
        while let Ok((entry, told)) = entries.recv() {
            self.ledger.begins();
            let written = append(&mut *self.output, &entry, &self.ledger);
            self.ledger.ended();
            self.waiting.fetch_sub(entry.line.len(), Ordering::Relaxed);
            self.lines.fetch_sub(usize::from(entry.counts), Ordering::Relaxed);
            // Not everybody waits for it.
            let _ = told.send(written);
        }
    }
}

fn append(
    output: &mut dyn LineOutput,
    entry: &QueuedLine,
    ledger: &AuditHealth,
) -> Result<(), AuditWriteError> {
    if entry.line.is_empty() {
        return Ok(());
    }
    match output.append(&entry.line) {
        Ok(()) => {
            ledger.written(entry.counts);
            Ok(())
        }
        Err(error) => {
            ledger.failed(entry.counts, &format!("{}: {error}", output.name()));
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

    /// Takes a line each time that it is let.
    struct Slow {
        gate: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl LineOutput for Slow {
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
        let ledger = Arc::new(AuditHealth::new(Arc::new(NoMeter)));
        let output = Box::new(Slow { gate, taken: Arc::clone(&taken) });
        (AuditWriter::new(output, Arc::clone(&ledger)), let_in, taken, ledger)
    }

    fn entry(length: usize) -> QueuedLine {
        QueuedLine { line: vec![b'x'; length], counts: true }
    }

    #[tokio::test]
    async fn a_line_is_taken_at_once_and_told_when_it_was_written() {
        let (stream, let_in, taken, _ledger) = slow();
        let written = stream.write(entry(3));
        tokio::pin!(written);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut written).await.is_err(), "not written yet");
        assert_eq!(stream.waiting(), 1);
        // Nobody waits for this one.
        drop(stream.write(entry(4)));
        let_in.send(()).expect("the thread lives");
        assert_eq!(written.await, Ok(()));
        let_in.send(()).expect("the thread lives");
        stream.flushed().await;
        assert_eq!(stream.waiting(), 0);
        assert_eq!(taken.lock().len(), 7);
    }

    #[tokio::test]
    async fn beyond_what_may_wait_lines_are_lost_at_once_and_counted() {
        let (stream, let_in, taken, ledger) = slow();
        let waits = stream.write(entry(QUEUE_CAPACITY - 10));
        let refused = tokio::time::timeout(Duration::from_secs(2), stream.write(entry(11))).await;
        assert_eq!(refused, Ok(Err(AuditWriteError)), "at once");
        assert_eq!(ledger.state().lost, 1);
        let fits = stream.write(entry(10));
        let_in.send(()).expect("the thread lives");
        let_in.send(()).expect("the thread lives");
        assert_eq!((waits.await, fits.await), (Ok(()), Ok(())));
        assert_eq!(taken.lock().len(), QUEUE_CAPACITY);
        // There is room again.
        let_in.send(()).expect("the thread lives");
        assert_eq!(stream.write(entry(QUEUE_CAPACITY)).await, Ok(()));
    }
    #[tokio::test(start_paused = true)]
    async fn a_stalled_output_is_reported_before_lines_are_lost() {
        let (stream, let_in, _taken, ledger) = slow();
        let waits = stream.write(entry(1));
        while !ledger.is_writing() {
            std::thread::yield_now();
        }
        assert_eq!(ledger.state().failing, None, "not for long yet");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(ledger.state().failing.as_deref(), Some("the output stands still"));
        let_in.send(()).expect("the thread lives");
        assert_eq!(waits.await, Ok(()));
        while ledger.is_writing() {
            std::thread::yield_now();
        }
        assert_eq!(ledger.state().failing, None);
    }
}
