//! The configuration: its sources, its validation, and the origin of each value.
//!
//! Later layers win: the defaults that are compiled in (`config/default.toml`), the file of
//! `--config`, `GENESYS_CLIENT_ID`, `GENESYS_CLIENT_SECRET` and `GENESYS_ENVIRONMENT`,
//! `GATEWAY__SECTION__KEY`, and `RUST_LOG` for `log.level`. The environment is passed in; this
//! module never reads that of the process.
//!
//! Every [`Config`] is valid, because each section checks its values while it is deserialized. An
//! unknown key is an error in every source.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ::config::Value;
use secrecy::SecretString;
use serde::Deserialize;

mod audit;
mod auth;
mod bytes;
mod debug;
mod error;
mod genesys;
mod ignored;
mod layers;
mod limits;
mod log;
mod mismatch;
mod network;
mod participants;
mod proxy;
mod reads;
mod region;
mod render;
mod route;
mod schema;
mod server;
mod simulator;
mod spelling;
mod store;
mod tls;
mod tracing;
mod url;
mod values;
mod verify;
mod writes;

#[cfg(test)]
mod tests;

pub use audit::{AuditConfig, AuditDestination, AuditFailureMode};
pub use auth::{
    AuthConfig, AuthMode, ClientEntry, ClientsFileError, UnprotectedAddress, read_clients,
};
pub use bytes::ByteSize;
pub use debug::DebugConfig;
pub use error::{ConfigError, ConfigProblem, ValueOrigin};
pub use genesys::{ClearWith, GenesysConfig, PatchBody, RateCeilings};
pub use ignored::IgnoredVariable;
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use network::IpNetwork;
pub use participants::ParticipantsConfig;
pub use proxy::HttpProxy;
pub use reads::ReadsConfig;
pub use region::Region;
pub use route::{CustomRoute, PathTemplate, UpstreamRoute};
pub use server::ServerConfig;
pub use simulator::{PatchMode, SimulatorConfig};
pub use store::{OutageMode, RedisConfig, StoreBackend, StoreConfig};
pub use tls::{ClientCertificates, TlsConfig};
pub use tracing::{SpanHeaders, TracingConfig};
pub use url::BaseUrl;
pub use verify::VerifyConfig;
pub use writes::WritesConfig;

use layers::ConfigLayer;
use render::ConfigLine;

/// All settings, one field per section. `Debug` shows no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listening side.
    pub server: ServerConfig,
    /// Which clients may send requests.
    pub auth: AuthConfig,
    /// The upstream, Genesys Cloud.
    pub genesys: GenesysConfig,
    /// Largest sizes and numbers that are accepted.
    pub limits: LimitsConfig,
    /// How a write is verified.
    pub verify: VerifyConfig,
    /// Other settings of writes.
    pub writes: WritesConfig,
    /// Settings of reads.
    pub reads: ReadsConfig,
    /// What outlives a request.
    pub store: StoreConfig,
    /// The participant that a request means by default.
    pub participants: ParticipantsConfig,
    /// The log.
    pub log: LogConfig,
    /// Where writes are recorded.
    pub audit: AuditConfig,
    /// Where spans are exported to.
    pub tracing: TracingConfig,
    /// Debugging endpoints.
    pub debug: DebugConfig,
    /// The simulator of `demo` and `simulate`.
    pub simulator: SimulatorConfig,
}

impl Config {
    /// The credentials for Genesys Cloud, or which of them are missing.
    pub fn credentials(&self) -> Result<OauthCredentials, MissingCredentials> {
        match (&self.genesys.client_id, &self.genesys.client_secret) {
            (Some(id), Some(secret)) => Ok(OauthCredentials {
                client_id: id.clone(),
                client_secret: secret.clone(),
                client_secret_file: self.genesys.client_secret_file.clone(),
            }),
            (id, secret) => Err(MissingCredentials { id: id.is_none(), secret: secret.is_none() }),
        }
    }
}

/// Id and secret of the OAuth client.
#[derive(Clone, Debug)]
pub struct OauthCredentials {
    /// The id; never empty.
    pub client_id: String,
    /// The secret; never empty.
    pub client_secret: SecretString,
    /// The file that the secret was read from, if any.
    pub client_secret_file: Option<PathBuf>,
}

/// Which credentials are not set. `Display` names the variables to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingCredentials {
    id: bool,
    secret: bool,
}

impl fmt::Display for MissingCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.then_some("GENESYS_CLIENT_ID");
        let secret = self.secret.then_some("GENESYS_CLIENT_SECRET");
        let names: Vec<&str> = id.into_iter().chain(secret).collect();
        write!(f, "missing {}", names.join(" and "))
    }
}

impl std::error::Error for MissingCredentials {}

/// The sources of a configuration in addition to the defaults. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct ConfigSource {
    /// The file of `--config`, in TOML.
    pub file: Option<PathBuf>,
    /// All environment variables, including those that the gateway does not use.
    pub env: BTreeMap<String, String>,
}

impl ConfigSource {
    /// A copy without the variables that identify a real organisation: all `GENESYS_…`, and the
    /// credentials, region and URLs in `GATEWAY__GENESYS__…`. The file stays; [`demo`] ignores the
    /// same keys in it.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        let mut real = vec![];
        for key in schema::keys().filter(|key| key.is_account()) {
            real.extend([key.variable(), format!("{}_FILE", key.variable())]);
        }
        let mut source = self.clone();
        source.env.retain(|name, _| !name.starts_with("GENESYS_") && !real.contains(name));
        source
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("ConfigSource").field("file", &self.file).field("env", &names).finish()
    }
}

