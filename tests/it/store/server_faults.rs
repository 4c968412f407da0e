//! What the shared store says about a server that cannot be used, and how it recovers.

use std::time::Duration;

use gateway_store::SealingKey;
use gateway_store::ports::{
    BudgetLeases as _, BudgetReport, IdempotencyStore as _, OperationJournal as _,
    SharedToken as _, StoreError,
};
use gateway_store::redis::RedisStore;

use super::server::{RedisServer, options};
use super::{key, limits, operation, scope};
use crate::harness::{Authority, until};

async fn check(url: &str) -> StoreError {
    let store = RedisStore::new(options(url, "one"), key(), limits()).expect("a valid URL");
    store.check().await.expect_err("refused")
}

#[track_caller]
fn unusable(error: StoreError, hint: &str) {
    let StoreError::Unusable(message) = error else { panic!("{error:?}") };
    assert!(message.contains(hint), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_good_server_is_taken() {
    let server = RedisServer::start(&[]).await;
    assert_eq!(server.store("one", limits()).check().await, Ok(()));
}

#[tokio::test]
async fn an_invalid_url_is_refused_without_being_shown() {
    for url in ["http://user:hunter2@host", "redis//hunter2", ""] {
        let refused = RedisStore::new(options(url, "one"), key(), limits());
        unusable(refused.expect_err("refused"), "store.redis.url");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = RedisServer::start(&["--requirepass", "right"]).await;
    unusable(check(&server.url()).await, "user or password");
    let wrong = server.url().replace("127", ":hunter2@127");
    unusable(check(&wrong).await, "user or password");
    let right = server.url().replace("127", ":right@127");
    let store = RedisStore::new(options(&right, "one"), key(), limits()).expect("a valid URL");
    assert_eq!(store.check().await, Ok(()));
}

#[tokio::test]
async fn settings_that_lose_writes_are_refused() {
    let server = RedisServer::start(&["--appendonly", "no"]).await;
    unusable(check(&server.url()).await, "appendonly yes");
    let evicting = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let server = RedisServer::start(&evicting).await;
    unusable(check(&server.url()).await, "noeviction");
    let server = RedisServer::start(&["--replicaof", "127.0.0.1 1"]).await;
    unusable(check(&server.url()).await, "read-only replica");
}

#[tokio::test]
async fn a_server_that_loses_a_second_keeps_no_accepted_writes() {
    let server = RedisServer::start(&["--appendfsync", "no"]).await;
    let store = server.store("one", limits());
    assert_eq!(store.check().await, Ok(()));
    unusable(store.append(operation(1, 11)).await.expect_err("refused"), "appendfsync");
    unusable(store.summary().await.expect_err("refused"), "appendfsync");
    let mut set = redis::cmd("CONFIG");
    server.command::<()>(set.arg("SET").arg("appendfsync").arg("always")).await;
    store.append(operation(1, 11)).await.expect("stored");
    // It comes back with the settings that it was started with.
    server.kill();
    store.summary().await.expect_err("away");
    server.start_again().await;
    until("it is seen", async || match store.append(operation(1, 12)).await {
        Err(StoreError::Unusable(_)) => Some(()),
        Err(StoreError::Unavailable(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let identity = Authority::new("unknown").server();
    let [certificate, key] = ["certificate", "key"].map(|name| directory.path().join(name));
    std::fs::write(&certificate, identity.certificate).expect("written");
    std::fs::write(&key, identity.key).expect("written");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let tls = [
        ["--tls-port", &port.to_string()],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-auth-clients", "no"],
        ["--tls-ca-cert-file", &certificate],
    ];
    let server = RedisServer::start(&tls.concat()).await;
    unusable(check(&format!("rediss://127.0.0.1:{port}/")).await, "certificate");
    // To a plain port, or without TLS to this one, it looks as if the server was away.
    for url in [server.url().replace("redis:", "rediss:"), format!("redis://127.0.0.1:{port}/")] {
        let error = check(&url).await;
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_outage_and_comes_back() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    store.append(operation(1, 11)).await.expect("stored");
    server.kill();
    let error = store.append(operation(1, 12)).await.expect_err("away");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(matches!(check(&server.url()).await, StoreError::Unavailable(_)));
    let early = server.store("two", limits());
    early.append(operation(1, 13)).await.expect_err("away");

    server.start_again().await;
    for store in [&store, &early] {
        until("it is there again", async || store.append(operation(1, 12)).await.ok()).await;
    }
    assert_eq!(store.summary().await.expect("counted").unfinished, 2);
}

#[tokio::test]
async fn a_failover_to_a_replica_is_noticed_and_left_again() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    store.append(operation(1, 11)).await.expect("stored");
    let connections = async || {
        let info: String = server.command(redis::cmd("INFO").arg("stats")).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.expect("counted").trim().parse::<u32>().expect("a number")
    };
    server.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await;
    let error = store.append(operation(1, 12)).await.expect_err("read-only").to_string();
    assert!(error.contains("read-only replica"), "{error}");
    server.command::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    let before = connections().await;
    store.append(operation(1, 12)).await.expect("stored");
    // One is that of the count itself.
    assert_eq!(connections().await - before, 2, "the connection was not made again");
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    store.append(operation(1, 11)).await.expect("stored");
    server.command::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await;
    store.append(operation(1, 12)).await.expect("stored");
}

#[tokio::test]
async fn a_full_memory_is_an_error() {
    let server =
        RedisServer::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]).await;
    let store = server.store("one", limits());
    let error = store.append(operation(1, 11)).await.expect_err("full").to_string();
    assert!(error.contains("the memory of Redis is full"), "{error}");
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let server = RedisServer::start(&["--enable-debug-command", "yes"]).await;
    let store = std::sync::Arc::new(server.store("one", limits()));
    store.append(operation(1, 11)).await.expect("stored");
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let sleeping = tokio::spawn(async move {
        let mut sleep = redis::cmd("DEBUG");
        let _ = sleep.arg("SLEEP").arg("0.5").query_async::<()>(&mut connection).await;
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.append(operation(1, 12)).await.expect("stored");
    sleeping.await.expect("no panic");
}

#[tokio::test]
async fn values_of_another_version_are_errors() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    store.append(operation(1, 11)).await.expect("stored");
    store.begin(scope("crm", "k"), [1; 32]).await.expect("new");
    store.exchange(BudgetReport::default()).await.expect("registered");
    let keys: Vec<String> = server.command(redis::cmd("KEYS").arg("*")).await;
    let mut changed = 0;
    for key in keys {
        if key.contains(":answer:") || key.contains(":op:") {
            server.command::<()>(redis::cmd("HSET").arg(key).arg("version").arg(9)).await;
            changed += 1;
        } else if key.ends_with(":budget") {
            server.command::<()>(redis::cmd("SET").arg(key).arg("{\"version\":9}")).await;
            changed += 1;
        }
    }
    assert_eq!(changed, 3);
    let id = operation(1, 11).id;
    let errors = [
        store.find(id, "crm").await.expect_err("another version"),
        store.begin(scope("crm", "k"), [1; 32]).await.expect_err("another version"),
        store.exchange(BudgetReport::default()).await.expect_err("another version"),
    ];
    for error in errors {
        assert!(error.to_string().contains("another version of the gateway"), "{error}");
    }
    let lanes = store.claim(5).await.expect("claimed");
    assert_eq!(lanes[0].operations[0].as_ref().expect_err("unreadable"), &id);
}

#[tokio::test]
async fn values_of_another_program_or_secret_are_errors() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    let name = "attribute-gateway:{test}:journal:open";
    server.command::<()>(redis::cmd("SET").arg(name).arg("foreign")).await;
    let error = store.append(operation(1, 11)).await.expect_err("foreign").to_string();
    assert!(error.contains("another prefix"), "{error}");

    let lock = store.lock(Duration::from_secs(5)).await.expect("asked").expect("free");
    store.store(lock, &"a token".into(), Duration::from_mins(1)).await.expect("stored");
    let other =
        RedisStore::new(options(&server.url(), "two"), SealingKey::derive("other"), limits());
    let error = other.expect("a URL").load().await.expect_err("another key").to_string();
    assert!(error.contains("another client secret"), "{error}");
}
