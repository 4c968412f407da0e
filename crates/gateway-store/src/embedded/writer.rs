//! The thread that owns the database. It commits all waiting jobs together: one fsync serves many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock;
use crate::ports::StoreError;
use crate::{millis, to_millis};

/// Most jobs of one transaction. It bounds how long the first of them waits.
const MAX_BATCH: usize = 512;

/// Time between two removals of expired records.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// A change of the database, and the caller that waits for it.
trait DatabaseJob: Send {
    /// Makes the change within a transaction. With an error, the change is undone.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Answers the caller, after the commit or its failure.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct CallerJob<F, T> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> DatabaseJob for CallerJob<F, T>
where
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let work = self.work.take().ok_or_else(ended)?;
        let result = work(connection);
        let done = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        done
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = self.result.unwrap_or_else(|| Err(ended()));
        // The caller may be gone.
        let _ = self.answer.send(committed.and(result));
    }
}

/// The thread, and the way to it. Dropping it waits for the jobs that were submitted.
pub(super) struct DatabaseThread {
    jobs: Option<mpsc::Sender<Box<dyn DatabaseJob>>>,
    thread: Option<JoinHandle<()>>,
    last_sync: Arc<AtomicU64>,
}

/// The thread does not answer, because it has ended.
pub(super) fn ended() -> StoreError {
    StoreError::Unavailable("the database did not answer".to_owned())
}

impl DatabaseThread {
    pub(super) fn start(connection: Connection, keep: Duration) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel();
        let last_sync = Arc::<AtomicU64>::default();
        let measured = Arc::clone(&last_sync);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || work(&connection, &waiting, keep, &measured))
            .map_err(|error| StoreError::Unavailable(format!("no thread can start: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), last_sync })
    }

    /// How long the last commit took.
    pub(super) fn last_sync(&self) -> Duration {
        Duration::from_micros(self.last_sync.load(Ordering::Relaxed))
    }

    /// Queues a job at once. Its answer comes after the commit.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let job = CallerJob { work: Some(job), result: None, answer };
        if let Some(jobs) = &self.jobs {
            // A job that is dropped here drops its sender, which the caller sees.
            let _ = jobs.send(Box::new(job));
        }
        answered
    }
}

impl Drop for DatabaseThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(
    connection: &Connection,
    waiting: &mpsc::Receiver<Box<dyn DatabaseJob>>,
    keep: Duration,
    last_sync: &AtomicU64,
) {
    let mut next_sweep = Instant::now();
    while let Ok(first) = waiting.recv() {
        let mut batch: Vec<Box<dyn DatabaseJob>> =
            std::iter::once(first).chain(waiting.try_iter().take(MAX_BATCH - 1)).collect();
        let sweeps = Instant::now() >= next_sweep;
        if sweeps {
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
        let committed = commit(connection, &mut batch, sweeps.then_some(keep));
        if committed.is_err() && !connection.is_autocommit() {
            // If this fails too, the next `BEGIN` fails and says so to its callers.
            let _ = connection.execute_batch("ROLLBACK");
        }
        if let Ok(took) = &committed {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            last_sync.store(micros, Ordering::Relaxed);
        }
        let committed = committed.map(|_| ());
        for job in batch {
            job.finish(committed.clone());
        }
    }
}

/// Runs all jobs in one transaction, and returns how long its commit took.
fn commit(
    connection: &Connection,
    batch: &mut [Box<dyn DatabaseJob>],
    sweep_after: Option<Duration>,
) -> Result<Duration, StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    if let Some(keep) = sweep_after {
        sweep(connection, keep)?;
    }
    for job in batch {
        connection.execute_batch("SAVEPOINT job")?;
        let done = job.run(connection);
        // A full disk ends the whole transaction, so that nothing is left to undo alone.
        if connection.is_autocommit() {
            return Err(done.err().unwrap_or_else(ended));
        }
        let undo = if done.is_ok() { "" } else { "ROLLBACK TO job; " };
        connection.execute_batch(&format!("{undo}RELEASE job"))?;
    }
    let started = Instant::now();
    connection.execute_batch("COMMIT")?;
    Ok(started.elapsed())
}

fn sweep(connection: &Connection, keep: Duration) -> Result<(), StoreError> {
    let now = to_millis(clock::now());
    connection.execute("DELETE FROM operation WHERE ended_at < ?1", [now - millis(keep)])?;
    connection.execute("DELETE FROM answer WHERE expires_at < ?1", [now])?;
    connection.execute("DELETE FROM lane WHERE free_at < ?1", [now])?;
    Ok(())
}
