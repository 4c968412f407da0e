//! Where log lines go: a bounded buffer, written out by one thread.
//!
//! A request only appends to memory. The thread writes some milliseconds after the first line of
//! a batch, at once when much has gathered or an error was logged, and sleeps without any timer
//! while there is nothing to write. If the output stands still, the buffer fills and further lines
//! are counted and dropped; so are lines that cannot be written, to a full disk for instance. How many
//! were lost is told in the log when it is written again, and in the meantime by [`LogLosses`].

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::LogLineFormat;

/// Most that is kept in memory: some seconds of output at full load.
const BUFFER_CAPACITY: usize = 1024 * 1024;

/// A line that is longer is left out: something from outside has found its way into it whole.
const MAX_LINE_BYTES: usize = 32 * 1024;

/// From here on waiting saves nothing: one write of this size is as cheap a byte as any larger.
const MIN_WRITE_BYTES: usize = 64 * 1024;

/// How long the first line of a batch waits for company.
const GATHER_INTERVAL: Duration = Duration::from_millis(50);

/// How long [`LogWriter::flush`] waits for an output that does not move.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an output is left alone that would block, as a terminal set so by another program.
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

/// The log lines that the output did not take, and why. Cheap to clone.
#[derive(Clone, Default)]
pub struct LogLosses(Arc<LossCounters>);

#[derive(Default)]
struct LossCounters {
    lines: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl LogLosses {
    /// How many lines were lost since the start.
    pub fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }

    /// Why lines are being lost now, if they are.
    pub fn fault(&self) -> Option<String> {
        self.lock().clone()
    }

    fn add(&self, lines: u64, fault: &str) {
        self.0.lines.fetch_add(lines, Ordering::Relaxed);
        *self.lock() = Some(fault.to_owned());
    }

    fn over(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.fault.lock()
    }
}

/// The shared output of the process. Cheap to clone.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<LogWriterInner>,
    _closer: Arc<WriterGuard>,
}

struct LogWriterInner {
    buffer: Mutex<LineBuffer>,
    filled: Condvar,
    emptied: Condvar,
    format: LogLineFormat,
    losses: LogLosses,
}

#[derive(Default)]
struct LineBuffer {
    bytes: Vec<u8>,
    dropped: u64,
    urgent: bool,
    writing: bool,
    closed: bool,
}

/// Ends the thread when the last handle is gone.
struct WriterGuard(Arc<LogWriterInner>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl LogWriter {
    /// A sink over standard output.
    pub fn stdout(format: LogLineFormat) -> Self {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(output) => Self::new(UnbufferedStdout(output.into()), format),
            Err(_) => Self::new(io::stdout(), format),
        }
    }

    /// The lines that the output did not take.
    pub fn losses(&self) -> &LogLosses {
        &self.shared.losses
    }

    /// A sink over any output. It ends, with all that was written, when its last clone is dropped.
    pub fn new(output: impl Write + Send + 'static, format: LogLineFormat) -> Self {
        let shared = Arc::new(LogWriterInner {
            buffer: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            format,
            losses: LogLosses::default(),
        });
        let theirs = Arc::clone(&shared);
        // Without its thread the sink still works: it fills up, and then counts what it drops.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || theirs.drain_into(output));
        Self { _closer: Arc::new(WriterGuard(Arc::clone(&shared))), shared }
    }

    /// A sink that keeps everything, for tests that look at what was logged.
    pub fn captured(format: LogLineFormat) -> (Self, CapturedLog) {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Self::new(LogCollector(Arc::clone(&bytes)), format);
        let captured = CapturedLog { sink: sink.clone(), bytes };
        (sink, captured)
    }

    /// Appends one line; `write` leaves out the line end. A line that does not fit is counted.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(false, |bytes| {
            write(bytes);
            bytes.push(b'\n');
        });
    }

    /// Waits until all that was appended before has been written, but no longer than a second.
    pub fn flush(&self) {
        let mut buffer = self.shared.lock();
        buffer.urgent = true;
        self.shared.filled.notify_one();
        let is_pending = |buffer: &mut LineBuffer| {
            buffer.writing || !buffer.bytes.is_empty() || buffer.dropped > 0
        };
        self.shared.emptied.wait_while_for(&mut buffer, is_pending, FLUSH_TIMEOUT);
    }

    fn append(&self, urgent: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.shared.lock();
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        if buffer.bytes.len() - before > MAX_LINE_BYTES {
            let bytes = buffer.bytes.len() - before;
            buffer.bytes.truncate(before);
            buffer.bytes.extend_from_slice(too_long(self.shared.format, bytes).as_bytes());
        }
        let after = buffer.bytes.len();
        if after > BUFFER_CAPACITY {
            buffer.bytes.truncate(before);
            buffer.dropped += 1;
            self.shared.losses.add(1, "the output takes no lines");
            return;
        }
        buffer.urgent |= urgent;
        let grown = before < MIN_WRITE_BYTES && after >= MIN_WRITE_BYTES;
        if before == 0 || grown || urgent {
            self.shared.filled.notify_one();
        }
    }
}

