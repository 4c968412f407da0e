//! Servers that Sentinel or a cluster names, and that change.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gateway_store::StoreLimits;
use gateway_store::ports::WriteLeases as _;
use gateway_store::redis::RedisStore;

use super::key;
use super::server::{RedisServer, options};
use crate::harness::until;

fn store(url: &str) -> RedisStore {
    RedisStore::new(options(url, "one"), key(), StoreLimits::default()).expect("a valid URL")
}

/// Whether a lease can be taken.
async fn works(store: &RedisStore, participant: &str) -> bool {
    matches!(store.acquire(participant).await, Ok(Some(_)))
}

#[tokio::test]
async fn a_cluster_is_refused_under_the_url_of_a_single_server() {
    let server = RedisServer::start_cluster().await;
    let error = store(&server.url()).check().await.expect_err("a cluster").to_string();
    assert!(error.contains("begin `store.redis.url` with `redis+cluster://`"), "{error}");
}

#[tokio::test]
async fn any_node_of_a_cluster_leads_to_the_one_with_the_keys() {
    let nodes = [
        RedisServer::start(&["--cluster-enabled", "yes"]).await,
        RedisServer::start(&["--cluster-enabled", "yes"]).await,
    ];
    for (node, range) in nodes.iter().zip([(0, 8191), (8192, 16_383)]) {
        let slots: Vec<_> = (range.0..=range.1).map(|slot| slot.to_string()).collect();
        node.command::<()>(redis::cmd("CLUSTER").arg("ADDSLOTS").arg(&slots)).await;
    }
    let there = nodes[1].port().to_string();
    nodes[0].command::<()>(redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(there)).await;
    for (number, node) in nodes.iter().enumerate() {
        let store = store(&node.url().replacen("redis:", "redis+cluster:", 1));
        let participant = number.to_string();
        until("the cluster is complete", async || works(&store, &participant).await.then_some(()))
            .await;
        store.check().await.expect("usable");
    }
}

/// A sentinel, which is killed when this is dropped.
struct Sentinel {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Sentinel {
    fn start(primary: &RedisServer) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let file = directory.path().join("sentinel.conf");
        let watched = primary.port();
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
        );
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("redis-server is installed");
        Self { process, port, _directory: directory }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_next_primary_is_used_once_sentinel_names_it() {
    let primary = RedisServer::start(&[]).await;
    let port = primary.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]).await;
    let sentinel = Sentinel::start(&primary);
    let store = store(&format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port));
    until("the primary is found", async || works(&store, "before").await.then_some(())).await;
    let unknown = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port);
    let error = self::store(&unknown).check().await.expect_err("no such name").to_string();
    assert!(error.contains("a primary that its sentinels do not know"), "{error}");
    until("the sentinel knows the replica", async || {
        let info = primary.command::<String>(redis::cmd("INFO").arg("replication")).await;
        info.contains("state=online").then_some(())
    })
    .await;
    // A sentinel asks the primary for its replicas every ten seconds at first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    primary.kill();
    until("the replica takes over", async || works(&store, "after").await.then_some(())).await;
    let role = replica.command::<String>(redis::cmd("INFO").arg("replication")).await;
    assert!(role.contains("role:master"), "{role}");
}
