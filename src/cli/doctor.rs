//! `doctor`: checks the account, and tests how the platform treats writes. `check-config`: the checks of the
//! start, and with `--online` those of `doctor`.

use std::process::ExitCode;

use anyhow::bail;

use super::{print_error, say, warn_of_ignored};
use crate::config::{self, Config, OauthCredentials};
use crate::service::{self, ClientSource, DoctorReport, HttpTransport, ServerTls, transport};

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct DoctorOptions {
    /// UUID of a live call: reads it, and shows what a write would send.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// The participant of that call: its UUID, a purpose or `first`. [default: participants.default]
    #[arg(long, value_name = "PARTICIPANT", requires = "conversation")]
    participant: Option<String>,
    /// Write one key to that call, find out how the platform treats it, and restore the call. Use a
    /// test call. It ends within 30 s.
    #[arg(long, requires = "conversation")]
    write_test: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 if no check failed, 1 if one did, and 2 if the checks could not be made.
pub async fn doctor(source: &config::ConfigSource, options: &DoctorOptions) -> ExitCode {
    match examine(source, options).await {
        Ok(report) => {
            let json = options.json.then(|| serde_json::to_string_pretty(&report).ok()).flatten();
            say(&json.unwrap_or_else(|| report.to_string()));
            ExitCode::from(u8::from(report.has_failed()))
        }
        Err(error) => {
            print_error(&format!("attribute-gateway: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn examine(
    source: &config::ConfigSource,
    options: &DoctorOptions,
) -> anyhow::Result<DoctorReport> {
    warn_of_ignored(source);
    let (config, credentials, transport) = checked(source)?;
    let call = options.conversation.as_deref().map(|conversation| service::DoctorCall {
        conversation,
        participant: options.participant.as_deref(),
        write_test: options.write_test,
    });
    service::doctor(&config, &credentials, transport, call).await
}

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
fn checked(
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
