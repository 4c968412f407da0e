//! Reads the sources of the configuration into one map of known keys.
//!
//! Later sources replace the values of earlier ones. A text for a key whose default is a number, a flag
//! or a list is converted to that type, because variables are always text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use toml::{Table, Value};

use super::ConfigSource;
use super::error::{ConfigProblem, ValueOrigin, printable, with_likely};
use super::ignored::likely_variable;
use super::keys::{self, ConfigKey, is_within};
use crate::domain::closest_word;

/// Largest file that is read for a credential; a path such as `/dev/zero` has no end.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| {
    let table: Table = toml::from_str(keys::DEFAULTS).expect("a test loads the defaults");
    let tree = Value::Table(table);
    let setting = |key: &ConfigKey| {
        let value = key.path.split('.').fold(Some(&tree), |tree, step| tree?.get(step));
        let value = value.expect("the line of the key was found").clone();
        (key.path.clone(), Setting { value, origin: ValueOrigin::Default })
    };
    Settings(keys::all().map(setting).collect())
});

/// A value and its origin.
#[derive(Clone)]
pub(super) struct Setting {
    pub value: Value,
    pub origin: ValueOrigin,
}

/// The values of all keys by dotted path.
#[derive(Clone)]
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// The defaults.
    pub fn new() -> Self {
        DEFAULTS.clone()
    }

    pub fn get(&self, key: &ConfigKey) -> &Setting {
        &self.0[&key.path]
    }

    /// The origin of a value. A section has none.
    pub fn origin(&self, path: &str) -> ValueOrigin {
        self.0.get(path).map_or(ValueOrigin::Default, |setting| setting.origin.clone())
    }

    fn set(&mut self, key: &ConfigKey, value: Value, origin: ValueOrigin) {
        let value = match value {
            Value::String(text) => typed(text, &DEFAULTS.get(key).value),
            other => other,
        };
        self.0.insert(key.path.clone(), Setting { value, origin });
    }

    /// Replaces the selected values by their defaults. False if that changes nothing.
    pub fn reset(&mut self, is_selected: impl Fn(&ConfigKey) -> bool) -> bool {
        let mut is_changed = false;
        for key in keys::all().filter(|key| is_selected(key)) {
            is_changed |= self.get(key).origin != ValueOrigin::Default;
            self.0.insert(key.path.clone(), DEFAULTS.get(key).clone());
        }
        is_changed
    }

    /// All values as the tree that is deserialized. A blank text is left out, because it means "not set".
    pub fn tree(&self) -> Value {
        let mut root = Value::Table(Table::new());
        for key in keys::all() {
            let value = &self.get(key).value;
            let is_set = value.as_str().is_none_or(|text| !text.trim().is_empty());
            // A section below another is optional.
            if !is_set && key.section.contains('.') {
                continue;
            }
            let table = key.section.split('.').fold(root.as_table_mut(), |table, step| {
                let section = table?.entry(step).or_insert_with(|| Value::Table(Table::new()));
                section.as_table_mut()
            });
            if let Some(table) = table.filter(|_| is_set) {
                table.insert(key.name.clone(), value.clone());
            }
        }
        root
    }
}

/// A text as the type of the default. If it does not fit, it stays a text, which the section refuses.
fn typed(text: String, default: &Value) -> Value {
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
    typed.unwrap_or(Value::String(text))
}

/// All sources, merged. Unreadable sources and unknown keys go to `problems`.
pub(super) fn collect(source: &ConfigSource, problems: &mut Vec<ConfigProblem>) -> Settings {
    // An empty variable counts as unset: container tools often cannot leave one out.
    let set = source.env.iter().filter(|(_, value)| !value.is_empty());
    let env = set.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut collector = SourceCollector { settings: Settings::new(), env, problems };
    if let Some(path) = &source.file {
        collector.file(path);
    }
    collector.unknown_variables();
    for (variable, key) in keys::variables() {
        collector.variable(variable, key);
    }
    collector.settings
}

