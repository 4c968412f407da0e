//! Which server holds our keys: a single one, the primary of Sentinel, or a node of a cluster.
//!
//! All keys share a hash tag, so one node of a cluster holds them all. It is asked for like the primary of
//! Sentinel: before a connection is made, and again after it broke.

use std::fmt;
use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::faults::{CONNECT_TIMEOUT, explain};
use crate::ports::StoreError;

/// Time for the answer of a server that is asked where the keys are.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How the server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ServerTopology {
    /// The only one.
    Single,
    /// The primary of this name.
    Sentinel(String),
    /// The node with the slot of our keys.
    Cluster,
}

/// The address in `store.redis.url`.
#[derive(Clone)]
pub struct ServerAddress {
    topology: ServerTopology,
    scheme: &'static str,
    /// User and password, with the `@` that follows them.
    login: SecretString,
    /// Servers, sentinels or nodes, each as `host:port`.
    nodes: Vec<String>,
    /// What follows the servers: the database.
    database: String,
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAddress").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl ServerAddress {
    /// The address in this URL; `None` if it is unusable. `redis+sentinel://HOST,HOST/PRIMARY/0` names
    /// sentinels, and `redis+cluster://HOST,HOST` some nodes of a cluster. With `rediss` all use TLS.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let scheme = ["redis", "rediss"].into_iter().find(|known| *known == scheme)?;
        let at = rest.rfind('@').map_or(0, |at| at + 1);
        let (login, rest) = rest.split_at(at);
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (topology, database) = match kind {
            "" => (ServerTopology::Single, path),
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                (
                    ServerTopology::Sentinel(
                        Some(name).filter(|name| !name.is_empty())?.to_owned(),
                    ),
                    database,
                )
            }
            "cluster" if matches!(path, "" | "0") => (ServerTopology::Cluster, ""),
            _ => return None,
        };
        let nodes: Vec<_> = hosts.split(',').map(str::to_owned).collect();
        let address = Self {
            topology,
            scheme,
            login: login.to_owned().into(),
            nodes,
            database: database.to_owned(),
        };
        let is_usable = |node: &String| !node.is_empty() && address.client(node, true).is_ok();
        let is_one = address.topology != ServerTopology::Single || address.nodes.len() == 1;
        (is_one && address.nodes.iter().all(is_usable)).then_some(address)
    }

    /// Whether the server is asked for, and may be another one later.
    pub(super) fn moves(&self) -> bool {
        self.topology != ServerTopology::Single
    }

    /// Whether it names a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.topology == ServerTopology::Cluster
    }

    /// What an error means. In a cluster, keys that have moved are found again.
    pub(super) fn explain(&self, error: &RedisError) -> StoreError {
        if self.is_cluster() && error.redirect_node().is_some() {
            return StoreError::Unavailable(
                "the keys move to another node of the cluster".to_owned(),
            );
        }
        explain(error)
    }

    /// The server that holds the keys with the hash tag of `key`.
    pub(super) async fn find(&self, key: &str) -> Result<Client, StoreError> {
        let mut last = None;
        for node in &self.nodes {
            let found = match &self.topology {
                ServerTopology::Single => return self.client(node, true),
                ServerTopology::Sentinel(primary) => self.ask_sentinel(node, primary).await,
                ServerTopology::Cluster => self.ask_node(node, key).await,
            };
            match found {
                Ok(node) => return self.client(&node, true),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unusable("names no server")))
    }

    async fn ask_sentinel(&self, node: &str, primary: &str) -> Result<String, StoreError> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        // A sentinel often has no password although the servers have one.
        let mut answer = ask(&self.client(node, false)?, &command).await;
        if answer.is_err() && !self.login.expose_secret().is_empty() {
            answer = ask(&self.client(node, true)?, &command).await;
        }
        let found: Option<(String, u16)> = answer.map_err(|error| explain(&error))?;
        let (host, port) =
            found.ok_or_else(|| unusable("names a primary that its sentinels do not know"))?;
        Ok(authority(&host, port))
    }

    async fn ask_node(&self, node: &str, key: &str) -> Result<String, StoreError> {
        let mut command = redis::cmd("EXISTS");
        command.arg(key);
        match ask::<u64>(&self.client(node, true)?, &command).await {
            Ok(_) => Ok(node.to_owned()),
            // While a slot moves, `ASK` names its next node, which does not take commands yet.
            Err(error) if has_moved(&error) => match error.redirect_node() {
                // A node that does not know its own address leaves the host out.
                Some((there, _)) if !there.starts_with(':') => Ok(bracketed(there)),
                _ => Err(self.explain(&error)),
            },
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn client(&self, node: &str, with_login: bool) -> Result<Client, StoreError> {
        let login = if with_login { self.login.expose_secret() } else { "" };
        let url = format!("{}://{login}{node}/{}", self.scheme, self.database);
        Client::open(url)
            .map_err(|_| unusable("must be a URL such as `redis://user:password@host:6379/0`"))
    }
}

fn has_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

async fn ask<T: FromRedisValue>(client: &Client, command: &Cmd) -> Result<T, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    command.query_async(&mut connection).await
}

fn unusable(what: &str) -> StoreError {
    StoreError::Unusable(format!("`store.redis.url` {what}"))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `there` is `host:port`, where an IPv6 address has no brackets.
fn bracketed(there: &str) -> String {
    let parts = there.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.map_or_else(
        || there.to_owned(),
        |(host, port)| authority(host.trim_matches(['[', ']']), port),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_sentinels_and_nodes_are_told_apart() {
        for (url, topology, nodes) in [
            ("redis://host", ServerTopology::Single, 1),
            ("rediss://u:p%40@[::1]:6380/1", ServerTopology::Single, 1),
            (
                "redis+sentinel://u:p@a:26379,b/main/0",
                ServerTopology::Sentinel("main".to_owned()),
                2,
            ),
            ("rediss+cluster://a:7000,b:7001,c:7002", ServerTopology::Cluster, 3),
        ] {
            let address = ServerAddress::parse(url).expect(url);
            assert_eq!((&address.topology, address.nodes.len()), (&topology, nodes), "{url}");
            assert!(!format!("{address:?}").contains("p%40"));
        }
    }

    #[test]
    fn unusable_addresses_are_refused() {
        for url in [
            "",
            "host:6379",
            "redis://",
            "redis://a,b",
            "http://a",
            "redis+x://a",
            "redis+sentinel://a",
            "redis+sentinel://a,/main",
            "redis+cluster://a/1",
            "redis+cluster://a:x",
        ] {
            assert!(ServerAddress::parse(url).is_none(), "{url}");
        }
    }
}
