//! Keys of one section that conflict.

use std::fmt;

/// A key that conflicts with others of its section, and the reason.
pub(super) struct KeyMismatch(pub &'static str, pub &'static str);

/// All conflicts of a section. `Display` writes one `key: message` per line, which the loader parses.
pub(super) struct KeyMismatches(pub Vec<KeyMismatch>);

impl fmt::Display for KeyMismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|m| format!("{}: {}", m.0, m.1)).collect();
        f.write_str(&lines.join("\n"))
    }
}
