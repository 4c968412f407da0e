//! The log output. Requests put lines into a queue, and a thread writes them in batches.
//!
//! If the output stalls, the queue fills and drops further lines. [`LogLosses`] counts these lines, and
//! those that the output refuses, for example on a full disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Most lines in the queue: some megabytes, and a second of output at full load.
const QUEUE_CAPACITY: usize = 16_384;

/// A batch of this size is written at once, because a larger write would not be cheaper per byte.
const MIN_WRITE_BYTES: usize = 64 * 1024;

/// Number and cause of lost log lines. Cheap to clone.
#[derive(Clone, Default)]
pub struct LogLosses {
    dropped: Option<ErrorCounter>,
    refused: Arc<RefusedLines>,
}

#[derive(Default)]
struct RefusedLines {
    count: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl LogLosses {
    /// Number of lines lost since the start.
    pub fn lines(&self) -> u64 {
        let dropped = self.dropped.as_ref().map_or(0, ErrorCounter::dropped_lines);
        self.refused.count.load(Ordering::Relaxed) + dropped as u64
    }

    /// Why the output refused the last lines, if it did.
    pub fn fault(&self) -> Option<String> {
        self.refused.fault.lock().clone()
    }
}

/// Where log lines go.
pub struct LogOutput {
    pub(super) writer: BoxMakeWriter,
    pub(super) losses: LogLosses,
    /// Writes the remaining lines when it is dropped.
    pub(super) guard: Option<WorkerGuard>,
}

impl LogOutput {
    /// Standard output.
    pub fn stdout() -> Self {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(output) => Self::queued(File::from(output)),
            Err(_) => Self::queued(io::stdout()),
        }
    }

    /// An output that a thread writes to.
    fn queued(output: impl Write + Send + 'static) -> Self {
        let mut losses = LogLosses::default();
        let batches =
            LineBatch { output, lines: Vec::new(), count: 0, refused: Arc::clone(&losses.refused) };
        let builder = NonBlockingBuilder::default().lossy(true).thread_name("log");
        let (writer, guard) = builder.buffered_lines_limit(QUEUE_CAPACITY).finish(batches);
        losses.dropped = Some(writer.error_counter());
        Self { writer: BoxMakeWriter::new(writer), losses, guard: Some(guard) }
    }

    /// Keeps all lines, for tests.
    pub fn captured() -> (Self, CapturedLog) {
        let captured = CapturedLog::default();
        let lines = captured.clone();
        let writer = BoxMakeWriter::new(move || lines.clone());
        (Self { writer, losses: LogLosses::default(), guard: None }, captured)
    }
}

/// Gathers lines until the queue is empty.
struct LineBatch<W> {
    output: W,
    lines: Vec<u8>,
    count: u64,
    refused: Arc<RefusedLines>,
}

impl<W: Write> Write for LineBatch<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.extend_from_slice(line);
        self.count += 1;
        if self.lines.len() >= MIN_WRITE_BYTES {
            self.flush()?;
        }
        Ok(line.len())
    }

    /// Writes the batch. A closed pipe or a full disk must not stop the thread.
    fn flush(&mut self) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        // Audit records may go to standard output too, and lines must not interleave.
        let guard = io::stdout().lock();
        let written = self.output.write_all(&self.lines).and_then(|()| self.output.flush());
        drop(guard);
        self.lines.clear();
        if written.is_err() {
            self.refused.count.fetch_add(self.count, Ordering::Relaxed);
            // The output may end with part of a line.
            self.lines.push(b'\n');
        }
        *self.refused.fault.lock() = written.err().map(|error| error.to_string());
        self.count = 0;
        Ok(())
    }
}

/// The lines of [`LogOutput::captured`]. Clones share them.
#[derive(Clone, Default)]
pub struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// All lines so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use tracing_subscriber::fmt::MakeWriter as _;

    use super::*;

    /// Waits for a message before each write, and fails while the disk is full.
    struct TestDisk {
        gate: Receiver<()>,
        is_full: Arc<Mutex<bool>>,
        written: CapturedLog,
    }

    impl Write for TestDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            if *self.is_full.lock() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(output: &LogOutput, text: &str) {
        output.writer.make_writer().write_all(text.as_bytes()).expect("never blocks or fails");
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_the_rest_is_written() {
        let (go, gate) = channel();
        let (is_full, written) = (Arc::default(), CapturedLog::default());
        let disk = TestDisk { gate, is_full, written: written.clone() };
        let mut output = LogOutput::queued(disk);
        let all = 2 * QUEUE_CAPACITY;
        for number in 0..all {
            say(&output, &format!("{number}\n"));
        }
        let lost = usize::try_from(output.losses.lines()).expect("fits");
        assert!(lost > 0 && lost < all, "{lost}");
        drop(go);
        drop(output.guard.take());
        let text = written.text();
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().expect("whole")).collect();
        assert_eq!(numbers.len() + lost, all);
        assert!(numbers.is_sorted());
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_until_it_has_room() {
        let (go, gate) = channel();
        let (is_full, written) = (Arc::new(Mutex::new(true)), CapturedLog::default());
        let disk = TestDisk { gate, is_full: Arc::clone(&is_full), written: written.clone() };
        let mut output = LogOutput::queued(disk);
        drop(go);
        say(&output, "one\n");
        while output.losses.fault().is_none() {
            std::thread::yield_now();
        }
        let full = io::Error::from(io::ErrorKind::StorageFull).to_string();
        assert_eq!((output.losses.lines(), output.losses.fault()), (1, Some(full)));
        *is_full.lock() = false;
        say(&output, "two\n");
        drop(output.guard.take());
        assert_eq!((output.losses.lines(), output.losses.fault()), (1, None));
        assert_eq!(written.text(), "\ntwo\n");
    }
}
