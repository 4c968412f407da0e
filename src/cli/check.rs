//! `check-config`: the checks of the start, and with `--online` those of `doctor`.

use anyhow::bail;

use super::{say, warn_of_ignored};
use crate::config::{self, Config, OauthCredentials};
use crate::service::{self, ClientSource, HttpTransport, ServerTls, transport};

/// Prints that the settings are valid, or fails with all problems.
pub async fn check_config(source: &config::ConfigSource, online: bool) -> anyhow::Result<()> {
    let (config, credentials, transport) = checked(source)?;
    warn_of_ignored(source);
    say("settings: valid");
    let (api, login) = (config.genesys.api_base(), config.genesys.login_base());
    say(&format!("hosts: {api} (API), {login} (login)"));
    if online {
        let report = service::doctor(&config, &credentials, transport, None).await?;
        say(&report.to_string());
        if report.has_failed() {
            bail!("at least one check failed");
        }
    }
    Ok(())
}

/// The settings, the credentials and the transport, after all checks of the start.
pub fn checked(
    source: &config::ConfigSource,
) -> anyhow::Result<(Config, OauthCredentials, HttpTransport)> {
    let config = config::load(source)?.config;
    let credentials = config.credentials()?;
    let transport = transport(&config)?;
    config.server.tls.as_ref().map(ServerTls::load).transpose()?;
    config.auth.check_exposure(config.server.bind)?;
    ClientSource::from_config(&config)?;
    Ok((config, credentials, transport))
}