/// A valid configuration and the origin of its values.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    lines: Vec<ConfigLine>,
}

impl LoadedConfig {
    /// The effective configuration as TOML: every key with its origin in a comment. Secrets are
    /// masked. If there are none, the result can be used as a `--config` file.
    pub fn render(&self) -> String {
        render::render(&self.lines)
    }
}

/// Environment variables that look like settings of this program but are not read.
pub fn ignored_variables(source: &ConfigSource) -> Vec<IgnoredVariable> {
    ignored::find(&source.env)
}

/// Reads and checks all sources.
///
/// # Errors
/// With every problem that was found.
pub fn load(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let layers = layers::collect(source, &mut problems);
    let mut loaded = resolve(&layers, problems)?;
    if let (_, ValueOrigin::FileNamedBy(name)) = effective(&layers, CLIENT_SECRET) {
        loaded.config.genesys.client_secret_file = source.env.get(&name).map(PathBuf::from);
    }
    Ok(loaded)
}

/// The key of the client secret.
const CLIENT_SECRET: &str = "genesys.client_secret";

/// Reads a secret again from its file.
///
/// # Errors
/// If the file cannot be read or holds no secret. The message never quotes the file.
pub fn read_secret(path: &Path) -> Result<String, String> {
    layers::read_line(path)
}

/// As [`load`], but ignores credentials, region and URLs of a real organisation in the environment
/// and in the file. Files that hold them are not opened.
///
/// # Errors
/// As for [`load`].
pub fn demo(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let mut layers = layers::collect(&source.without_credentials(), &mut problems);
    for layer in layers.iter_mut().skip(1) {
        layer.0.retain(|path, _| !schema::find(path).is_some_and(schema::ConfigKey::is_account));
    }
    resolve(&layers, problems)
}

fn resolve(
    layers: &[ConfigLayer],
    mut problems: Vec<ConfigProblem>,
) -> Result<LoadedConfig, ConfigError> {
    // Deserializing stops at the first problem. A default in its place makes the next one visible.
    let mut defaulted = ConfigLayer::default();
    loop {
        let (path, message) = match merge(layers, &defaulted) {
            Ok(config) if problems.is_empty() => {
                let lines = lines(layers, &config);
                return Ok(LoadedConfig { config, lines });
            }
            Ok(_) => return Err(ConfigError::new(problems)),
            Err(error) => describe(error),
        };
        if schema::find(&path).is_some() {
            let (_, origin) = effective(layers, &path);
            problems.push(ConfigProblem::of_key(&path, origin, &message));
        } else if !problems.iter().any(|problem| problem.is_within(&path)) {
            // Keys may also conflict only because a default replaced one of them: report no such conflict.
            problems.extend(disagreements(layers, &path, &message));
        }
        let before = defaulted.0.len();
        defaulted.add_defaults(&path, &layers[0]);
        if defaulted.0.len() == before {
            return Err(ConfigError::new(problems));
        }
    }
}

/// The problems of a section whose keys conflict, parsed from the text of `KeyMismatches`.
fn disagreements(layers: &[ConfigLayer], section: &str, message: &str) -> Vec<ConfigProblem> {
    let problem = |line: &str| {
        let (name, message) = line.split_once(": ")?;
        let key = schema::find(&format!("{section}.{name}"))?;
        let (_, origin) = effective(layers, &key.path());
        Some(ConfigProblem::of_key(key.path(), origin, message))
    };
    let found: Option<Vec<ConfigProblem>> = message.lines().map(problem).collect();
    found.unwrap_or_else(|| vec![ConfigProblem::of_key(section, ValueOrigin::Default, message)])
}

fn merge(layers: &[ConfigLayer], defaulted: &ConfigLayer) -> Result<Config, ::config::ConfigError> {
    let builder = layers
        .iter()
        .fold(::config::Config::builder(), |builder, layer| builder.add_source(layer.clone()));
    builder.add_source(defaulted.clone()).build()?.try_deserialize()
}

/// The value that wins, and its origin.
fn effective(layers: &[ConfigLayer], path: &str) -> (Value, ValueOrigin) {
    let found = layers.iter().rev().find_map(|layer| layer.0.get(path));
    found.cloned().unwrap_or_else(|| (Value::new(None, ""), ValueOrigin::Default))
}

fn lines(layers: &[ConfigLayer], config: &Config) -> Vec<ConfigLine> {
    let line = |key: schema::ConfigKey| {
        let path = key.path();
        let (value, origin) = effective(layers, &path);
        let (default, _) = effective(&layers[..1], &path);
        let line = ConfigLine::new(key, &value, &default, origin);
        // The value is shown as empty: copied into a file, it would survive a change of the region.
        match path.as_str() {
            "genesys.api_url" => line.following("genesys.environment", &config.genesys.api_base()),
            "genesys.login_url" => {
                line.following("genesys.environment", &config.genesys.login_base())
            }
            _ => line,
        }
    };
    schema::keys().map(line).collect()
}

/// The dotted path of the invalid value or section, and what is wrong with it.
fn describe(error: ::config::ConfigError) -> (String, String) {
    use ::config::ConfigError::{At, Message, Type};
    let (key, message) = match error {
        At { error, key, .. } => (key.unwrap_or_default(), describe(*error).1),
        // The value is left out, because it may be a secret.
        Type { expected, key, .. } => (key.unwrap_or_default(), format!("must be {expected}")),
        Message(message) => (String::new(), message),
        other => (String::new(), other.to_string()),
    };
    // A problem in an item is reported for the key of the list.
    (key.split('[').next().unwrap_or_default().to_owned(), message)
}
