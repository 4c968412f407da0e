//! `WAITAOF`, by which a server with `appendfsync everysec` makes a change durable.
//!
//! Redis 7.0 does not have it, so a proxy stands before the server: it raises the version, and puts a script
//! in the place of the command. The script counts, and answers what the test has set.

use gateway_store::ports::{CancelOutcome, OperationJournal as _, StoreError};
use gateway_store::redis::RedisStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::server::{RedisServer, options};
use super::{key, limits, operation};

const ASKED: &[u8] = b"*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n$4\r\n2500\r\n";
const SCRIPT: &str =
    "redis.call('INCR','asked') return {tonumber(redis.call('GET','synced') or 1),0}";

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match text.windows(from.len()).position(|part| part == from) {
        Some(at) => [&text[..at], to, &replaced(&text[at + from.len()..], from, to)].concat(),
        None => text.to_vec(),
    }
}

/// A URL that leads to the server by way of the proxy.
async fn proxy(server: &RedisServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}/", listener.local_addr().expect("an address"));
    let behind = server.url().replace("redis://", "").replace('/', "");
    let script = format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{SCRIPT}\r\n$1\r\n0\r\n", SCRIPT.len());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&behind).await.expect("it runs");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let script = script.clone();
            tokio::spawn(async move {
                let mut chunk = [0; 65_536];
                while let Ok(size @ 1..) = from_client.read(&mut chunk).await {
                    let sent = replaced(&chunk[..size], ASKED, script.as_bytes());
                    to_server.write_all(&sent).await.expect("it runs");
                }
            });
            tokio::spawn(async move {
                let mut chunk = [0; 65_536];
                while let Ok(size @ 1..) = from_server.read(&mut chunk).await {
                    let raised =
                        replaced(&chunk[..size], b"redis_version:7.0", b"redis_version:7.2");
                    to_client.write_all(&raised).await.expect("it reads");
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_change_counts_once_the_server_says_it_is_on_disk() {
    let server = RedisServer::start(&["--appendfsync", "everysec"]).await;
    let url = proxy(&server).await;
    let store = RedisStore::new(options(&url, "one"), key(), limits()).expect("a URL");
    let asked = async || server.command::<Option<u64>>(redis::cmd("GET").arg("asked")).await;
    store.append(operation(1, 11)).await.expect("stored");
    assert_eq!(asked().await, Some(1));
    assert_eq!(store.mark_sent(operation(1, 11).id, [7; 32]).await, Ok(true));
    store.append(operation(1, 12)).await.expect("stored");
    let cancelled = store.cancel(operation(1, 12).id, "crm").await;
    assert_eq!((cancelled, asked().await), (Ok(CancelOutcome::Cancelled), Some(4)));
    // What only reads or may be repeated does not wait for the disk.
    store.claim(5).await.expect("claimed");
    store.summary().await.expect("counted");
    assert_eq!(asked().await, Some(4));

    server.command::<()>(redis::cmd("SET").arg("synced").arg(0)).await;
    let refused = store.append(operation(1, 13)).await.expect_err("not on the disk");
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("disk")), "{refused}");
    server.command::<()>(redis::cmd("DEL").arg("synced")).await;
    store.append(operation(1, 13)).await.expect("stored");
}
