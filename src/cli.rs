//! The commands of the program, one function each.

mod check;
mod healthcheck;
mod new_key;
mod serve;
mod signals;
mod simulate;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, LogFormat};
use crate::telemetry::{LogLineFormat, LogWriter, TelemetryOutput};

/// Reads and writes the participant attributes of live Genesys Cloud calls, and proves the writes.
///
/// Without a command it serves. To try it without a Genesys Cloud account: attribute-gateway demo
#[derive(Debug, Parser)]
#[command(name = "attribute-gateway", version, after_help = EXAMPLES)]
struct Cli {
    /// TOML file with settings that differ from the defaults; see `print-config` for all of them.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Environment:
  GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET   OAuth client (grant: client credentials);
                                             with _FILE appended: a file that holds it
  GENESYS_ENVIRONMENT                        region (eu-west-1) or domain (mypurecloud.ie);
                                             default us-east-1
  GATEWAY__SECTION__KEY                      any setting, e.g. GATEWAY__SERVER__BIND=0.0.0.0:8080
  RUST_LOG                                   what is logged, e.g. debug

Examples:
  attribute-gateway demo
  GENESYS_CLIENT_ID=… GENESYS_CLIENT_SECRET=… GENESYS_ENVIRONMENT=eu-west-1 attribute-gateway
  attribute-gateway check-config --online";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default). SIGTERM, SIGQUIT or Ctrl-C drains it, a second one ends it at
    /// once. SIGHUP reads the clients file and the TLS files again at once. SIGUSR1, SIGUSR2 and
    /// SIGPIPE are ignored.
    Serve,
    /// Run the service against the built-in simulator, with a few live calls and curl lines to
    /// paste. Never uses real credentials.
    Demo {
        /// Conversations to serve besides: the JSON of a GET, as captured from an organisation.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        load: Vec<PathBuf>,
    },
    /// Run the simulator of Genesys Cloud alone, for tests of your own.
    Simulate {
        /// Conversations to serve besides: the JSON of a GET, as captured from an organisation.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        load: Vec<PathBuf>,
    },
    /// Check the settings as the start would, and say what is wrong with them.
    CheckConfig {
        /// Fetch a token, too, and try to read a conversation and to list live ones.
        #[arg(long)]
        online: bool,
    },
    /// Print the effective settings and where each comes from, secrets masked.
    PrintConfig,
    /// Make a key for a client, and print it once, with the entry of the configuration by which the
    /// service knows it.
    NewKey {
        /// Name of the client: letters, digits, `.`, `_` and `-`.
        name: String,
    },
    /// Ask a running service whether it is ready; exit with 0 or 1. For containers without curl.
    Healthcheck {
        /// What to ask instead of the service on `server.bind`.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

/// Runs the command of the command line.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let source = config::ConfigSource { file: cli.config, env: environment() };
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(&source).await,
        Command::Demo { load } => serve::demo(&source, &load).await,
        Command::Simulate { load } => simulate::simulate(&source, &load).await,
        Command::CheckConfig { online } => check::check_config(&source, online).await,
        Command::PrintConfig => print_config(&source),
        Command::NewKey { name } => new_key::new_key(&name),
        Command::Healthcheck { url } => healthcheck::healthcheck(&source, url).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn_of_ignored(&source);
            complain(&format!("attribute-gateway: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print_config(source: &config::ConfigSource) -> anyhow::Result<()> {
    say(&config::load(source)?.render());
    warn_of_ignored(source);
    Ok(())
}

/// Names the variables that look like settings and are not read, on standard error.
fn warn_of_ignored(source: &config::ConfigSource) {
    for variable in config::ignored_variables(source) {
        complain(&format!("warning: {variable}"));
    }
}

/// The environment, read here and nowhere else. What is not Unicode cannot be a setting.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Starts the log as configured.
fn telemetry(log: &config::LogConfig) -> anyhow::Result<TelemetryOutput> {
    let format = match log.format {
        LogFormat::Auto => LogLineFormat::for_stdout(),
        LogFormat::Text => LogLineFormat::Text,
        LogFormat::Json => LogLineFormat::Json,
    };
    let telemetry = TelemetryOutput::new(LogWriter::stdout(format), format, &log.level)?;
    telemetry.install();
    Ok(telemetry)
}

/// Prints to standard output; a closed pipe is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Prints to standard error.
fn complain(text: &str) {
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
            let cli = Cli::try_parse_from(line).expect("both are fine");
            assert_eq!(cli.config, Some(PathBuf::from("f")));
        }
        assert!(Cli::try_parse_from(["x"]).expect("serves").command.is_none());
    }
}
