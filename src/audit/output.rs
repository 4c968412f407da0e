//! Outputs of the audit log.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Accepts whole lines. When a call returns, the operating system has the line.
pub trait LineOutput: Send {
    /// Appends a line, which includes its line end.
    ///
    /// # Errors
    /// If the line, or part of it, could not be written.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;

    /// Name of the output for error messages.
    fn name(&self) -> String;

    /// Whether a write may block, so that the output needs a thread.
    fn may_stall(&self) -> bool {
        true
    }
}

/// Standard output. The log may use it too, because both write whole lines.
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

/// Keeps all lines in memory, for tests. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutput {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl MemoryOutput {
    /// All lines so far.
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sets whether writes fail, as on a full disk.
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
