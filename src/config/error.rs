//! The problems of a configuration, each with its key and its origin.

use std::fmt;
use std::path::PathBuf;

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The defaults that are compiled in.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A file that this environment variable names.
    FileNamedBy(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            // A line break would end the comment that shows the origin.
            Self::File(path) => {
                write!(f, "file {}", path.display().to_string().replace(char::is_control, "?"))
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

impl ConfigProblem {
    pub(super) fn of_key(key: impl Into<String>, origin: ValueOrigin, message: &str) -> Self {
        Self { key: Some(key.into()), origin, message: message.to_owned() }
    }

    /// Whether the problem concerns the key or section at `path`. The path "" covers every key.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.key.as_deref().is_some_and(|key| is_within(key, path))
    }

    pub(super) fn of_source(origin: ValueOrigin, message: impl Into<String>) -> Self {
        Self { key: None, origin, message: message.into() }
    }
}

/// Whether the path of the key is equal to `path` or below it.
pub(super) fn is_within(key: &str, path: &str) -> bool {
    let below = key.strip_prefix(path);
    below.is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {} (from {})", self.message, self.origin),
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// An invalid configuration, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by_cached_key(ToString::to_string);
        problems.dedup();
        Self { problems }
    }

    /// All problems, sorted by key; at least one.
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
