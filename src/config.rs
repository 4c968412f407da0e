//! The configuration: its sources, its validation, and the origin of each value.
//!
//! Later sources win: the defaults that are compiled in (`config/default.toml`), the file of
//! `--config`, `GENESYS_CLIENT_ID`, `GENESYS_CLIENT_SECRET` and `GENESYS_ENVIRONMENT`,
//! `GATEWAY__SECTION__KEY`, and `RUST_LOG` for `log.level`. The environment is passed in; this
//! module never reads that of the process.
//!
//! Every [`Config`] is valid, because each section checks its values while it is deserialized. An
//! unknown key is an error in every source.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

mod auth;
mod error;
mod genesys;
mod ignored;
mod keys;
mod log;
mod region;
mod render;
mod requests;
mod server;
mod sources;
mod store;
mod url;
mod values;

#[cfg(test)]
mod tests;

pub use auth::ClientEntry;
pub(crate) use auth::{AuthConfig, AuthMode, read_clients};
pub use error::ConfigError;
pub use genesys::PathTemplate;
pub(crate) use genesys::{ClearWith, GenesysConfig, PatchBody, RateCeilings, UpstreamRoute};
pub use log::LogFormat;
pub(crate) use log::{AuditConfig, AuditDestination, AuditFailureMode, LogConfig, TracingConfig};
pub use region::Region;
pub(crate) use requests::{
    DebugConfig, ParticipantsConfig, ReadsConfig, SimulatorConfig, VerifyConfig, WritesConfig,
};
pub(crate) use server::{ClientCertificates, LimitsConfig, ServerConfig, TlsConfig};
pub(crate) use sources::read_secret;
pub(crate) use store::{OutageMode, StoreBackend, StoreConfig};
pub use url::{BaseUrl, HttpProxy, IpNetwork};

use error::problem;
use sources::Settings;

/// All settings, one field per section. `Debug` shows no secret.
#[expect(missing_docs, reason = "each field is the section of this name")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    #[serde(deserialize_with = "values::checked")]
    pub auth: AuthConfig,
    #[serde(deserialize_with = "values::checked")]
    pub genesys: GenesysConfig,
    pub limits: LimitsConfig,
    pub verify: VerifyConfig,
    pub writes: WritesConfig,
    pub reads: ReadsConfig,
    #[serde(deserialize_with = "values::checked")]
    pub store: StoreConfig,
    pub participants: ParticipantsConfig,
    pub log: LogConfig,
    pub audit: AuditConfig,
    #[serde(deserialize_with = "values::checked")]
    pub tracing: TracingConfig,
    pub debug: DebugConfig,
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
            (None, None) => Err(MissingCredentials("GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET")),
            (None, _) => Err(MissingCredentials("GENESYS_CLIENT_ID")),
            (_, None) => Err(MissingCredentials("GENESYS_CLIENT_SECRET")),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("missing {0}")]
pub struct MissingCredentials(&'static str);

/// The sources of a configuration in addition to the defaults. It has no `Debug`, because it holds secrets.
#[derive(Clone, Default)]
pub struct ConfigSource {
    /// The file of `--config`, in TOML.
    pub file: Option<PathBuf>,
    /// All environment variables, including those that the gateway does not use.
    pub env: BTreeMap<String, String>,
}

/// A valid configuration and the origin of its values.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    rendered: String,
}

impl LoadedConfig {
    /// The effective configuration as TOML: every key with its origin in a comment. Secrets are
    /// masked. If there are none, the result can be used as a `--config` file.
    pub fn render(&self) -> &str {
        &self.rendered
    }
}

/// A warning about each environment variable that looks like a setting of this program but is not read.
pub fn ignored_variables(source: &ConfigSource) -> Vec<String> {
    ignored::find(&source.env)
}

/// Reads and checks all sources.
pub fn load(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    load_from(source, true)
}

/// As [`load`], but ignores credentials, region and URLs of a real organisation in the environment
/// and in the file. Files that hold them are not opened.
pub fn demo(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    load_from(source, false)
}

fn load_from(source: &ConfigSource, is_real: bool) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let settings = sources::collect(source, is_real, &mut problems);
    if let Some(mut config) = check(&settings, &mut problems).filter(|_| problems.is_empty()) {
        let secret = settings.get("genesys.client_secret");
        config.genesys.client_secret_file = secret.and_then(|secret| secret.file.clone());
        let rendered = render::render(&settings, &config);
        return Ok(LoadedConfig { config, rendered });
    }
    problems.sort();
    Err(ConfigError { problems })
}

/// The settings as sections. Deserializing stops at the first problem. The defaults of its section make
/// the next one visible.
fn check(settings: &Settings, problems: &mut Vec<String>) -> Option<Config> {
    let mut remaining = settings.clone();
    loop {
        let tree = remaining.tree();
        let error = match serde_path_to_error::deserialize(tree.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let (key, message) = error::describe(&error, &tree);
        problems.push(problem(&key, &message, settings.origin(&key)));
        if !remaining.reset(key.split('.').next().unwrap_or_default()) {
            return None;
        }
    }
}
