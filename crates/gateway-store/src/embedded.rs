//! The store of a single process: one `SQLite` file, or memory.
//!
//! All access goes through one thread, which commits everything that waits with one fsync.

mod answers;
mod file;
mod journal;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::{SealingKey, StoreLimits};
use crate::ports::{StoreError, StoreFuture};
use writer::DatabaseThread;

/// The store of a single process.
pub struct EmbeddedStore {
    thread: DatabaseThread,
    key: Arc<SealingKey>,
    limits: StoreLimits,
    is_durable: bool,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("is_durable", &self.is_durable)
            .finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens or creates the file, and locks it to this process.
    ///
    /// # Errors
    /// If the file is in use, cannot be written, is on a network file system, or is no such store.
    pub fn open(path: &Path, key: SealingKey, limits: StoreLimits) -> Result<Self, StoreError> {
        Self::start(file::open(path)?, key, limits, true)
    }

    /// A store in memory. It keeps idempotency keys; its journal does not survive a restart, so do not
    /// accept asynchronous writes with it.
    ///
    /// # Errors
    /// If the system has no thread or memory left.
    pub fn in_memory(key: SealingKey, limits: StoreLimits) -> Result<Self, StoreError> {
        Self::start(file::in_memory()?, key, limits, false)
    }

    /// Whether what is stored survives a restart.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Limits the size of the file, in pages of 4 KiB, so that a test can see a full disk.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn limit_size(&self, pages: u32) -> Result<(), StoreError> {
        self.run(move |database| Ok(database.pragma_update(None, "max_page_count", pages)?)).await
    }

    fn start(
        connection: Connection,
        key: SealingKey,
        limits: StoreLimits,
        is_durable: bool,
    ) -> Result<Self, StoreError> {
        let thread = DatabaseThread::start(connection, limits.operation_age)?;
        Ok(Self { thread, key: Arc::new(key), limits, is_durable })
    }

    /// Does something in a transaction. `Ok` means that it is committed.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let answer = self.thread.submit(job);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(writer::ended())) })
    }
}
