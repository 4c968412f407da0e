//! Reads each source of the configuration into a layer of known keys.
//!
//! Unknown keys are rejected here, before the merge. The merge treats a key as an expression, and
//! would build a list of a billion items for a key named `a[999999999]`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::config::{Environment, FileFormat, Map, Source, Value, ValueKind};

use super::error::{ConfigProblem, ValueOrigin, is_within};
use super::ignored::likely_variable;
use super::schema::{self, ConfigKey};
use super::spelling::{nearest, printable, with_likely};

/// Largest file that is read for a credential; a path such as `/dev/zero` has no end.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Values of one source by dotted path. `Debug` shows the paths only.
#[derive(Clone, Default)]
pub(super) struct ConfigLayer(pub BTreeMap<String, (Value, ValueOrigin)>);

impl ConfigLayer {
    /// Adds the defaults for the value, or for all values of the section, at `path`.
    pub fn add_defaults(&mut self, path: &str, defaults: &Self) {
        let within = |key: &str| is_within(key, path);
        let values = defaults.0.iter().filter(|(key, _)| within(key));
        self.0.extend(values.map(|(key, value)| (key.clone(), value.clone())));
    }

    fn put_text(&mut self, path: &str, text: &str, origin: ValueOrigin) {
        self.0.insert(path.to_owned(), (Value::new(None, text), origin));
    }
}

impl fmt::Debug for ConfigLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Source for ConfigLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.iter().map(|(path, (value, _))| (path.clone(), value.clone())).collect())
    }
}

/// All layers, lowest first. Unreadable sources and unknown keys go to `problems`.
pub(super) fn collect(
    source: &super::ConfigSource,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<ConfigLayer> {
    // An empty variable counts as unset: container tools often cannot leave one out.
    let set = source.env.iter().filter(|(_, value)| !value.is_empty());
    let env: BTreeMap<&str, &str> = set.map(|(k, v)| (k.as_str(), v.as_str())).collect();

    let mut layers = vec![toml(schema::DEFAULTS, &ValueOrigin::Default, problems)];
    if let Some(path) = &source.file {
        layers.push(file(path, problems));
    }
    layers.push(plain_variables(&env, problems));
    layers.push(own_variables(&env, problems));
    let mut log = ConfigLayer::default();
    if let Some(level) = env.get("RUST_LOG") {
        log.put_text("log.level", level, ValueOrigin::Variable("RUST_LOG".to_owned()));
    }
    layers.push(log);
    layers
}

fn file(path: &Path, problems: &mut Vec<ConfigProblem>) -> ConfigLayer {
    let origin = ValueOrigin::File(path.to_owned());
    match std::fs::read_to_string(path) {
        Ok(text) => toml(&text, &origin, problems),
        Err(error) => {
            problems.push(ConfigProblem::of_source(origin, format!("cannot be read: {error}")));
            ConfigLayer::default()
        }
    }
}

fn toml(text: &str, origin: &ValueOrigin, problems: &mut Vec<ConfigProblem>) -> ConfigLayer {
    let mut layer = ConfigLayer::default();
    match ::config::File::from_str(text, FileFormat::Toml).collect() {
        Ok(table) => flatten("", table, origin, &mut layer, problems),
        Err(error) => {
            problems
                .push(ConfigProblem::of_source(origin.clone(), without_quotes(&error.to_string())));
        }
    }
    layer
}

/// The message of the TOML parser in one line, without its quote of the line, which may hold a secret.
pub(super) fn without_quotes(message: &str) -> String {
    let quotes = |line: &str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|')
    };
    message.lines().filter(|line| !quotes(line)).collect::<Vec<_>>().join(": ")
}

fn flatten(
    section: &str,
    table: Map<String, Value>,
    origin: &ValueOrigin,
    layer: &mut ConfigLayer,
    problems: &mut Vec<ConfigProblem>,
) {
    for (name, value) in table {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        // A quoted "server.bind" is not the key `bind` in `[server]`.
        let plain = !name.contains('.');
        let unknown;
        let problem = match value.kind {
            ValueKind::Table(inner) if plain && schema::is_section(&path) => {
                flatten(&path, inner, origin, layer, problems);
                continue;
            }
            _ if plain && schema::is_section(&path) => "is a section, not a value",
            ValueKind::Table(_) if plain && schema::find(&path).is_some() => {
                "is a value, not a section"
            }
            _ if plain && schema::find(&path).is_some() => {
                layer.0.insert(path, (value, origin.clone()));
                continue;
            }
            _ => {
                unknown = with_likely("unknown key", likely_path(&path).as_deref());
                &unknown
            }
        };
        problems.push(ConfigProblem::of_key(printable(&path), origin.clone(), problem));
    }
}

