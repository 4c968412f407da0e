//! `simulate`, and the simulator of `demo`.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::say;
use crate::config;
use genesys_simulator::{DemoCall, Simulator, SimulatorSettings};

/// A running simulator.
pub struct SimulatorServer {
    /// Its URL from this machine.
    pub url: String,
    calls: Vec<DemoCall>,
    /// The calls as text.
    list: String,
}

/// Runs the simulator until a signal.
pub async fn simulate(source: &config::ConfigSource, load: &[PathBuf]) -> anyhow::Result<()> {
    let config = config::demo(source)?.config;
    let simulation = start(&config.simulator, load, TcpListener::bind(config.simulator.bind))?;
    say(&simulation.description());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Starts the simulator with the demo calls and those in the files of `load`.
pub fn start(
    config: &config::SimulatorConfig,
    load: &[PathBuf],
    listener: std::io::Result<TcpListener>,
) -> anyhow::Result<SimulatorServer> {
    let simulator = Simulator::new(settings(config));
    let calls = simulator.demo_calls();
    let mut list = String::from("Calls:\n");
    for call in &calls {
        let _ = writeln!(list, "  {}  {}", call.conversation_id, call.description);
    }
    for file in config.load.iter().chain(load) {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let json = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
        let id = simulator.add_conversation(&json).with_context(|| format!("cannot use {name}"))?;
        let _ = writeln!(list, "  {id}  loaded from a file");
    }
    let listener =
        listener.with_context(|| format!("cannot listen on {} (simulator.bind)", config.bind))?;
    let url = format!("http://{}", reachable(listener.local_addr()?));
    listener.set_nonblocking(true)?;
    // The control API checks the address of its client.
    let service = simulator.router().into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(SimulatorServer { url, calls, list })
}

fn settings(config: &config::SimulatorConfig) -> SimulatorSettings {
    let per_minute = |limit: u32| Some(limit).filter(|limit| *limit > 0);
    SimulatorSettings {
        client_id: config.client_id.clone(),
        client_secret: config.client_secret.expose_secret().to_owned(),
        token_lifetime: config.token_lifetime.get(),
        latency: config.latency.get(),
        lag: config.lag.get(),
        requests_per_minute: per_minute(config.requests_per_minute),
        rate_window: config.rate_window.get(),
        token_requests_per_minute: per_minute(config.token_requests_per_minute),
        size_limit: Some(config.size_limit.get()).filter(|limit| *limit > 0),
        semantics: config.patch,
        null: config.null,
        empty: config.empty,
        after_end: config.after_end,
        missing_permissions: config.missing_permissions.clone(),
        clock_skew_seconds: config.clock_skew_seconds,
        voice_paths: config.voice_paths,
        ..SimulatorSettings::default()
    }
}

impl SimulatorServer {
    /// The text that `simulate` prints.
    fn description(&self) -> String {
        let Self { url, list, .. } = self;
        format!(
            "Simulator of Genesys Cloud on {url}\n\n{list}\n\
             Connect a gateway to it:\n  \
             GATEWAY__GENESYS__API_URL={url} GATEWAY__GENESYS__LOGIN_URL={url} \\\n    \
             GENESYS_CLIENT_ID=demo GENESYS_CLIENT_SECRET=demo-secret attribute-gateway\n\
             Script a fault, here a 429 for the next PATCH:\n  \
             curl -d '{{\"on\":{{\"kind\":\"patch\"}},\"action\":\"throttle\",\"retry_after\":2}}' \\\n    \
             -H 'Content-Type: application/json' {url}/__sim/faults"
        )
    }

    /// The text that `demo` prints: commands to copy, with this key if one is needed.
    pub fn banner(&self, gateway: SocketAddr, encrypted: bool, key: Option<&str>) -> String {
        let scheme = if encrypted { "https" } else { "http" };
        let attributes = |call: &DemoCall| {
            let id = &call.conversation_id;
            format!("{scheme}://{}/v1/conversations/{id}/attributes", reachable(gateway))
        };
        let mut text = format!(
            "attribute-gateway demo: {scheme}://{}, in front of a simulated Genesys Cloud ({})\n\n{}",
            reachable(gateway),
            self.url,
            self.list
        );
        let live = self.calls.iter().find(|call| call.live);
        let ended = self.calls.iter().find(|call| !call.live);
        if let (Some(live), Some(ended)) = (live, ended) {
            let (live, ended) = (attributes(live), attributes(ended));
            let key = key.map(|key| format!("-H 'X-API-Key: {key}' ")).unwrap_or_default();
            let put = format!(
                "curl -i {key}-X PUT -H 'Content-Type: application/json' \\\n    \
                 -d '{{\"attributes\":{{\"crm_customer_id\":\"CRM-998877\",\"loyalty_tier\":\"gold\"}}}}' \\\n    "
            );
            let _ = write!(
                text,
                "\nWrite two attributes of the customer; the response confirms both:\n  {put}{live}\n\n\
                 Read them:\n  curl -i {key}{live}\n\n\
                 An intentional error, a write to a call that has ended:\n  {put}{ended}\n\n\
                 Ctrl-C ends it."
            );
        }
        text
    }
}

/// An address to connect to: loopback for a listener on all addresses.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
