//! Files that are read again when they change.
//!
//! They are compared by what they hold: a mounted secret changes by links, without any event that
//! would be the same everywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use ring::digest::{SHA256, digest};

/// Time between two looks. A change is taken after the second one that finds it unchanged since
/// the first, because several files are seldom replaced in one moment.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What the files hold, told by digests; `None` for one that cannot be read.
type FileDigests = Vec<Option<[u8; 32]>>;

/// Some files, as they were when they were last taken.
pub struct FileWatcher {
    files: Vec<PathBuf>,
    taken: FileDigests,
}

impl FileWatcher {
    /// The files as they are now. To be made before they are read.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let taken = state(&files);
        Self { files, taken }
    }

    /// Waits until they have changed, and stand still.
    pub async fn changed(&mut self) {
        let mut seen = None;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || state(&files)).await else {
                continue;
            };
            if now == self.taken {
                seen = None;
            } else if seen.as_ref() == Some(&now) {
                self.taken = now;
                return;
            } else {
                seen = Some(now);
            }
        }
    }
}

/// Fails if one of them is there and no file: to read a pipe may take for ever, and takes away what others
/// would read.
pub fn check_regular(files: &[PathBuf]) -> anyhow::Result<()> {
    let odd = files.iter().find(|file| file.metadata().is_ok_and(|found| !found.is_file()));
    odd.map_or(Ok(()), |file| bail!("{} is not a regular file", file.display()))
}

fn state(files: &[PathBuf]) -> FileDigests {
    files.iter().map(|file| print(file)).collect()
}

fn print(file: &Path) -> Option<[u8; 32]> {
    let content = file.metadata().ok()?.is_file().then(|| std::fs::read(file))?.ok()?;
    digest(&SHA256, &content).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// What a file holds at first, and then at half past these seconds (`None`: it is gone); when the
    /// change is taken, in seconds.
    async fn taken_at(changes: &[Option<&str>]) -> u64 {
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
            () = watched.changed() => {}
            () = changing => {}
        }
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_when_it_has_stood_for_two_looks() {
        assert_eq!(taken_at(&[Some("two")]).await, 2);
        assert_eq!(taken_at(&[Some("tw"), Some("two")]).await, 3, "half of it is none");
        assert_eq!(taken_at(&[Some("two"), Some("one"), Some("two")]).await, 4, "nor half of two");
        assert_eq!(taken_at(&[None]).await, 2, "that it is gone is a change");
        assert_eq!(taken_at(&[None, Some("one"), Some("two")]).await, 4);
    }
}
