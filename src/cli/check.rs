//! `check-config`: the checks of the start, and with `--online` what the credentials can do.

use anyhow::{Context as _, bail};

use super::say;
use crate::config;
use crate::service::{KnownCallers, Tls, probe, transport};
use crate::telemetry::Telemetry;

/// Says that the settings are fine, or fails with everything that is wrong.
pub async fn check_config(source: &config::Source, online: bool) -> anyhow::Result<()> {
    let config = config::load(source)?.config;
    Telemetry::check_filter(&config.log.level)?;
    let credentials = config.credentials()?;
    transport(&config)?;
    config.server.tls.as_ref().map(Tls::load).transpose()?;
    config.auth.check_exposure(config.server.bind)?;
    KnownCallers::of_service(&config)?;
    say("settings: valid");
    if !online {
        return Ok(());
    }
    let found = probe(&config, &credentials).await?;
    found.token.context("no token could be fetched")?;
    say("token: fetched");
    if let Err(error) = found.read {
        bail!("conversations: cannot be read: {error}. {}", error.code().hint());
    }
    say("conversations: can be read (asked for one that does not exist, and was told so)");
    say("writes: not tried, since that would change a call");
    Ok(())
}
