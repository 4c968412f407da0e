//! `check-config`: the checks of the start, and with `--online` those of the credentials.

use anyhow::{Context as _, ensure};

use super::{say, warn_of_ignored};
use crate::config;
use crate::service::{ClientSource, ServerTls, online_check, transport};

/// Prints that the settings are valid, or fails with all problems.
pub async fn check_config(source: &config::ConfigSource, online: bool) -> anyhow::Result<()> {
    let config = config::load(source)?.config;
    let credentials = config.credentials()?;
    transport(&config)?;
    config.server.tls.as_ref().map(ServerTls::load).transpose()?;
    config.auth.check_exposure(config.server.bind)?;
    ClientSource::from_config(&config)?;
    warn_of_ignored(source);
    say("settings: valid");
    let (api, login) = (config.genesys.api_base(), config.genesys.login_base());
    say(&format!("hosts: {api} (API), {login} (login)"));
    if !online {
        return Ok(());
    }
    let found = online_check(&config, &credentials).await;
    let found = found.with_context(|| format!("no token could be fetched from {login}"))?;
    say(&format!("token: fetched from {login}"));
    let mut failures = Vec::new();
    match found.read {
        Ok(()) => {
            say("conversations: can be read (the call asked for one that does not exist)");
        }
        Err(failure) => failures.push(format!("conversations: cannot be read: {failure}")),
    }
    match found.list {
        Ok(()) => say("analytics: live conversations can be listed"),
        Err(failure) => failures
            .push(format!("analytics: live conversations cannot be listed or searched: {failure}")),
    }
    say("writes: not checked, because a write would change a call");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
