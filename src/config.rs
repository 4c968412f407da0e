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

mod audit;
mod auth;
mod error;
mod genesys;
mod ignored;
mod keys;
mod limits;
mod log;
mod network;
mod proxy;
mod region;
mod render;
mod requests;
mod route;
mod server;
mod simulator;
mod sources;
mod store;
mod tls;
mod tracing;
mod url;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use audit::{AuditConfig, AuditDestination, AuditFailureMode};
pub use auth::ClientEntry;
pub(crate) use auth::{AuthConfig, AuthMode, ClientsFileError, read_clients};
pub(crate) use error::ValueOrigin;
pub use error::{ConfigError, ConfigProblem};
pub(crate) use genesys::{ClearWith, GenesysConfig, PatchBody, RateCeilings};
pub use ignored::IgnoredVariable;
pub(crate) use limits::LimitsConfig;
pub(crate) use log::LogConfig;
pub use log::LogFormat;
pub use network::IpNetwork;
pub use proxy::HttpProxy;
pub use region::Region;
pub(crate) use requests::{
    DebugConfig, ParticipantsConfig, ReadsConfig, VerifyConfig, WritesConfig,
};
pub use route::PathTemplate;
pub(crate) use route::UpstreamRoute;
pub(crate) use server::ServerConfig;
pub(crate) use simulator::SimulatorConfig;
pub(crate) use sources::read_secret;
pub(crate) use store::{OutageMode, StoreBackend, StoreConfig};
pub(crate) use tls::{ClientCertificates, TlsConfig};
pub(crate) use tracing::TracingConfig;
pub use url::BaseUrl;

use keys::ConfigKey;
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

impl ConfigSource {
    /// A copy without the variables that identify a real organisation: all `GENESYS_…`, and the
    /// credentials, region and URLs in `GATEWAY__GENESYS__…`. The file stays; [`demo`] ignores the
    /// same keys in it.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        let is_real = |name: &str| {
            keys::all()
                .filter(|key| key.is_account())
                .any(|key| name.strip_suffix("_FILE").unwrap_or(name) == key.variable())
        };
        let mut source = self.clone();
        source.env.retain(|name, _| !name.starts_with("GENESYS_") && !is_real(name));
        source
    }
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

/// Environment variables that look like settings of this program but are not read.
pub fn ignored_variables(source: &ConfigSource) -> Vec<IgnoredVariable> {
    ignored::find(&source.env)
}

/// Reads and checks all sources.
pub fn load(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let settings = sources::collect(source, &mut problems);
    let secret = settings.origin("genesys.client_secret");
    let mut loaded = resolve(&settings, problems)?;
    if let ValueOrigin::FileNamedBy(name) = secret {
        loaded.config.genesys.client_secret_file = source.env.get(&name).map(PathBuf::from);
    }
    Ok(loaded)
}

/// As [`load`], but ignores credentials, region and URLs of a real organisation in the environment
/// and in the file. Files that hold them are not opened.
pub fn demo(source: &ConfigSource) -> Result<LoadedConfig, ConfigError> {
    let mut problems = Vec::new();
    let mut settings = sources::collect(&source.without_credentials(), &mut problems);
    settings.reset(ConfigKey::is_account);
    resolve(&settings, problems)
}

fn resolve(
    settings: &Settings,
    mut problems: Vec<ConfigProblem>,
) -> Result<LoadedConfig, ConfigError> {
    // Deserializing stops at the first problem. The defaults of its section make the next one visible.
    let mut remaining = settings.clone();
    loop {
        let tree = remaining.tree();
        let error = match serde_path_to_error::deserialize(tree.clone()) {
            Ok(config) if problems.is_empty() => {
                let rendered = render::render(settings, &config);
                return Ok(LoadedConfig { config, rendered });
            }
            Ok(_) => return Err(ConfigError::new(problems)),
            Err(error) => error,
        };
        let (key, message) = error::describe(&error, &tree);
        let section = key.split('.').next().unwrap_or_default().to_owned();
        problems.push(ConfigProblem { origin: settings.origin(&key), key: Some(key), message });
        if !remaining.reset(|key| key.section.split('.').next() == Some(&section)) {
            return Err(ConfigError::new(problems));
        }
    }
}
