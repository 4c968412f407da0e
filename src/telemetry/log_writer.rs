//! The log output: a bounded buffer and one thread that writes it.
//!
//! A request only appends to memory. The thread writes 50 ms after the first line of a batch, or at
//! once after an error or 64 KiB. Without lines it sleeps and needs no timer. If the output stalls,
//! the buffer fills, and the writer drops and counts further lines. It also counts lines that it
//! cannot write, for example to a full disk. [`LogLosses`] shows the count, and so does the log once
//! the output works again.
//!
//! This is not `tracing-appender`, whose non-blocking writer bounds its queue in lines rather than
//! bytes. It also does not count lines that the output refuses.

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

/// Most bytes in memory: some seconds of output at full load.
const BUFFER_CAPACITY: usize = 1024 * 1024;

/// Longest line. A longer one is left out, because it must contain external data in full.
const MAX_LINE_BYTES: usize = 32 * 1024;

/// A batch of this size is written at once, because a larger write would not be cheaper per byte.
const MIN_WRITE_BYTES: usize = 64 * 1024;

/// How long the first line of a batch waits for more lines.
const GATHER_INTERVAL: Duration = Duration::from_millis(50);

/// How long [`LogWriter::flush`] waits for a stalled output.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after `WouldBlock`, which occurs if another program made the terminal non-blocking.
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

/// Number and cause of lost log lines. Cheap to clone.
#[derive(Clone, Default)]
pub struct LogLosses(Arc<LossCounters>);

#[derive(Default)]
struct LossCounters {
    lines: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl LogLosses {
    /// Number of lines lost since the start.
    pub fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }

    /// Why the writer currently loses lines, if it does.
    pub fn fault(&self) -> Option<String> {
        self.lock().clone()
    }

    fn add(&self, lines: u64, fault: &str) {
        self.0.lines.fetch_add(lines, Ordering::Relaxed);
        *self.lock() = Some(fault.to_owned());
    }

    fn clear_fault(&self) {
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

/// Stops the thread when the last handle is dropped.
struct WriterGuard(Arc<LogWriterInner>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl LogWriter {
    /// A writer to standard output.
    pub fn stdout(format: LogLineFormat) -> Self {
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(output) => Self::new(UnbufferedStdout(output.into()), format),
            Err(_) => Self::new(io::stdout(), format),
        }
    }

    /// The lost lines.
    pub fn losses(&self) -> &LogLosses {
        &self.shared.losses
    }

    /// A writer to any output. Dropping the last clone writes the remaining lines and stops the thread.
    pub fn new(output: impl Write + Send + 'static, format: LogLineFormat) -> Self {
        let shared = Arc::new(LogWriterInner {
            buffer: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            format,
            losses: LogLosses::default(),
        });
        let for_thread = Arc::clone(&shared);
        // Without its thread, the writer fills its buffer and then counts each dropped line.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || for_thread.drain_into(output));
        Self { _closer: Arc::new(WriterGuard(Arc::clone(&shared))), shared }
    }

    /// A writer that keeps all lines, for tests.
    pub fn captured(format: LogLineFormat) -> (Self, CapturedLog) {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Self::new(LogCollector(Arc::clone(&bytes)), format);
        let captured = CapturedLog { sink: sink.clone(), bytes };
        (sink, captured)
    }

    /// Appends one line. `write` must not add the line end. Drops and counts a line that does not fit.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(false, |bytes| {
            write(bytes);
            bytes.push(b'\n');
        });
    }

    /// Waits until all earlier lines are written, but at most one second.
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
            buffer.bytes.extend_from_slice(too_long_line(self.shared.format, bytes).as_bytes());
        }
        let after = buffer.bytes.len();
        if after > BUFFER_CAPACITY {
            buffer.bytes.truncate(before);
            buffer.dropped += 1;
            self.shared.losses.add(1, "the output does not accept lines");
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
        // Losses not yet logged, and whether the output ends with part of a line.
        let (mut unreported, mut is_torn) = (0, false);
        loop {
            let closed = self.next_batch(&mut batch, &mut unreported);
            if is_torn && !batch.is_empty() {
                batch.insert(0, b'\n');
            }
            // A closed pipe or a full disk must not stop the gateway.
            match write_all(&mut output, &batch) {
                Ok(()) if batch.is_empty() => {}
                Ok(()) => {
                    (unreported, is_torn) = (0, false);
                    self.losses.clear_fault();
                }
                Err((rest, error)) => {
                    let written = batch.len() - rest.len();
                    let lines = rest.split(|byte| *byte == b'\n').count() as u64 - 1;
                    // The rest of a torn line and the report of losses do not count as lost lines.
                    let own = u64::from(unreported > 0) + u64::from(is_torn && written == 0);
                    let lost = lines.saturating_sub(own);
                    is_torn = if written == 0 { is_torn } else { batch[written - 1] != b'\n' };
                    unreported += lost;
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

    /// Waits for lines and moves them into `batch`. Returns true if these are the last.
    fn next_batch(&self, batch: &mut Vec<u8>, unreported: &mut u64) -> bool {
        let idle =
            |buffer: &mut LineBuffer| buffer.bytes.is_empty() && !buffer.closed && !buffer.urgent;
        let gathering = |buffer: &mut LineBuffer| {
            buffer.bytes.len() < MIN_WRITE_BYTES && !buffer.closed && !buffer.urgent
        };
        let mut buffer = self.lock();
        self.filled.wait_while(&mut buffer, idle);
        self.filled.wait_while_for(&mut buffer, gathering, GATHER_INTERVAL);
        std::mem::swap(&mut buffer.bytes, batch);
        *unreported += std::mem::take(&mut buffer.dropped);
        buffer.urgent = false;
        buffer.writing = true;
        let closed = buffer.closed;
        drop(buffer);
        if *unreported > 0 {
            batch.extend_from_slice(losses_line(self.format, *unreported).as_bytes());
        }
        closed
    }
}

/// Writes all bytes. On an error, returns the unwritten rest and the error.
fn write_all<'a>(
    output: &mut impl Write,
    mut bytes: &'a [u8],
) -> Result<(), (&'a [u8], io::Error)> {
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

fn too_long_line(format: LogLineFormat, bytes: usize) -> String {
    const WHAT: &str = "a log line was left out because it was too long";
    match format {
        LogLineFormat::Json => {
            format!(
                "{{\"level\":\"WARN\",\"target\":\"log\",\"message\":\"{WHAT}\",\"bytes\":{bytes}}}\n"
            )
        }
        LogLineFormat::Text => format!("WARN log: {WHAT} bytes={bytes}\n"),
    }
}

fn losses_line(format: LogLineFormat, lines: u64) -> String {
    const WHAT: &str = "log lines were dropped because they could not be written";
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

/// Receives each formatted event in one call, with its line end.
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

/// The lines of [`LogWriter::captured`].
pub struct CapturedLog {
    sink: LogWriter,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl CapturedLog {
    /// All lines so far.
    pub fn text(&self) -> String {
        self.sink.flush();
        let bytes = self.bytes.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Standard output without the buffer of the standard library, which hides how much of a batch failed.
/// Writes take the lock of standard output, because audit records may go there too.
struct UnbufferedStdout(File);

impl Write for UnbufferedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _guard = io::stdout().lock();
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
