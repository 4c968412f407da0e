//! Renders the effective configuration as TOML, with the origin of each value and without secrets.

use std::fmt::Write as _;

use ::config::{Value, ValueKind};

use super::error::ValueOrigin;
use super::schema::ConfigKey;

/// The text that is shown instead of a secret.
pub(super) const MASK: &str = "********";

/// Members of tables in a list whose values are never shown.
const SECRET_MEMBERS: [&str; 1] = ["key_sha256"];

/// One key and its value, as shown.
#[derive(Clone, Debug)]
pub(super) struct ConfigLine {
    key: ConfigKey,
    shown: String,
    origin: ValueOrigin,
    /// If the key is not set: the key that decides instead, and the resulting value.
    followed: Option<(&'static str, String)>,
}

impl ConfigLine {
    /// The line for a value. `default` tells whether a text from the environment is a number.
    pub fn new(key: ConfigKey, value: &Value, default: &Value, origin: ValueOrigin) -> Self {
        let unset = matches!(&value.kind, ValueKind::String(text) if text.is_empty());
        // A default is public, and a masked one could not be loaded again.
        let hidden = key.is_secret() && !unset && value.kind != default.kind;
        let shown = if hidden { quote(MASK) } else { show(&value.kind, &default.kind) };
        Self { key, shown, origin, followed: None }
    }

    /// Adds the value that follows from another key, if this one is not set.
    pub fn following(mut self, other: &'static str, value: &impl std::fmt::Display) -> Self {
        self.followed = (self.shown == "\"\"").then(|| (other, value.to_string()));
        self
    }
}

/// All lines, with a header before each section.
pub(super) fn render(lines: &[ConfigLine]) -> String {
    let mut text = String::new();
    let mut section = "";
    for ConfigLine { key, shown, origin, followed } in lines {
        if key.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = key.section;
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let _ = write!(text, "{} = {shown}  # from ", key.name);
        let unset = if shown == "\"\"" { ", not set" } else { "" };
        let _ = match followed {
            Some((other, value)) => writeln!(text, "{other}: {value}"),
            None => writeln!(text, "{origin}{unset}"),
        };
    }
    text
}

fn show(value: &ValueKind, default: &ValueKind) -> String {
    match (value, default) {
        (ValueKind::String(text), ValueKind::I64(_) | ValueKind::Boolean(_)) => {
            let text = text.trim();
            // TOML's integers are signed and have 64 bits.
            let plain = text.parse::<i64>().map(|number| number.to_string());
            let plain = plain.or_else(|_| text.parse::<bool>().map(|flag| flag.to_string()));
            plain.unwrap_or_else(|_| quote(text))
        }
        (ValueKind::String(text), _) => quote(text),
        (ValueKind::Array(items), _) => {
            let items: Vec<String> = items.iter().map(|item| show(&item.kind, default)).collect();
            format!("[{}]", items.join(", "))
        }
        (ValueKind::Table(table), _) => {
            // A table is unordered, and the output should be the same in each run.
            let mut names: Vec<&String> = table.keys().collect();
            names.sort_by_key(|name| (*name != "name", *name));
            let entry = |name: &&String| {
                let hidden = SECRET_MEMBERS.contains(&name.as_str());
                let value = &table[*name].kind;
                let value = if hidden { quote(MASK) } else { show(value, default) };
                format!("{} = {value}", bare(name))
            };
            format!("{{{}}}", names.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        (other, _) => other.to_string(),
    }
}

/// A name as a TOML key, quoted if necessary.
fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quote(name) }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
