//! Answers that a real server gives only in rare states, from a scripted one: a cluster that is down, a
//! replica without its primary, a disk that does not keep up with `WAITAOF`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_store::ports::{OperationJournal as _, StoreError, WriteLeases as _};
use gateway_store::redis::RedisStore;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::server::options;
use super::{key, limits, operation};

/// Facts of a server that is good for `WAITAOF`.
const FACTS: &str = "redis_version:7.2.4\r\nrole:master\r\naof_enabled:1\r\n";

/// A server that answers every script, or `WAITAOF`, with what a test wants.
struct ScriptedServer {
    port: u16,
    waits: Arc<AtomicU64>,
}

impl ScriptedServer {
    /// `script` and `wait` are answers in the protocol of Redis.
    async fn start(script: &'static str, wait: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let waits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&waits);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script, wait, Arc::clone(&counted)));
            }
        });
        Self { port, waits }
    }

    fn store(&self) -> RedisStore {
        let url = format!("redis://127.0.0.1:{}/", self.port);
        RedisStore::new(options(&url, "one"), key(), limits()).expect("a valid URL")
    }
}

async fn serve(
    stream: TcpStream,
    script: &'static str,
    wait: &'static str,
    waits: Arc<AtomicU64>,
) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let command = command(&mut read).await?;
        let answer = match command.first()?.to_ascii_uppercase().as_str() {
            "INFO" => format!("${}\r\n{FACTS}\r\n", FACTS.len()),
            "CONFIG" => "*2\r\n$11\r\nappendfsync\r\n$8\r\neverysec\r\n".to_owned(),
            "EVALSHA" | "EVAL" | "GET" => script.to_owned(),
            "WAITAOF" => {
                waits.fetch_add(1, Ordering::Relaxed);
                wait.to_owned()
            }
            _ => "+OK\r\n".to_owned(),
        };
        write.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// A command: an array of strings, each with its length.
async fn command(read: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(read, '*').await? {
        let mut word = vec![0; number(read, '$').await? + 2];
        read.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

async fn number(read: &mut (impl tokio::io::AsyncBufRead + Unpin), mark: char) -> Option<usize> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    line.strip_prefix(mark)?.trim_end().parse().ok()
}

#[tokio::test]
async fn states_of_the_server_are_outages_with_a_reason() {
    for (answer, expected) in [
        ("-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
        ("-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        ("-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        ("-BUSY Redis is busy running a script\r\n", "BUSY"),
        ("-MISCONF Errors writing to the AOF file\r\n", "see its log"),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "raise `maxmemory`"),
        (
            "-ERR Error running script (call to f_1): @user_script:3: -OOM not allowed\r\n",
            "raise `maxmemory`",
        ),
        ("-READONLY You can't write against a read only replica.\r\n", "read-only replica"),
    ] {
        let server = ScriptedServer::start(answer, "*2\r\n:1\r\n:0\r\n").await;
        let store = server.store();
        for error in [
            store.acquire("p").await.expect_err(answer),
            store.append(operation(1, 11)).await.expect_err(answer),
        ] {
            assert!(matches!(error, StoreError::Unavailable(_)), "{answer}: {error:?}");
            assert!(error.to_string().contains(expected), "{answer}: {error}");
        }
        assert_eq!(server.waits.load(Ordering::Relaxed), 0, "{answer}");
    }
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let moved = "-MOVED 3999 127.0.0.1:6381\r\n";
    let store = ScriptedServer::start(moved, "").await.store();
    let error = store.acquire("p").await.expect_err("a cluster");
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains("redis+cluster"), "{error}");
}
