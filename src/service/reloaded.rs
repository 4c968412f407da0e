//! Values from files that are loaded again when the files change, or on SIGHUP.
//!
//! The files are polled and their contents compared: a mounted secret changes by links, and the events
//! for that differ between systems. Neither the time nor the length of a file shows reliably that it
//! changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// Time between two polls. A change counts once two polls in a row find the same content: a
/// half-written file can be valid, and several files are seldom replaced at the same moment.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which rejected files are tried again: the validity of a new certificate may begin soon.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The digests of files; `None` for a file that cannot be read.
type FileDigests = Vec<Option<[u8; 32]>>;

/// Loads a value; as a replacement, if there is one already.
type Load<T> = Box<dyn Fn(Option<&T>) -> anyhow::Result<T> + Send + Sync>;

/// A value from files.
pub struct Reloaded<T> {
    files: Vec<PathBuf>,
    load: Load<T>,
    /// The contents before the first load.
    first: FileDigests,
    state: Mutex<(Arc<T>, Option<String>)>,
    requests: Arc<Notify>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Loads the value. Fails if that is impossible, or if a path is not a regular file.
    pub fn new(
        files: Vec<PathBuf>,
        load: impl Fn(Option<&T>) -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let first = digests(&files);
        check_regular(&files)?;
        let state = Mutex::new((Arc::new(load(None)?), None));
        Ok(Self { files, load: Box::new(load), first, state, requests: Arc::default() })
    }

    /// The value in use.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.state.lock().0)
    }

    /// Why the files as they are now were rejected.
    pub fn fault(&self) -> Option<String> {
        self.state.lock().1.clone()
    }

    /// Requests a reload at once, changed or not.
    pub fn requests(&self) -> Arc<Notify> {
        Arc::clone(&self.requests)
    }

    /// Loads the files whenever they have changed and are stable, and reports the old and the new value,
    /// or why the files were rejected. Never returns.
    pub async fn watch(self: Arc<Self>, report: impl Fn(Result<(&T, &T), &str>)) {
        let mut loaded = self.first.clone();
        let (mut seen, mut tried) = (None, Instant::now());
        loop {
            let is_requested = tokio::select! {
                () = sleep(POLL_INTERVAL) => false,
                () = self.requests.notified() => true,
            };
            // The disk may be slow.
            let files = self.files.clone();
            let Ok(now) = spawn_blocking(move || digests(&files)).await else { continue };
            let is_changed = now != loaded && seen.as_ref() == Some(&now);
            let is_retry = self.fault().is_some() && tried.elapsed() >= RETRY_INTERVAL;
            if !is_requested && !is_changed && !is_retry {
                seen = Some(now);
                continue;
            }
            (loaded, seen, tried) = (now, None, Instant::now());
            let this = Arc::clone(&self);
            let Ok(result) = spawn_blocking(move || this.reload()).await else { continue };
            match result {
                Ok((old, new)) => report(Ok((&old, &new))),
                Err(fault) if is_requested || is_changed => report(Err(&fault)),
                Err(_) => {}
            }
        }
    }

    /// Loads the files now. Returns the old and the new value.
    pub fn reload(&self) -> Result<(Arc<T>, Arc<T>), String> {
        let old = self.get();
        let loaded = check_regular(&self.files).and_then(|()| (self.load)(Some(&old)));
        let mut state = self.state.lock();
        match loaded {
            Ok(new) => {
                let new = Arc::new(new);
                *state = (Arc::clone(&new), None);
                Ok((old, new))
            }
            Err(error) => {
                let fault = format!("{error:#}");
                state.1 = Some(fault.clone());
                Err(fault)
            }
        }
    }
}

/// The settings whose files can be reloaded. Cheap to clone.
#[derive(Clone)]
pub struct WatchedFiles(pub(super) Vec<(&'static str, Arc<Notify>)>);

impl WatchedFiles {
    /// Reloads all files at once, changed or not. Returns the settings that name them.
    pub fn reload(&self) -> Vec<&'static str> {
        self.0.iter().for_each(|(_, requests)| requests.notify_one());
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

/// Fails if a path is not a regular file. Reading a pipe can block forever, and takes its content away
/// from other readers.
fn check_regular(files: &[PathBuf]) -> anyhow::Result<()> {
    let irregular = files.iter().find(|file| file.metadata().is_ok_and(|found| !found.is_file()));
    irregular.map_or(Ok(()), |file| bail!("{} is not a regular file", file.display()))
}

fn digests(files: &[PathBuf]) -> FileDigests {
    files.iter().map(|file| file_digest(file)).collect()
}

fn file_digest(file: &Path) -> Option<[u8; 32]> {
    let content = file.metadata().ok()?.is_file().then(|| std::fs::read(file))?.ok()?;
    digest(&SHA256, &content).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Changes a file every second, from 0.5 s on (`None` removes it). Returns the second at which the
    /// change is reported.
    async fn reported_at(changes: &[Option<&str>]) -> u64 {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "one").expect("written");
        let read = file.clone();
        let load = move |_: Option<&String>| Ok(std::fs::read_to_string(&read)?);
        let watched = Arc::new(Reloaded::new(vec![file.clone()], load).expect("a text"));
        let start = Instant::now();
        let reported = Notify::new();
        let changing = async {
            sleep(Duration::from_millis(500)).await;
            for change in changes {
                match change {
                    Some(text) => std::fs::write(&file, text).expect("written"),
                    None => std::fs::remove_file(&file).expect("removed"),
                }
                sleep(POLL_INTERVAL).await;
            }
            sleep(60 * POLL_INTERVAL).await;
        };
        tokio::select! {
            () = watched.watch(|_| reported.notify_one()) => {}
            () = reported.notified() => {}
            () = changing => {}
        }
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_once_two_polls_find_it() {
        assert_eq!(reported_at(&[Some("two")]).await, 2);
        assert_eq!(reported_at(&[Some("tw"), Some("two")]).await, 3, "half a change");
        assert_eq!(
            reported_at(&[Some("two"), Some("one"), Some("two")]).await,
            4,
            "one poll is not enough"
        );
        assert_eq!(reported_at(&[None]).await, 2, "a removal is a change");
        assert_eq!(reported_at(&[None, Some("one"), Some("two")]).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_file_is_tried_again() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "one").expect("written");
        let start = Instant::now();
        let load = move |old: Option<&()>| {
            if old.is_some() && start.elapsed() < Duration::from_secs(9) {
                bail!("not yet");
            }
            Ok(())
        };
        let watched = Arc::new(Reloaded::new(vec![file.clone()], load).expect("a value"));
        tokio::spawn(Arc::clone(&watched).watch(|_| {}));
        std::fs::write(&file, "two").expect("written");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(watched.fault().as_deref(), Some("not yet"));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(watched.fault(), None);
    }
}
