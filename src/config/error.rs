//! The problems of a configuration, each with its key and its origin.

use std::fmt;

use toml::Value;

use super::keys;
use crate::domain::closest_word;

/// An invalid configuration, with its problems: all unknown keys, and one wrong value per section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) problems: Vec<String>,
}

impl ConfigError {
    /// The problems, sorted by key; at least one. None of them holds the value of a secret.
    pub fn problems(&self) -> &[String] {
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

/// What is wrong with the value of a key, or with the key itself.
pub(super) fn problem(key: &str, message: &str, origin: &str) -> String {
    format!("{}: {message} (from {origin})", printable(key))
}

/// A text fit for one line of a message.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Why a text is not TOML. The message never quotes the text, because it may hold a secret.
pub(super) fn unreadable(text: &str, error: &toml::de::Error) -> String {
    let line = keys::line(text, error.span().map_or(0, |span| span.start));
    format!("TOML parse error at line {line}: {}", printable(error.message()))
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
    let place = place.trim_matches('.');
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let named = missing.map(|name| (name, "must be set")).or_else(|| message.split_once(": "));
    // A problem of a whole section begins with the name of a key.
    if let Some((name, message)) = named {
        let path = format!("{place}.{name}");
        if keys::find(&path).is_some() {
            return (path, message.to_owned());
        }
    }
    let key = place.split('[').next().unwrap_or_default();
    let is_type_error = message.starts_with("invalid type") || message.starts_with("invalid value");
    if is_type_error && keys::find(key).is_some_and(keys::ConfigKey::is_secret) {
        // These messages of serde quote the value.
        return (key.to_owned(), "must be a text in quotes".to_owned());
    }
    // serde lists the known words.
    let mut words = message.split('`').skip(1).step_by(2);
    let word = words.next().filter(|_| message.starts_with("unknown "));
    let message = with_likely(&message, word.and_then(|word| closest_word(word, words)));
    (key.to_owned(), client_of(place, tree).map_or_else(String::new, |at| at + ": ") + &message)
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
