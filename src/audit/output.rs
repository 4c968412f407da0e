//! Outputs of the audit log.

use std::io::{self, Write as _};

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
