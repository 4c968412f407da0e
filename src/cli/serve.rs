//! `serve` and `demo`: the service against Genesys Cloud, or against the simulator.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::TcpSocket;

use super::signals::SignalListener;
use super::{say, simulate, telemetry};
use crate::config::{self, Config, OauthCredentials};
use crate::service::{self, Replicas, Service, ServiceParts};
use crate::telemetry::TelemetryOutput;

/// Runs the service against Genesys Cloud.
pub async fn serve(source: &config::ConfigSource) -> anyhow::Result<()> {
    let signals = SignalListener::listen()?;
    let config = config::load(source)?.config;
    let credentials = config.credentials().context(
        "cannot serve without an OAuth client of Genesys Cloud; set these variables, or try \
         `attribute-gateway demo`, which needs none",
    )?;
    config.auth.check_exposure(config.server.bind)?;
    let log = telemetry(&config.log)?;
    warn_about(&config, source);
    let (service, listener, address) = start(&config, &credentials, &log).await?;
    tracing::info!(
        server.address = %address,
        genesys.api = config.genesys.api_base().as_str(),
        genesys.login = config.genesys.login_base().as_str(),
        version = env!("CARGO_PKG_VERSION"),
        "serving",
    );
    run((service, listener), signals, &config, &log).await
}

/// Runs the service against the simulator, and prints commands to try.
pub async fn demo(source: &config::ConfigSource, load: &[PathBuf]) -> anyhow::Result<()> {
    let signals = SignalListener::listen()?;
    let mut config = config::demo(source)?.config;
    let bind = config.simulator.bind;
    // Any port will do, because only the gateway of this process connects to it.
    let listener = TcpListener::bind(bind).or_else(|_| TcpListener::bind((bind.ip(), 0)));
    let simulation = simulate::start(&config.simulator, load, listener)?;
    config.genesys.api_url = Some(simulation.url.parse().map_err(anyhow::Error::msg)?);
    config.genesys.login_url = config.genesys.api_url.clone();
    let credentials = OauthCredentials {
        client_id: config.simulator.client_id.clone(),
        client_secret: config.simulator.client_secret.clone(),
        client_secret_file: None,
    };
    // If clients must authenticate, the printed commands contain a key.
    let key = guard_demo(&mut config.auth, config.server.bind);
    let log = telemetry(&config.log)?;
    warn_of_ignored(source);
    let (service, listener, address) = start(&config, &credentials, &log).await?;
    say(&simulation.banner(address, config.server.tls.is_some(), key));
    run((service, listener), signals, &config, &log).await
}

/// Opens the demo to this machine only, or to clients with a key. Returns a key if one is needed.
fn guard_demo(auth: &mut config::AuthConfig, bind: SocketAddr) -> Option<&'static str> {
    if auth.check_exposure(bind).is_ok() && !auth.is_guarded() {
        return None;
    }
    auth.clients.push(service::demo_client());
    Some(service::DEMO_KEY)
}

async fn start(
    config: &Config,
    credentials: &OauthCredentials,
    log: &TelemetryOutput,
) -> anyhow::Result<(Service, TcpListener, SocketAddr)> {
    let listener = listen(config.server.bind)
        .with_context(|| format!("cannot listen on {} (server.bind)", config.server.bind))?;
    let address = listener.local_addr()?;
    let replicas = Replicas::open(config, credentials).await?;
    let parts = ServiceParts::over_http(config, credentials, log.losses().clone())?;
    let parts = ServiceParts { replicas, ..parts };
    Ok((Service::build(config, credentials, parts), listener, address))
}

/// Length of the listen backlog, so that a burst of connections is not refused.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise, connections of the previous process would block the port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn run(
    (service, listener): (Service, TcpListener),
    signals: SignalListener,
    config: &Config,
    log: &TelemetryOutput,
) -> anyhow::Result<()> {
    tokio::spawn(signals.handle(service.handle(), config.server.drain.get(), log.clone()));
    let ended = service.serve(listener).await;
    tracing::info!("stopped");
    log.finish();
    ended
}

/// Logs the variables that look like settings but are not read.
fn warn_of_ignored(source: &config::ConfigSource) {
    for variable in config::ignored_variables(source) {
        tracing::warn!("{variable}");
    }
}

/// Logs risky settings at the start.
fn warn_about(config: &Config, source: &config::ConfigSource) {
    warn_of_ignored(source);
    if config.auth.mode == config::AuthMode::None {
        tracing::warn!(
            server.address = %config.server.bind,
            "auth.mode is \"none\": any program that reaches this address can read and write attributes",
        );
    }
    let server = &config.server;
    let is_reached = server.public_url.is_some() || !server.trusted_proxies.is_empty();
    if config.auth.mode == config::AuthMode::Clients && !config.auth.is_guarded() && is_reached {
        tracing::warn!(
            "server.public_url or server.trusted_proxies is set, but no client is configured: any \
             program that reaches this service from outside can read and write attributes",
        );
    }
    if config.debug.enabled {
        tracing::warn!(
            "debug.enabled: every client can use /v1/debug/echo and the traces of conversations",
        );
    }
}
