//! The connection that all requests share.

use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Mutex;

use super::address::ServerAddress;
use super::faults::{CONNECT_TIMEOUT, explain, is_read_only};
use crate::ports::StoreError;

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
        result.map_err(|error| self.address.explain(&error))
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
