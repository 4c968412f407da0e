//! The problems of a configuration, each with its key and its origin.

use std::fmt;
use std::path::PathBuf;

use toml::Value;

use super::keys;
use crate::domain::closest_word;

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The defaults that are compiled in.
    Default,
    /// The file of `--config`, and the line of the key if it is known.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A file that this environment variable names.
    FileNamedBy(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => {
                write!(f, "file {}", printable(&path.display().to_string()))?;
                line.map_or(Ok(()), |line| write!(f, ", line {line}"))
            }
            Self::Variable(name) if name.starts_with("GATEWAY__") => {
                write!(f, "environment {name}")
            }
            Self::Variable(name) => f.write_str(name),
            Self::FileNamedBy(name) => write!(f, "file named by {name}"),
        }
    }
}

/// One problem. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The dotted path of the key; `None` if a whole source cannot be used.
    pub key: Option<String>,
    /// The origin of the value, or of the unknown key.
    pub origin: ValueOrigin,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {} (from {})", self.message, self.origin),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// An invalid configuration, with its problems: all unknown keys, and one wrong value per section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by_cached_key(ToString::to_string);
        Self { problems }
    }

    /// The problems, sorted by key; at least one.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return write!(f, "configuration: {problem}");
        }
        write!(f, "{} problems in the configuration:", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// A text fit for one line of a message.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Appends the likely word to a message.
pub(super) fn with_likely(message: &str, likely: Option<&str>) -> String {
    match likely {
        Some(likely) => format!("{message}; did you mean `{likely}`?"),
        None => message.to_owned(),
    }
}

/// The dotted path of the key that a value does not fit, and what is wrong.
pub(super) fn describe(
    error: &serde_path_to_error::Error<toml::de::Error>,
    tree: &Value,
) -> (String, String) {
    let (place, message) = (error.path().to_string(), printable(error.inner().message()));
    let place = if place == "." { String::new() } else { place };
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let named = missing.map(|name| (name, "must be set")).or_else(|| message.split_once(": "));
    // A problem of a whole section begins with the name of a key.
    if let Some((name, message)) = named {
        let path = format!("{place}.{name}");
        if keys::find(&path).is_some() {
            return (path, message.to_owned());
        }
    }
    let key = place.split('[').next().unwrap_or_default().to_owned();
    let is_type_error = message.starts_with("invalid type") || message.starts_with("invalid value");
    let message = match keys::find(&key) {
        // These messages of serde quote the value.
        Some(key) if key.is_secret() && is_type_error => "must be a text in quotes".to_owned(),
        _ => with_nearest_word(&message),
    };
    match client_of(&place, tree) {
        Some(client) => (key, format!("{client}: {message}")),
        None => (key, message),
    }
}

/// Adds the nearest of the words that serde lists for an unknown field or variant.
fn with_nearest_word(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let likely = match words.next() {
        Some(word) if message.starts_with("unknown ") => closest_word(word, words),
        _ => None,
    };
    with_likely(message, likely)
}

/// The client that `auth.clients[2].allow[0]` belongs to, and the key of its entry.
fn client_of(place: &str, tree: &Value) -> Option<String> {
    let (index, rest) = place.strip_prefix("auth.clients[")?.split_once(']')?;
    let number: usize = index.parse().ok()?;
    let name = tree.get("auth")?.get("clients")?.get(number)?.get("name");
    let client = match name.and_then(Value::as_str) {
        Some(name) => format!("client `{}`", printable(name)),
        None => format!("client number {}", number + 1),
    };
    let key = rest.trim_start_matches('.');
    Some(if key.is_empty() { client } else { format!("{client}: `{}`", printable(key)) })
}
