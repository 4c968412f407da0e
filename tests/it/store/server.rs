//! A real `redis-server` for one test, on a port and in a directory of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use gateway_store::StoreLimits;
use gateway_store::redis::{RedisOptions, RedisStore};
use redis::{Cmd, FromRedisValue};

use super::key;
use crate::harness::until;

/// Calls of all replicas in one window, in these tests.
pub const CALLS: u32 = 30;

/// Length of that window.
pub const WINDOW: Duration = Duration::from_millis(500);

/// Settings that every test starts with; later ones win. `REDIS_APPENDFSYNC=everysec` tests `WAITAOF`.
fn durable() -> [String; 4] {
    let fsync = std::env::var("REDIS_APPENDFSYNC").unwrap_or_else(|_| "always".to_owned());
    ["--appendonly".to_owned(), "yes".to_owned(), "--appendfsync".to_owned(), fsync]
}

/// A running server. It is killed when this is dropped.
pub struct RedisServer {
    directory: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
    process: Mutex<Child>,
    /// It is a cluster of one node.
    is_cluster: bool,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let settings: Vec<String> =
            durable().into_iter().chain(settings.iter().map(|text| (*text).to_owned())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let process = Mutex::new(spawn(directory.path(), port, &settings));
        let server = Self { directory, port, settings, process, is_cluster: false };
        server.answers().await;
        server
    }

    /// Starts a cluster of one node.
    pub async fn start_cluster() -> Self {
        let mut server = Self::start(&["--cluster-enabled", "yes"]).await;
        let slots: Vec<_> = (0..16_384).map(|slot| slot.to_string()).collect();
        server.command::<()>(redis::cmd("CLUSTER").arg("ADDSLOTS").arg(&slots)).await;
        server.is_cluster = true;
        server.answers().await;
        server
    }

    /// Kills the server as a crash does, and starts it again.
    pub async fn restart(&self) {
        self.kill();
        self.start_again().await;
    }

    /// Starts the server with the data that it had.
    pub async fn start_again(&self) {
        *self.process.lock().expect("no holder panics") =
            spawn(self.directory.path(), self.port, &self.settings);
        self.answers().await;
    }

    /// Kills the server as a crash does.
    pub fn kill(&self) {
        let mut process = self.process.lock().expect("no holder panics");
        process.kill().expect("it ran");
        process.wait().expect("a child");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The store of a replica.
    pub fn store(&self, replica: &str, limits: StoreLimits) -> RedisStore {
        let url = if self.is_cluster {
            self.url().replacen("redis:", "redis+cluster:", 1)
        } else {
            self.url()
        };
        RedisStore::new(options(&url, replica), key(), limits).expect("a valid URL")
    }

    /// Runs a command on a connection of its own.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await;
        command.query_async(&mut connection.expect("connects")).await.expect("an answer")
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).expect("a URL");
        until("redis-server answers", async || {
            let mut connection = client.get_multiplexed_async_connection().await;
            if let Err(error) = &connection {
                // With a password it answers, too.
                return (error.kind() == redis::ErrorKind::AuthenticationFailed
                    || error.code() == Some("NOAUTH"))
                .then_some(());
            }
            let connection = connection.as_mut().expect("connected");
            let ping = if self.is_cluster {
                // After a start, a node takes no commands for up to two seconds.
                redis::cmd("EXISTS").arg("x").query_async::<redis::Value>(connection).await
            } else {
                redis::cmd("PING").query_async(connection).await
            };
            match ping {
                Ok(_) => Some(()),
                Err(error) => matches!(error.code(), Some("NOAUTH" | "MASTERDOWN")).then_some(()),
            }
        })
        .await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The options of a replica.
pub fn options(url: &str, replica: &str) -> RedisOptions {
    RedisOptions {
        url: url.into(),
        key_prefix: "attribute-gateway:{test}:".to_owned(),
        replica: replica.to_owned(),
        calls: CALLS,
        window: WINDOW,
    }
}

fn spawn(directory: &std::path::Path, port: u16, settings: &[String]) -> Child {
    let mut command = Command::new(program());
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.arg("--dir").arg(directory).args(settings);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("{} does not start ({error}): `make test` installs it on Debian", program())
    })
}

/// The program of the server. `REDIS_SERVER` names another one, such as that of Valkey.
fn program() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}