impl LogWriterInner {
    fn lock(&self) -> MutexGuard<'_, LineBuffer> {
        self.buffer.lock()
    }

    fn drain_into(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        // Losses that no line tells of yet, and whether the last line that was written lacks its end.
        let (mut untold, mut torn) = (0, false);
        loop {
            let closed = self.next_batch(&mut batch, &mut untold);
            if torn && !batch.is_empty() {
                batch.insert(0, b'\n');
            }
            // A closed pipe or a full disk must not stop the service.
            match written(&mut output, &batch) {
                Ok(()) if batch.is_empty() => {}
                Ok(()) => {
                    (untold, torn) = (0, false);
                    self.losses.over();
                }
                Err((rest, error)) => {
                    let begun = batch.len() - rest.len();
                    let lines = rest.split(|byte| *byte == b'\n').count() as u64 - 1;
                    // The end of a torn line, and the line that tells of losses, are none themselves.
                    let own = u64::from(untold > 0) + u64::from(torn && begun == 0);
                    let lost = lines.saturating_sub(own);
                    torn = if begun == 0 { torn } else { batch[begun - 1] != b'\n' };
                    untold += lost;
                    self.losses.add(lost, &error.to_string());
                }
            }
            batch.clear();
            batch.shrink_to(MIN_WRITE_BYTES);
            self.lock().writing = false;
            self.emptied.notify_all();
            if closed {
                return;
            }
        }
    }

    /// Waits for lines and moves them into `batch`; true if these were the last.
    fn next_batch(&self, batch: &mut Vec<u8>, untold: &mut u64) -> bool {
        let idle =
            |buffer: &mut LineBuffer| buffer.bytes.is_empty() && !buffer.closed && !buffer.urgent;
        let gathering = |buffer: &mut LineBuffer| {
            buffer.bytes.len() < MIN_WRITE_BYTES && !buffer.closed && !buffer.urgent
        };
        let mut buffer = self.lock();
        self.filled.wait_while(&mut buffer, idle);
        self.filled.wait_while_for(&mut buffer, gathering, GATHER_INTERVAL);
        std::mem::swap(&mut buffer.bytes, batch);
        *untold += std::mem::take(&mut buffer.dropped);
        buffer.urgent = false;
        buffer.writing = true;
        let closed = buffer.closed;
        drop(buffer);
        if *untold > 0 {
            batch.extend_from_slice(lost(self.format, *untold).as_bytes());
        }
        closed
    }
}

/// Writes all of it; or tells what is left of it, and why.
fn written<'a>(output: &mut impl Write, mut bytes: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err((bytes, ErrorKind::WriteZero.into())),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::park_timeout(BLOCKED_PAUSE);
            }
            Err(error) => return Err((bytes, error)),
        }
    }
    output.flush().map_err(|error| (bytes, error))
}

fn too_long(format: LogLineFormat, bytes: usize) -> String {
    const WHAT: &str = "a log line was left out, because it was too long";
    match format {
        LogLineFormat::Json => {
            format!(
                "{{\"level\":\"WARN\",\"target\":\"log\",\"message\":\"{WHAT}\",\"bytes\":{bytes}}}\n"
            )
        }
        LogLineFormat::Text => format!("WARN log: {WHAT} bytes={bytes}\n"),
    }
}

fn lost(format: LogLineFormat, lines: u64) -> String {
    const WHAT: &str = "log lines were dropped, because the output did not take them";
    match format {
        LogLineFormat::Json => {
            format!(
                "{{\"level\":\"WARN\",\"target\":\"log\",\"message\":\"{WHAT}\",\"lines\":{lines}}}\n"
            )
        }
        LogLineFormat::Text => format!("WARN log: {WHAT} lines={lines}\n"),
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { sink: self, urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        EventWriter { sink: self, urgent: *event.level() == Level::ERROR }
    }
}

/// Takes a whole formatted event at once, line end included.
pub struct EventWriter<'a> {
    sink: &'a LogWriter,
    urgent: bool,
}

impl Write for EventWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.sink.append(self.urgent, |bytes| bytes.extend_from_slice(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a sink of [`LogWriter::captured`] was given.
pub struct CapturedLog {
    sink: LogWriter,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl CapturedLog {
    /// All of it up to now.
    pub fn text(&self) -> String {
        self.sink.flush();
        let bytes = self.bytes.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Standard output without the buffer of the standard library, which hides how much of a batch could
/// not be written. Its lock is still taken: audit records may go to the same place.
struct UnbufferedStdout(File);

impl Write for UnbufferedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _alone = io::stdout().lock();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LogCollector(Arc<Mutex<Vec<u8>>>);

impl Write for LogCollector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
