//! Where log lines go: a bounded buffer, written out by one thread.
//!
//! A request only appends to memory. The thread writes some milliseconds after the first line of
//! a batch, at once when much has gathered or an error was logged, and sleeps without any timer
//! while there is nothing to write. If the output stands still, the buffer fills and further lines
//! are counted and dropped; how many is the first line written afterwards.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::Format;

/// Most that is kept in memory: some seconds of output at full load.
const CAPACITY: usize = 1024 * 1024;

/// A line that is longer is left out: something from outside has found its way into it whole.
const LONGEST_LINE: usize = 32 * 1024;

/// From here on waiting saves nothing: one write of this size is as cheap a byte as any larger.
const WORTH_WRITING: usize = 64 * 1024;

/// How long the first line of a batch waits for company.
const GATHER: Duration = Duration::from_millis(50);

/// How long [`Sink::flush`] waits for an output that does not move.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The shared output of the process. Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    emptied: Condvar,
    format: Format,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    dropped: u64,
    urgent: bool,
    writing: bool,
    closed: bool,
}

/// Ends the thread when the last handle is gone.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl Sink {
    /// A sink over standard output.
    pub fn stdout(format: Format) -> Self {
        Self::over(io::stdout(), format)
    }

    /// A sink over any output. It ends, with all that was written, when its last clone is dropped.
    pub fn over(output: impl Write + Send + 'static, format: Format) -> Self {
        let shared = Arc::new(Shared {
            buffer: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            format,
        });
        let theirs = Arc::clone(&shared);
        // Without its thread the sink still works: it fills up, and then counts what it drops.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || theirs.drain_into(output));
        Self { _closer: Arc::new(Closer(Arc::clone(&shared))), shared }
    }

    /// A sink that keeps everything, for tests that look at what was logged.
    pub fn captured(format: Format) -> (Self, Captured) {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Self::over(Collector(Arc::clone(&bytes)), format);
        let captured = Captured { sink: sink.clone(), bytes };
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
        let _ = self.shared.emptied.wait_timeout_while(buffer, FLUSH_PATIENCE, |buffer| {
            buffer.writing || !buffer.bytes.is_empty() || buffer.dropped > 0
        });
    }

    fn append(&self, urgent: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.shared.lock();
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        if buffer.bytes.len() - before > LONGEST_LINE {
            let bytes = buffer.bytes.len() - before;
            buffer.bytes.truncate(before);
            buffer.bytes.extend_from_slice(too_long(self.shared.format, bytes).as_bytes());
        }
        let after = buffer.bytes.len();
        if after > CAPACITY {
            buffer.bytes.truncate(before);
            buffer.dropped += 1;
            return;
        }
        buffer.urgent |= urgent;
        let grown = before < WORTH_WRITING && after >= WORTH_WRITING;
        if before == 0 || grown || urgent {
            self.shared.filled.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain_into(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let closed = self.next_batch(&mut batch);
            // A closed pipe or a full disk must not stop the service; there is no one to tell.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            batch.shrink_to(WORTH_WRITING);
            self.lock().writing = false;
            self.emptied.notify_all();
            if closed {
                return;
            }
        }
    }

    /// Waits for lines and moves them into `batch`; true if these were the last.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let idle =
            |buffer: &mut Buffer| buffer.bytes.is_empty() && !buffer.closed && !buffer.urgent;
        let gathering = |buffer: &mut Buffer| {
            buffer.bytes.len() < WORTH_WRITING && !buffer.closed && !buffer.urgent
        };
        let buffer = self.filled.wait_while(self.lock(), idle);
        let buffer = buffer.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.filled.wait_timeout_while(buffer, GATHER, gathering);
        let (mut buffer, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut buffer.bytes, batch);
        let dropped = std::mem::take(&mut buffer.dropped);
        buffer.urgent = false;
        buffer.writing = true;
        let closed = buffer.closed;
        drop(buffer);
        if dropped > 0 {
            batch.extend_from_slice(lost(self.format, dropped).as_bytes());
        }
        closed
    }
}

fn too_long(format: Format, bytes: usize) -> String {
    const WHAT: &str = "a log line was left out, because it was too long";
    match format {
        Format::Json => {
            format!(
                "{{\"level\":\"WARN\",\"target\":\"log\",\"message\":\"{WHAT}\",\"bytes\":{bytes}}}\n"
            )
        }
        Format::Text => format!("WARN log: {WHAT} bytes={bytes}\n"),
    }
}

fn lost(format: Format, lines: u64) -> String {
    const WHAT: &str = "log lines were dropped, because the output did not take them";
    match format {
        Format::Json => {
            format!(
                "{{\"level\":\"WARN\",\"target\":\"log\",\"message\":\"{WHAT}\",\"lines\":{lines}}}\n"
            )
        }
        Format::Text => format!("WARN log: {WHAT} lines={lines}\n"),
    }
}

impl<'a> MakeWriter<'a> for Sink {
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
    sink: &'a Sink,
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

/// What a sink of [`Sink::captured`] was given.
pub struct Captured {
    sink: Sink,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// All of it up to now.
    pub fn text(&self) -> String {
        self.sink.flush();
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

struct Collector(Arc<Mutex<Vec<u8>>>);

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