struct SourceCollector<'a> {
    settings: Settings,
    env: BTreeMap<&'a str, &'a str>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl SourceCollector<'_> {
    fn problem(&mut self, key: Option<&str>, origin: ValueOrigin, message: impl Into<String>) {
        let (key, message) = (key.map(printable), message.into());
        self.problems.push(ConfigProblem { key, origin, message });
    }

    fn file(&mut self, path: &Path) {
        let origin = |line| ValueOrigin::File(path.to_owned(), line);
        match std::fs::read_to_string(path) {
            Ok(text) => match parse_toml(&text) {
                Ok(table) => {
                    let lines: Vec<_> = keys::scan(&text);
                    let line = |path: &str| lines.iter().find(|(_, key)| key.path == path);
                    self.table("", table, &|path| origin(line(path).map(|(line, _)| *line)));
                }
                Err(message) => self.problem(None, origin(None), message),
            },
            Err(error) => self.problem(None, origin(None), format!("cannot be read: {error}")),
        }
    }

    fn table(&mut self, section: &str, table: Table, origin: &dyn Fn(&str) -> ValueOrigin) {
        for (name, value) in table {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            // A quoted "server.bind" is not the key `bind` in `[server]`.
            let is_plain = !name.contains('.');
            let key = keys::find(&path).filter(|_| is_plain);
            let is_section = is_plain && keys::is_section(&path);
            let message = match (key, value) {
                (_, Value::Table(inner)) if is_section => {
                    self.table(&path, inner, origin);
                    continue;
                }
                (Some(key), value) if !value.is_table() => {
                    self.settings.set(key, value, origin(&path));
                    continue;
                }
                (Some(_), _) => "is a value, not a section".to_owned(),
                _ if is_section => "is a section, not a value".to_owned(),
                _ => with_likely("unknown key", likely_path(&path)),
            };
            self.problem(Some(&path), origin(&path), message);
        }
    }

    /// Takes the value of the variable, or that of the file that `{variable}_FILE` names.
    fn variable(&mut self, variable: String, key: &ConfigKey) {
        let file_variable = format!("{variable}_FILE");
        let file = self.env.get(file_variable.as_str()).filter(|_| key.is_from_file());
        let by_file = ValueOrigin::FileNamedBy(file_variable.clone());
        match (self.env.get(variable.as_str()), file) {
            (Some(_), Some(_)) => {
                let message = format!("{variable} and {file_variable} are both set");
                self.problem(Some(&key.path), by_file, message);
            }
            (Some(text), None) => {
                self.settings.set(key, Value::from(*text), ValueOrigin::Variable(variable));
            }
            (None, Some(path)) => match read_secret(Path::new(path)) {
                Ok(text) => self.settings.set(key, Value::String(text), by_file),
                // The path is left out: a frequent mistake is to put the secret itself there.
                Err(reason) => {
                    self.problem(Some(&key.path), by_file, format!("the file {reason}"));
                }
            },
            (None, None) => {}
        }
    }

    fn unknown_variables(&mut self) {
        let names: Vec<&str> = self.env.keys().copied().collect();
        for name in names {
            let Some(rest) = name.strip_prefix("GATEWAY__") else { continue };
            let path = rest.replace("__", ".").to_lowercase();
            let of_file = path.strip_suffix("_file").and_then(keys::find);
            let of_file = of_file.filter(|key| key.is_from_file());
            let message = match of_file.or_else(|| keys::find(&path)) {
                Some(key) if [name, name.trim_end_matches("_FILE")].contains(&&*key.variable()) => {
                    continue;
                }
                Some(_) => "the variable must be in capitals".to_owned(),
                None => with_likely("unknown key", likely_variable(name).as_deref()),
            };
            self.problem(Some(&path), ValueOrigin::Variable(printable(name)), message);
        }
    }
}

/// The table of a TOML file. The message has the line and never quotes it, because it may hold a secret.
pub(super) fn parse_toml(text: &str) -> Result<Table, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("TOML parse error at line {line}: {}", printable(error.message()))
    })
}

/// The key or section that this path probably misspells.
fn likely_path(path: &str) -> Option<&'static str> {
    let known = keys::all().flat_map(|key| [key.path.as_str(), key.section.as_str()]);
    closest_word(path, known.filter(|known| !is_within(known, path)))
}

/// The content of a file without its final line break. Errors never quote it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    file.take(SECRET_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > SECRET_FILE_BYTES {
        return Err("is too long for a credential".to_owned());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(line.to_owned())
}
