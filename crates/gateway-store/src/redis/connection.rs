//! The connection that all requests share, and what its errors mean.

use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
};
use tokio::sync::Mutex;

use super::address::ServerAddress;
use crate::ports::StoreError;

/// Time to open a connection. A request that waits longer has better uses for its deadline.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for an answer. A server that is loaded or far away answers within it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that is made again after errors.
pub(super) struct RedisLink {
    address: ServerAddress,
    /// One of our keys.
    key: String,
    current: Mutex<Option<ConnectionManager>>,
}

impl RedisLink {
    pub(super) fn new(address: ServerAddress, key: String) -> Self {
        Self { address, key, current: Mutex::new(None) }
    }

    /// Whether the server is a node of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.address.is_cluster()
    }

    /// Runs a script.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connected().await?;
        let result = script.invoke_async(&mut connection).await;
        self.judged(result).await
    }

    /// Runs a command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connected().await?;
        let result = query(command, &mut connection).await;
        self.judged(result).await
    }

    async fn connected(&self) -> Result<ConnectionManager, StoreError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let connection = manager(Box::pin(self.address.find(&self.key)).await?)?;
        Ok(current.insert(connection).clone())
    }

    /// After a failover, the old server only reads, or is gone. The library keeps such a connection.
    async fn judged<T>(&self, result: Result<T, RedisError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && (is_read_only(error) || self.address.moves() && is_elsewhere(error))
        {
            *self.current.lock().await = None;
        }
        result.map_err(|error| explain(&error))
    }
}

/// Whether another server may hold the keys now.
fn is_elsewhere(error: &RedisError) -> bool {
    error.is_io_error()
        || error.redirect_node().is_some()
        || matches!(error.code(), Some("CLUSTERDOWN" | "MASTERDOWN"))
}

async fn query<T: FromRedisValue>(
    command: &Cmd,
    connection: &mut impl ConnectionLike,
) -> Result<T, RedisError> {
    command.query_async(connection).await
}

fn manager(client: Client) -> Result<ConnectionManager, StoreError> {
    // The caller decides whether to try again, within its deadline.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    ConnectionManager::new_lazy_with_config(client, config).map_err(|e| explain(&e))
}

pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("READONLY"))
}

/// What an error means, and what to do about it. No message contains the URL or a value.
pub(super) fn explain(error: &RedisError) -> StoreError {
    let unavailable = |text: &str| StoreError::Unavailable(text.to_owned());
    let unusable = |text: &str| StoreError::Unusable(text.to_owned());
    if is_read_only(error) {
        return unavailable(
            "Redis is a read-only replica now: point `store.redis.url` to the primary",
        );
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => return refused_password(),
        ErrorKind::InvalidClientConfig => return unusable("`store.redis.url` is invalid"),
        ErrorKind::Io => return explain_io(error),
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
            return StoreError::Unreadable(
                "Redis gave an unexpected answer: check that no other program uses `store.redis.key_prefix`"
                    .to_owned(),
            );
        }
        _ => {}
    }
    match code(error) {
        "FULL" => StoreError::Full,
        "VERSION" => StoreError::Unreadable(
            "another version of the gateway wrote it; run one version, or wait until it expires"
                .to_owned(),
        ),
        "NAME" => unusable("another process has the name `store.redis.replica`: give each its own"),
        "STALE" => unavailable("a heartbeat came too late"),
        "WRONGPASS" | "NOAUTH" => refused_password(),
        "NOPERM" => unusable("the Redis user may not use this command: allow it in the ACL"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            unusable("Redis is a cluster: begin `store.redis.url` with `redis+cluster://`")
        }
        "OOM" => unavailable("the memory of Redis is full: raise `maxmemory`"),
        "MISCONF" => unavailable("Redis cannot write to its disk: see its log"),
        "WRONGTYPE" => StoreError::Unreadable(
            "another program uses keys with `store.redis.key_prefix`: choose another prefix"
                .to_owned(),
        ),
        code => StoreError::Unavailable(format!("Redis answers {code} ({})", error.category())),
    }
}

/// The code of an error. Before Redis 7.0, a script that fails hides the code of its command in the text.
fn code(error: &RedisError) -> &str {
    let code = error.code().unwrap_or_default();
    if code != "ERR" {
        return code;
    }
    let hidden = ["OOM", "MISCONF", "WRONGTYPE", "NOPERM"];
    let words = error.detail().unwrap_or_default().split([' ', '-']);
    words.into_iter().find(|word| hidden.contains(word)).unwrap_or(code)
}

fn refused_password() -> StoreError {
    StoreError::Unusable("Redis refuses the user or password of `store.redis.url`".to_owned())
}

/// Errors of the connection. Those of TLS do not end by waiting.
fn explain_io(error: &RedisError) -> StoreError {
    let text = error.to_string();
    let tls = ["certificate", "corrupt message", "HandshakeFailure", "InvalidContentType", "TLS"];
    if tls.iter().any(|word| text.contains(word)) {
        return StoreError::Unusable(format!(
            "no TLS connection to Redis: {text}; check the certificate, and that the port speaks TLS"
        ));
    }
    StoreError::Unavailable(if error.is_timeout() {
        "Redis does not answer in time; if this lasts, check that the port speaks TLS if, and only if, the \
         URL begins with `rediss`"
            .to_owned()
    } else {
        format!("no connection to Redis: {text}")
    })
}
