//! Watches files for changes.
//!
//! The watcher polls and compares contents: a mounted secret changes by links, and the events for that
//! differ between systems. Neither the time nor the length of a file shows reliably that it changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;

/// Time between two polls. A change counts once two polls in a row find the same content: a
/// half-written file can be valid, and several files are seldom replaced at the same moment.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The digests of the files; `None` for a file that cannot be read.
type FileDigests = Vec<Option<[u8; 32]>>;

/// The watched files, and their contents at the last reported change.
pub struct FileWatcher {
    files: Vec<PathBuf>,
    reported: FileDigests,
    /// Notified when the files should be read at once.
    requests: Arc<Notify>,
}

/// Why the files should be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ReloadReason {
    /// They have changed.
    Changed,
    /// An operator requested it.
    Requested,
    /// They were rejected before, and may be valid now.
    Retry,
}

impl FileWatcher {
    /// Watches these files from now on. Create it before you read them.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let reported = digests(&files);
        Self { files, reported, requests: Arc::default() }
    }

    /// What requests a reload.
    pub fn requests(&self) -> Arc<Notify> {
        Arc::clone(&self.requests)
    }

    /// Waits until the files have changed and are stable, or a reload is requested.
    pub async fn changed(&mut self) -> ReloadReason {
        let mut seen = None;
        loop {
            let is_requested = tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => false,
                () = self.requests.notified() => true,
            };
            let files = self.files.clone();
            // The disk may be slow.
            let Ok(now) = tokio::task::spawn_blocking(move || digests(&files)).await else {
                continue;
            };
            if is_requested || (now != self.reported && seen.as_ref() == Some(&now)) {
                self.reported = now;
                return if is_requested { ReloadReason::Requested } else { ReloadReason::Changed };
            }
            seen = Some(now).filter(|now| *now != self.reported);
        }
    }
}

/// Fails if a path is not a regular file. Reading a pipe can block forever, and takes its content away
/// from other readers.
pub fn check_regular(files: &[PathBuf]) -> anyhow::Result<()> {
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
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Changes a file every second, from 0.5 s on (`None` removes it). Returns the second at which the
    /// watcher reports the change.
    async fn reported_at(changes: &[Option<&str>]) -> u64 {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "one").expect("written");
        let mut watched = FileWatcher::new(vec![file.clone()]);
        let start = Instant::now();
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
            _ = watched.changed() => {}
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
}
