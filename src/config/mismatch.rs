//! Keys of one section that do not go together.

use std::fmt;

/// A key that does not go with the others of its section, and why.
pub(super) struct KeyMismatch(pub &'static str, pub &'static str);

/// All of them. Displayed with one `key: message` a line, from which the loader takes the paths.
pub(super) struct KeyMismatches(pub Vec<KeyMismatch>);

impl fmt::Display for KeyMismatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|m| format!("{}: {}", m.0, m.1)).collect();
        f.write_str(&lines.join("\n"))
    }
}