/// The key or section that this path probably misspells.
fn likely_path(path: &str) -> Option<String> {
    let paths: Vec<String> = schema::keys().map(ConfigKey::path).collect();
    let sections = schema::keys().map(|key| key.section);
    let known = paths.iter().map(String::as_str).chain(sections);
    nearest(path, known).filter(|likely| *likely != path).map(str::to_owned)
}

/// The variables that the vendor's tutorials and SDKs use.
fn plain_variables(env: &BTreeMap<&str, &str>, problems: &mut Vec<ConfigProblem>) -> ConfigLayer {
    let mut layer = ConfigLayer::default();
    for name in ["client_id", "client_secret", "environment"] {
        let key = ConfigKey { section: "genesys", name };
        let variable = format!("GENESYS_{}", name.to_uppercase());
        if let Some(text) = env.get(variable.as_str()) {
            layer.put_text(&key.path(), text, ValueOrigin::Variable(variable.clone()));
        }
        if schema::FROM_FILE.contains(&key.path().as_str()) {
            from_file(key, &variable, env, &mut layer, problems);
        }
    }
    layer
}

/// The variables of this program, `GATEWAY__SECTION__KEY`.
fn own_variables(env: &BTreeMap<&str, &str>, problems: &mut Vec<ConfigProblem>) -> ConfigLayer {
    let mut layer = ConfigLayer::default();
    unknown_variables(env, problems);
    let known = schema::keys().filter_map(|key| {
        let variable = key.variable();
        let text = env.get(variable.as_str())?;
        Some((variable, (*text).to_owned()))
    });
    // No `try_parsing`: a secret of "007" must not become a number.
    let environment = Environment::with_prefix("GATEWAY").separator("__");
    let values = environment.source(Some(known.collect())).collect().unwrap_or_else(|error| {
        let origin = ValueOrigin::Variable("GATEWAY__".to_owned());
        problems.push(ConfigProblem::of_source(origin, error.to_string()));
        Map::new()
    });
    for key in schema::keys() {
        if let Some(value) = values.get(&key.path()) {
            let origin = ValueOrigin::Variable(key.variable());
            layer.0.insert(key.path(), (value.clone(), origin));
        }
        if schema::FROM_FILE.contains(&key.path().as_str()) {
            from_file(key, &key.variable(), env, &mut layer, problems);
        }
    }
    layer
}

fn unknown_variables(env: &BTreeMap<&str, &str>, problems: &mut Vec<ConfigProblem>) {
    for &name in env.keys() {
        let Some(rest) = name.strip_prefix("GATEWAY__") else {
            continue;
        };
        let path = rest.replace("__", ".").to_lowercase();
        let value = path.strip_suffix("_file").filter(|path| schema::FROM_FILE.contains(path));
        let key = schema::find(value.unwrap_or(&path));
        let suffix = if value.is_some() { "_FILE" } else { "" };
        let message = match key {
            Some(key) if format!("{}{suffix}", key.variable()) == name => continue,
            Some(_) => "the variable must be in capitals".to_owned(),
            None => with_likely("unknown key", likely_variable(name).as_deref()),
        };
        let (path, name) = (printable(&path), printable(name));
        problems.push(ConfigProblem::of_key(path, ValueOrigin::Variable(name), &message));
    }
}

/// Reads the value from the file that `{variable}_FILE` names, if it is set.
fn from_file(
    key: ConfigKey,
    variable: &str,
    env: &BTreeMap<&str, &str>,
    layer: &mut ConfigLayer,
    problems: &mut Vec<ConfigProblem>,
) {
    let file_variable = format!("{variable}_FILE");
    let Some(path) = env.get(file_variable.as_str()) else {
        return;
    };
    let origin = ValueOrigin::FileNamedBy(file_variable.clone());
    if env.contains_key(variable) {
        let message = format!("{variable} and {file_variable} are both set");
        problems.push(ConfigProblem::of_key(key.path(), origin, &message));
        return;
    }
    match read_line(Path::new(path)) {
        Ok(text) => layer.put_text(&key.path(), &text, origin),
        Err(reason) => {
            // The path is left out: a frequent mistake is to put the secret itself there.
            let message = format!("the file {reason}");
            problems.push(ConfigProblem::of_key(key.path(), origin, &message));
        }
    }
}

/// The content of a file without its final line break. Errors never quote it.
pub(super) fn read_line(path: &Path) -> Result<String, String> {
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
