//! Reads the sources of the configuration into one map of known keys.
//!
//! Later sources replace the values of earlier ones. A text for a key whose default is a number, a flag
//! or a list is converted to that type, because variables are always text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::ConfigSource;
use super::error::{printable, problem, unreadable, with_likely};
use super::ignored::likely_variable;
use super::keys::{self, ConfigKey, PLAIN};
use crate::domain::closest_word;

/// Largest file that is read for a credential; a path such as `/dev/zero` has no end.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// A value and its origin.
#[derive(Clone)]
pub(super) struct Setting {
    pub value: Value,
    pub origin: String,
    /// The file that holds only this value.
    pub file: Option<PathBuf>,
}

/// The values that are set, by dotted path.
#[derive(Clone, Default)]
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.0.get(path)
    }

    pub fn value<'a>(&'a self, key: &'a ConfigKey) -> &'a Value {
        self.get(&key.path).map_or(&key.default, |setting| &setting.value)
    }

    /// The origin of a value. A section has none.
    pub fn origin(&self, path: &str) -> &str {
        self.get(path).map_or("default", |setting| &setting.origin)
    }

    /// Replaces the values of a section by their defaults. False if that changes nothing.
    pub fn reset(&mut self, section: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|path, _| path.split('.').next() != Some(section));
        self.0.len() < before
    }

    /// All values as the tree that is deserialized. A blank text is left out, because it means "not set".
    pub fn tree(&self) -> Value {
        let mut root = Value::Table(Table::new());
        for key in keys::all() {
            let (value, (section, name)) = (self.value(key), key.split());
            let is_set = value.as_str().is_none_or(|text| !text.trim().is_empty());
            // A section below another is optional.
            if !is_set && section.contains('.') {
                continue;
            }
            let table = section.split('.').fold(root.as_table_mut(), |table, step| {
                let section = table?.entry(step).or_insert_with(|| Value::Table(Table::new()));
                section.as_table_mut()
            });
            if let Some(table) = table.filter(|_| is_set) {
                table.insert(name.to_owned(), value.clone());
            }
        }
        root
    }
}

/// A text as the type of the default. If it does not fit, it stays a text, which the section refuses.
fn typed(text: &str, default: &Value) -> Value {
    let plain = text.trim();
    let typed = match default {
        Value::Integer(_) => plain.parse().ok().map(Value::Integer),
        Value::Boolean(_) => plain.parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let items = plain.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(Value::from).collect()))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| text.into())
}

/// All sources, merged; of a real organisation only if `is_real`. Unreadable sources and unknown keys go
/// to `problems`.
pub(super) fn collect(
    source: &ConfigSource,
    is_real: bool,
    problems: &mut Vec<String>,
) -> Settings {
    let mut found = SourceCollector { settings: Settings::default(), source, is_real, problems };
    if let Some(path) = &source.file {
        found.file(path);
    }
    for (name, path) in PLAIN {
        found.variable(name, path);
    }
    for name in source.env.keys() {
        let Some(rest) = name.strip_prefix("GATEWAY__") else { continue };
        let path = rest.replace("__", ".");
        let is_capital = !path.contains(char::is_lowercase);
        found.variable(name, &if is_capital { path.to_lowercase() } else { path });
    }
    found.variable("RUST_LOG", "log.level");
    found.settings
}

struct SourceCollector<'a> {
    settings: Settings,
    source: &'a ConfigSource,
    is_real: bool,
    problems: &'a mut Vec<String>,
}

impl SourceCollector<'_> {
    fn set(&mut self, key: &ConfigKey, value: Value, origin: String, file: Option<PathBuf>) {
        if self.is_real || !key.is_account() {
            self.settings.0.insert(key.path.clone(), Setting { value, origin, file });
        }
    }

    fn file(&mut self, path: &Path) {
        let name = format!("file {}", printable(&path.display().to_string()));
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"));
        let leaves = text.and_then(|text| {
            keys::leaves(&text, keys::is_section).map_err(|error| unreadable(&text, &error))
        });
        let leaves = match leaves {
            Ok(leaves) => leaves,
            Err(message) => return self.problems.push(format!("{name}: {message}")),
        };
        for keys::Leaf { path, line, value } in leaves {
            let origin = format!("{name}, line {line}");
            match (keys::find(&path), value) {
                (Some(key), Value::String(text)) => {
                    self.set(key, typed(&text, &key.default), origin, None);
                }
                (Some(key), value) => self.set(key, value, origin, None),
                (None, _) => {
                    let message = if keys::is_section(&path) {
                        "is a section, not a value".to_owned()
                    } else {
                        with_likely("unknown key", likely_path(&path))
                    };
                    self.problems.push(problem(&path, &message, &origin));
                }
            }
        }
    }

    /// The text of a variable. An empty one counts as unset: container tools often cannot leave one out.
    fn text(&self, name: &str) -> Option<&str> {
        self.source.env.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Takes the value of a variable for the key at `path`, or that of the file that the variable names.
    fn variable(&mut self, name: &str, path: &str) {
        let Some(text) = self.text(name) else { return };
        let of_file = path.strip_suffix("_file").and_then(keys::find);
        let of_file = of_file.filter(|key| key.is_from_file());
        let prefix = if name.starts_with("GATEWAY__") { "environment " } else { "" };
        let origin = format!("{prefix}{}", printable(name));
        let Some(key) = of_file.or_else(|| keys::find(path)) else {
            let message = with_likely("unknown key", likely_variable(name).as_deref());
            return self.problems.push(problem(path, &message, &origin));
        };
        if of_file.is_none() {
            return self.set(key, typed(text, &key.default), origin, None);
        }
        if key.is_account() && !self.is_real {
            return;
        }
        let (file, origin) = (PathBuf::from(text), format!("file named by {name}"));
        let value = name.trim_end_matches("_FILE");
        let message = if self.text(value).is_some() {
            format!("{value} and {name} are both set")
        } else {
            match read_secret(&file) {
                Ok(text) => return self.set(key, text.into(), origin, Some(file)),
                // The path is left out: a frequent mistake is to put the secret itself there.
                Err(reason) => format!("the file {reason}"),
            }
        };
        self.problems.push(problem(&key.path, &message, &origin));
    }
}

/// The key or section that this path probably misspells.
fn likely_path(path: &str) -> Option<&'static str> {
    closest_word(path, keys::all().flat_map(|key| [key.path.as_str(), key.split().0]))
}

/// The content of a file without its final line break. Errors never quote it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let text = read_text(path, SECRET_FILE_BYTES)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(line.to_owned())
}

/// The content of a file of at most `max` bytes. Errors never quote it.
pub(super) fn read_text(path: &Path, max: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(bytes) if bytes as u64 > max => Err(format!("is longer than {max} bytes")),
        Ok(_) => Ok(text),
    }
}
