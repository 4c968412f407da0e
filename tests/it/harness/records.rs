//! An output of the audit that keeps all lines.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use attribute_gateway::audit::LineOutput;

/// Keeps all lines in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutput {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl MemoryOutput {
    /// All lines so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no holder panics")).into_owned()
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
        self.bytes.lock().expect("no holder panics").extend_from_slice(line);
        Ok(())
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn may_stall(&self) -> bool {
        false
    }
}
