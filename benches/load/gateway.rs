//! The gateway as it is shipped, with the simulator as its upstream in this process: what every program
//! here that asks it over sockets begins with.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use genesys_simulator::{Simulator, SimulatorSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How often it is asked whether it is ready, and for how long.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 500;

/// A gateway and the platform behind it. Both end with it.
pub struct Gateway {
    /// The platform.
    pub simulator: Simulator,
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Child,
}

impl Gateway {
    /// Starts `program` on a free port, with these variables and no others, and waits until it is ready.
    pub async fn start(
        program: &str,
        settings: SimulatorSettings,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let simulator = Simulator::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = format!("http://{}", listener.local_addr()?);
        let router = simulator.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs([("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", "demo-secret")])
            .env("GATEWAY__SERVER__BIND", address.to_string())
            .env("GATEWAY__GENESYS__API_URL", &upstream)
            .env("GATEWAY__GENESYS__LOGIN_URL", &upstream)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{program}`"))?;
        let gateway = Self { simulator, address, process };
        for _ in 0..LOOKS {
            if gateway.is_ready().await.unwrap_or(false) {
                return Ok(gateway);
            }
            sleep(LOOK).await;
        }
        anyhow::bail!("the service does not become ready")
    }

    async fn is_ready(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
