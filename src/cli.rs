//! The command line: one function per command.

mod doctor;
mod new_key;
mod serve;
mod signals;
mod simulate;
mod top;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, LogFormat};
use crate::service::{ask, readiness_url};
use crate::telemetry::{LogLineFormat, LogOutput, TelemetryOutput};

/// Reads and writes the participant attributes of live Genesys Cloud calls, and verifies each write.
///
/// Without a command, it runs the service. To try it without a Genesys Cloud account, run
/// `attribute-gateway demo`.
#[derive(Debug, Parser)]
#[command(name = "attribute-gateway", version, after_help = EXAMPLES)]
struct Cli {
    /// TOML file with the settings that differ from the defaults. `print-config` shows all settings.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Environment:
  GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET   OAuth client (grant: client credentials);
                                             with _FILE appended: the path of a file with the value
  GENESYS_ENVIRONMENT                        region (eu-west-1) or domain (mypurecloud.ie);
                                             default us-east-1
  GATEWAY__SECTION__KEY                      any setting, e.g. GATEWAY__SERVER__BIND=0.0.0.0:8080
  RUST_LOG                                   log level, e.g. debug

Examples:
  attribute-gateway demo
  GENESYS_CLIENT_ID=… GENESYS_CLIENT_SECRET=… GENESYS_ENVIRONMENT=eu-west-1 attribute-gateway
  attribute-gateway doctor";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default). SIGTERM, SIGQUIT or Ctrl-C drains it; a second one ends it at
    /// once. SIGHUP reloads the clients file and the TLS files. SIGUSR1, SIGUSR2 and SIGPIPE are
    /// ignored.
    Serve,
    /// Run the service against the built-in simulator, with a few live calls and curl commands to
    /// copy. Never uses real credentials.
    Demo {
        /// Files with further conversations, each the JSON response of a GET in an organisation.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        load: Vec<PathBuf>,
    },
    /// Run only the simulator of Genesys Cloud, for your own tests.
    Simulate {
        /// Files with further conversations, each the JSON response of a GET in an organisation.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        load: Vec<PathBuf>,
    },
    /// Check the settings as `serve` does at its start, and print every problem.
    CheckConfig {
        /// Also make the checks of `doctor` that need no call.
        #[arg(long)]
        online: bool,
    },
    /// Check the account: token, clock, region, limits and permissions. Exits with 0 if all is well
    /// (also with warnings), 1 if a check failed, and 2 if the checks could not be made.
    Doctor(doctor::DoctorOptions),
    /// Print the effective settings and the origin of each, with secrets masked.
    PrintConfig,
    /// Create a key for a client, and print it with the matching entry of the configuration. The key
    /// is not stored.
    NewKey {
        /// Name of the client: letters, digits, `.`, `_` and `-`.
        name: String,
    },
    /// Show the live view of a running service in the terminal: budget, upstream, last operations.
    Top(top::TopArgs),
    /// Ask a running service whether it is ready, and exit with 0 or 1. For containers without curl.
    Healthcheck {
        /// URL to ask instead of the service on `server.bind`.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

/// Parses the command line and runs the command.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let source = config::ConfigSource { file: cli.config, env: environment() };
    let result = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&source).await,
        Command::Demo { load } => serve::demo(&source, &load).await,
        Command::Simulate { load } => simulate::simulate(&source, &load).await,
        Command::CheckConfig { online } => doctor::check_config(&source, online).await,
        Command::Doctor(options) => return doctor::doctor(&source, &options).await,
        Command::PrintConfig => print_config(&source),
        Command::NewKey { name } => new_key::new_key(&name),
        Command::Top(args) => top::top(&source, args).await,
        Command::Healthcheck { url } => healthcheck(&source, url).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn_of_ignored(&source);
            print_error(&format!("attribute-gateway: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print_config(source: &config::ConfigSource) -> anyhow::Result<()> {
    say(config::load(source)?.render());
    warn_of_ignored(source);
    Ok(())
}

/// Fails unless the service answers with a 2xx. Needs no credentials.
async fn healthcheck(source: &config::ConfigSource, url: Option<String>) -> anyhow::Result<()> {
    match url {
        Some(url) => ask(&url, false).await,
        None => ask(&readiness_url(&own_url(source)?), true).await,
    }
}

/// The base URL of the service of this configuration, on this machine.
fn own_url(source: &config::ConfigSource) -> anyhow::Result<String> {
    let server = config::load(source)?.config.server;
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", simulate::reachable(server.bind)))
}

/// Warns on standard error of variables that look like settings but are not read.
fn warn_of_ignored(source: &config::ConfigSource) {
    for variable in config::ignored_variables(source) {
        print_error(&format!("warning: {variable}"));
    }
}

/// The environment, which only this function reads. Variables that are not Unicode are no settings.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Starts the configured log.
fn telemetry(log: &config::LogConfig) -> anyhow::Result<TelemetryOutput> {
    let format = match log.format {
        LogFormat::Auto => LogLineFormat::for_stdout(),
        LogFormat::Text => LogLineFormat::Text,
        LogFormat::Json => LogLineFormat::Json,
    };
    let telemetry = TelemetryOutput::new(LogOutput::stdout(), format, &log.level)?;
    telemetry.install();
    Ok(telemetry)
}

/// Prints to standard output, and ignores a closed pipe.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Prints to standard error.
fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_config_option_works_before_and_after_the_command() {
        Cli::command().debug_assert();
        for line in [["x", "--config", "f", "demo"], ["x", "demo", "--config", "f"]] {
            let cli = Cli::try_parse_from(line).expect("both are valid");
            assert_eq!(cli.config, Some(PathBuf::from("f")));
        }
        assert!(Cli::try_parse_from(["x"]).expect("serves").command.is_none());
    }
}
