//! Changes that are on disk before they are answered.
//!
//! With `appendfsync always`, Redis answers after the fsync. With `everysec` it is asked by `WAITAOF`,
//! which blocks its connection. So it has one of its own, and one `WAITAOF` serves all changes before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ScriptInvocation};
use tokio::sync::Mutex;

use super::address::ServerAddress;
use super::faults::{CONNECT_TIMEOUT, explain};
use crate::ports::StoreError;

/// Longest wait of `WAITAOF`. With `everysec`, an fsync is due within a second.
const SYNC_TIMEOUT_MS: u64 = 2_500;

/// Time for an answer, which may have to wait behind two `WAITAOF`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// How the server makes a change durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Before each answer.
    Always,
    /// When it is asked.
    WaitAof,
    /// Not at all, for this reason. All but asynchronous writes can do without.
    Missing(&'static str),
}

/// The connection for durable changes.
pub(super) struct SyncedLink {
    address: ServerAddress,
    key: String,
    current: Mutex<Option<Arc<SyncedConnection>>>,
}

struct SyncedConnection {
    connection: MultiplexedConnection,
    /// Number of changes that were answered.
    written: AtomicU64,
    /// Number of changes that are on disk.
    synced: Mutex<u64>,
}

impl SyncedLink {
    pub(super) fn new(address: ServerAddress, key: String) -> Self {
        Self { address, key, current: Mutex::new(None) }
    }

    /// Runs a script and waits until its changes are on disk.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let synced = self.connected().await?;
        let result = synced.script(script, &self.address).await;
        // `WAITAOF` knows only the changes of its own connection, so a broken one is never reused.
        if matches!(result, Err(StoreError::Unavailable(_))) {
            let mut current = self.current.lock().await;
            current.take_if(|current| Arc::ptr_eq(current, &synced));
        }
        result
    }

    async fn connected(&self) -> Result<Arc<SyncedConnection>, StoreError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(Arc::clone(connection));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let client = Box::pin(self.address.find(&self.key)).await?;
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected.map_err(|error| explain(&error))?;
        let connection =
            SyncedConnection { connection, written: AtomicU64::new(0), synced: Mutex::new(0) };
        Ok(Arc::clone(current.insert(Arc::new(connection))))
    }
}

impl SyncedConnection {
    async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
        address: &ServerAddress,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        let value = script.invoke_async(&mut connection).await;
        let value = value.map_err(|error| address.explain(&error))?;
        let change = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        // Holding the lock across the wait is what lets one `WAITAOF` serve all that came meanwhile.
        let mut synced = self.synced.lock().await;
        if *synced < change {
            let covered = self.written.load(Ordering::SeqCst);
            let (local, _): (u64, u64) = redis::cmd("WAITAOF")
                .arg(&[1, 0, SYNC_TIMEOUT_MS])
                .query_async(&mut connection)
                .await
                .map_err(|error| explain(&error))?;
            if local == 0 {
                let reason = "Redis did not write to its disk in time";
                return Err(StoreError::Unavailable(reason.to_owned()));
            }
            *synced = covered;
        }
        Ok(value)
    }
}
