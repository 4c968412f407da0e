//! The outputs of the audit log: a file, or standard output. The file is opened again once its path
//! names another file, as after `logrotate` has moved it. The gateway never renames or deletes it.
//!
//! This is not `tracing-appender`, which does not report failed writes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Accepts whole lines. When a call returns, the operating system has the line.
pub trait LineOutput: Send {
    /// Appends a line, which includes its line end.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;

    /// Name of the output for error messages.
    fn name(&self) -> String;

    /// Whether a write may block, so that the output needs a thread.
    fn may_stall(&self) -> bool {
        true
    }
}

/// Standard output. The log may use it too, because both write whole lines.
#[derive(Debug)]
pub struct StdoutOutput;

impl LineOutput for StdoutOutput {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(line)?;
        out.flush()
    }

    fn name(&self) -> String {
        "standard output".to_owned()
    }
}

/// Only the owner may read the file, because it shows who wrote to which call.
const MODE: u32 = 0o600;

/// The audit file.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    /// Device and inode, which show whether the path still names this file.
    identity: (u64, u64),
    /// The file ends with part of a line.
    is_torn: bool,
}

impl AuditFile {
    /// Opens or creates the file, and removes the permissions of other users.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&path)?;
        let found = file.metadata()?;
        if found.is_file() && found.mode() & 0o777 & !MODE != 0 {
            let changed = file.set_permissions(Permissions::from_mode(MODE)).is_ok();
            tracing::warn!(path = %path.display(), changed, "other users could read the audit file");
        }
        let (identity, is_torn) = ((found.dev(), found.ino()), is_torn(&path));
        Ok(Self { path, file, identity, is_torn })
    }

    /// Opens the path again if it no longer names this file.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == self.identity => return Ok(()),
            // The file may be writable although its metadata cannot be read.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(()),
            Ok(_) | Err(_) => {}
        }
        *self = Self::open(self.path.clone())?;
        Ok(())
    }
}

/// Whether the file ends with part of a line, which a crash or a full disk may have left. The next
/// record needs a line of its own.
fn is_torn(path: &Path) -> bool {
    let last_byte = || {
        // A pipe has no last byte.
        let mut file = path.is_file().then(|| File::open(path).ok())??;
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).ok()?;
        file.read_exact(&mut last).ok()?;
        Some(last[0])
    };
    last_byte().is_some_and(|last| last != b'\n')
}

impl LineOutput for AuditFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.reopen_if_moved()?;
        if std::mem::take(&mut self.is_torn) {
            self.file.write_all(b"\n")?;
        }
        let written = self.file.write_all(line);
        self.is_torn = written.is_err() && is_torn(&self.path);
        written
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct TestDir(TempDir);

    impl TestDir {
        fn new() -> Self {
            Self(TempDir::new().expect("a directory"))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn open(&self) -> AuditFile {
            AuditFile::open(self.path("audit.jsonl")).expect("opens")
        }

        /// Names and contents, sorted by name.
        fn files(&self) -> Vec<(String, String)> {
            let entries = fs::read_dir(self.0.path()).expect("a directory");
            let mut files: Vec<_> = entries
                .map(|entry| entry.expect("an entry").path())
                .map(|path| {
                    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                    (name, fs::read_to_string(path).expect("text"))
                })
                .collect();
            files.sort();
            files
        }
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_restart_appends_and_the_file_is_private() {
        let dir = TestDir::new();
        dir.open().append(b"one\n").expect("written");
        dir.open().append(b"two\n").expect("written");
        dir.open().append(b"3\n").expect("written");
        assert_eq!(dir.files(), owned(&[("audit.jsonl", "one\ntwo\n3\n")]));
        let mode = fs::metadata(dir.path("audit.jsonl")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_renamed_or_deleted_file_is_created_again() {
        let dir = TestDir::new();
        let mut file = dir.open();
        file.append(b"one\n").expect("written");
        fs::rename(dir.path("audit.jsonl"), dir.path("moved")).expect("renamed");
        file.append(b"two\n").expect("written");
        fs::rename(dir.path("audit.jsonl"), dir.path("moved-2")).expect("renamed");
        fs::write(dir.path("audit.jsonl"), "theirs\n").expect("written");
        file.append(b"three\n").expect("written");
        fs::remove_file(dir.path("audit.jsonl")).expect("removed");
        file.append(b"four\n").expect("written");
        let expected = [("audit.jsonl", "four\n"), ("moved", "one\n"), ("moved-2", "two\n")];
        assert_eq!(dir.files(), owned(&expected));
    }

    #[test]
    fn a_torn_line_from_before_a_restart_swallows_no_record() {
        for (left, expected) in [
            ("{\"half\":", "{\"half\":\none\ntwo\n"),
            ("whole\n", "whole\none\ntwo\n"),
            ("", "one\ntwo\n"),
        ] {
            let dir = TestDir::new();
            fs::write(dir.path("audit.jsonl"), left).expect("written");
            let mut file = dir.open();
            file.append(b"one\n").expect("written");
            file.append(b"two\n").expect("written");
            assert_eq!(dir.files(), owned(&[("audit.jsonl", expected)]));
        }
    }

    #[test]
    fn opening_removes_the_permissions_of_other_users() {
        let dir = TestDir::new();
        let path = dir.path("audit.jsonl");
        fs::write(&path, "one\n").expect("written");
        for (mode, kept) in [(0o644, 0o600), (0o666, 0o600), (0o620, 0o600), (0o600, 0o600)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            drop(dir.open());
            let now = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(now & 0o777, kept, "from {mode:o}");
        }
    }

    #[test]
    fn a_pipe_is_written_to() {
        let dir = TestDir::new();
        let path = dir.path("audit.jsonl");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo is there").success());
        // Opened for reading too, because opening would otherwise wait for a reader.
        let reader = OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let mut file = dir.open();
        for _ in 0..5 {
            file.append(b"a line\n").expect("written");
        }
        let mut text = [0; 35];
        std::io::Read::read_exact(&mut &reader, &mut text).expect("read");
        assert_eq!(&text[..], "a line\n".repeat(5).as_bytes());
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_torn_line_stays_alone() {
        let dir = TestDir::new();
        std::os::unix::fs::symlink("/dev/full", dir.path("audit.jsonl")).expect("linked");
        let mut file = dir.open();
        for _ in 0..3 {
            let error = file.append(b"a line\n").expect_err("full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        fs::remove_file(dir.path("audit.jsonl")).expect("removed");
        file.append(b"one\n").expect("written");
        file.is_torn = true;
        file.append(b"two\n").expect("written");
        assert_eq!(dir.files(), owned(&[("audit.jsonl", "one\n\ntwo\n")]));
    }
}
