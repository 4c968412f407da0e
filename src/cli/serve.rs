//! `serve` and `demo`: the service against Genesys Cloud, or against the simulator.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::net::TcpSocket;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::{say, simulate, telemetry};
use crate::config::{self, Config, Credentials};
use crate::service::{self, LastRecords, Parts, Service};
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// How long "at once" may take where audit records still wait to be written.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Exit status of a process that a second signal ended: as if by SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// Runs the service against Genesys Cloud.
pub async fn serve(source: &config::Source) -> anyhow::Result<()> {
    let config = config::load(source)?.config;
    let credentials = config.credentials().context(
        "cannot serve without an OAuth client of Genesys Cloud; set the variables named, \
         or try `attribute-gateway demo`, which needs none",
    )?;
    config.auth.check_exposure(config.server.bind)?;
    let log = telemetry(&config.log)?;
    warn_about(&config);
    let (service, listener, address) = start(&config, &credentials, &log)?;
    tracing::info!(
        server.address = %address,
        genesys.api = config.genesys.api_base().as_str(),
        version = env!("CARGO_PKG_VERSION"),
        "serving",
    );
    run(service, listener, &config, &log).await
}

/// Runs the service against the simulator, and prints what to try.
pub async fn demo(source: &config::Source, load: &[PathBuf]) -> anyhow::Result<()> {
    let mut config = config::demo(source)?.config;
    let simulation = simulate::start(&config.simulator, load, simulate::IfTaken::AnyPort)?;
    config.genesys.api_url = Some(simulation.url().parse().map_err(anyhow::Error::msg)?);
    config.genesys.login_url = config.genesys.api_url.clone();
    let credentials = Credentials {
        client_id: config.simulator.client_id.clone(),
        client_secret: config.simulator.client_secret.clone(),
        client_secret_file: None,
    };
    // Where callers have to be known, the lines that are printed are one's.
    let key = guard_demo(&mut config.auth, config.server.bind);
    let log = telemetry(&config.log)?;
    let (service, listener, address) = start(&config, &credentials, &log)?;
    say(&simulation.banner(address, config.server.tls.is_some(), key));
    run(service, listener, &config, &log).await
}

/// Sees to it that the demonstration is open to this machine alone, or to callers with a key; tells
/// one that works.
fn guard_demo(auth: &mut config::Auth, bind: SocketAddr) -> Option<&'static str> {
    if auth.check_exposure(bind).is_ok() && !auth.is_guarded() {
        return None;
    }
    auth.clients.push(service::demo_client());
    Some(service::DEMO_KEY)
}

fn start(
    config: &Config,
    credentials: &Credentials,
    log: &Telemetry,
) -> anyhow::Result<(Service, TcpListener, SocketAddr)> {
    let listener = listen(config.server.bind)
        .with_context(|| format!("cannot listen on {} (server.bind)", config.server.bind))?;
    let address = listener.local_addr()?;
    let parts = Parts::over_http(config, log.access().clone())?;
    Ok((Service::build(config, credentials, parts), listener, address))
}

/// Connections that may wait to be accepted: a burst of them is no reason to let callers try again.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Otherwise connections of the last process would keep this one from the port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn run(
    service: Service,
    listener: TcpListener,
    config: &Config,
    log: &Telemetry,
) -> anyhow::Result<()> {
    let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Heard, so that it does not end the process: to write then fails, as it does on a full disk.
    let _file_too_large = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let (drain, ends) = (config.server.drain, (service.last_records(), log.clone()));
    tokio::spawn(heed(signals, service.shutdown().clone(), drain, ends));
    let ended = service.serve(listener).await;
    tracing::info!("stopped");
    log.sink().flush();
    ended
}

/// The first signal begins the drain, the second ends the process.
async fn heed(
    (mut interrupt, mut terminate): (Signals, Signals),
    shutdown: Shutdown,
    drain: Duration,
    (records, log): (LastRecords, Telemetry),
) {
    either(&mut interrupt, &mut terminate).await;
    tracing::info!(drain_s = drain.as_secs(), "draining; a second signal ends at once");
    shutdown.begin(drain);
    either(&mut interrupt, &mut terminate).await;
    tracing::warn!("ended at once by a second signal");
    records.written(AT_ONCE).await;
    log.sink().flush();
    std::process::exit(ENDED_AT_ONCE);
}

async fn either(interrupt: &mut Signals, terminate: &mut Signals) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// What an operator should hear at the start.
fn warn_about(config: &Config) {
    if config.auth.mode == config::AuthMode::None {
        tracing::warn!(
            server.address = %config.server.bind,
            "auth.mode is \"none\": whoever reaches this address can read and write attributes",
        );
    }
    let server = &config.server;
    let is_reached = server.public_url.is_some() || !server.trusted_proxies.is_empty();
    if config.auth.mode == config::AuthMode::Clients && !config.auth.is_guarded() && is_reached {
        tracing::warn!(
            "server.public_url or server.trusted_proxies is set and no caller is configured: whoever \
             gets through to this service from outside can read and write attributes",
        );
    }
    if config.debug.enabled {
        tracing::warn!(
            "debug.enabled: /v1/debug/echo and the traces of conversations are open to every caller",
        );
    }
}
