//! Where lines go.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Takes whole lines. Each is with the operating system when it returns.
pub trait LineOutput: Send {
    /// Appends a line, which has its end.
    ///
    /// # Errors
    /// If it could not be written, or not all of it.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;

    /// What it is, for a person.
    fn name(&self) -> String;

    /// Whether it may take its time, and so needs a thread.
    fn may_stall(&self) -> bool {
        true
    }
}

/// Standard output, which the log may use as well: both write whole lines.
#[derive(Debug)]
pub struct StdoutOutput;

impl LineOutput for StdoutOutput {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(line)?;
        out.flush()
    }

    fn name(&self) -> String {
        "standard output".to_owned()
    }
}

/// Keeps everything, for tests that look at what was recorded. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutput {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl MemoryOutput {
    /// All that was written.
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Takes nothing any more, as a full disk does; or does so again.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

impl LineOutput for MemoryOutput {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().extend_from_slice(line);
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn may_stall(&self) -> bool {
        false
    }
}
