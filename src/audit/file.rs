//! The audit file and its rotation: `audit.jsonl` becomes `audit.jsonl.1`, that one becomes
//! `audit.jsonl.2`, and so on. The oldest file is deleted.
//!
//! If another program renames or deletes the file, the next line goes to a new file at the path. A pipe
//! or other special file is never renamed.
//!
//! This is not `tracing-appender`, which rotates only by time and does not report failed writes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::output::LineOutput;

/// Only the owner may read the file, because it shows who wrote to which call.
const MODE: u32 = 0o600;

/// Path and rotation of the audit file.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Path of the current file.
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated.
    pub rotate_at: u64,
    /// Number of older files to keep, at least one.
    pub keep: u32,
}

/// The audit file.
#[derive(Debug)]
pub struct RotatedFile {
    settings: FileSettings,
    file: File,
    /// Device and inode, which show whether the path still names this file.
    identity: (u64, u64),
    is_regular: bool,
    size: u64,
    /// The size from which on the next line rotates the file.
    full_at: u64,
    /// The file ends with part of a line.
    torn: bool,
}

impl RotatedFile {
    /// Opens or creates the file, and removes the permissions of other users.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(settings: FileSettings) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&settings.path)?;
        let found = file.metadata()?;
        if found.is_file() && found.mode() & 0o777 & !MODE != 0 {
            restrict_to_owner(&file, &settings.path);
        }
        // A crash or a full disk may have left part of a line. The next record needs a line of its own.
        let torn = found.is_file() && found.len() > 0 && !ends_with_a_line(&settings.path);
        let full_at = settings.rotate_at;
        Ok(Self {
            identity: (found.dev(), found.ino()),
            is_regular: found.is_file(),
            size: found.len(),
            settings,
            file,
            full_at,
            torn,
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.settings.clone())?;
        Ok(())
    }

    /// Opens the path again if it no longer names this file.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        match fs::metadata(&self.settings.path) {
            Ok(there) if (there.dev(), there.ino()) == self.identity => Ok(()),
            // The file may be writable although its metadata cannot be read.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            Ok(_) | Err(_) => self.reopen(),
        }
    }

    /// Moves older files up only to the first free number. So repeated failures of the last step delete
    /// at most one file.
    fn rotate(&mut self) -> io::Result<()> {
        let is_free = |number: &u32| fs::symlink_metadata(self.older(*number)).is_err();
        let free = (1..self.settings.keep).find(is_free).unwrap_or(self.settings.keep);
        for number in (1..free).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.settings.path, self.older(1))?;
        self.reopen()
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.settings.path);
        name.push(format!(".{number}"));
        Path::new(&name).to_owned()
    }
}

fn restrict_to_owner(file: &File, path: &Path) {
    let path = path.display();
    match file.set_permissions(fs::Permissions::from_mode(MODE)) {
        Ok(()) => {
            tracing::warn!("other users could read the audit file {path}; its mode is now 0600");
        }
        Err(error) => {
            tracing::error!(%error, "other users may read the audit file {path}, and its mode cannot be changed");
        }
    }
}

/// Whether the last byte ends a line. Returns false if it cannot be read, because an extra empty line
/// does no harm.
fn ends_with_a_line(path: &Path) -> bool {
    let last = || {
        let (mut file, mut last) = (File::open(path)?, [0]);
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        io::Result::Ok(last[0])
    };
    last().is_ok_and(|last| last == b'\n')
}

impl LineOutput for RotatedFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.reopen_if_moved()?;
        let length = line.len() as u64;
        let is_full = self.is_regular && self.size > 0 && self.size + length > self.full_at;
        if is_full && let Err(error) = self.rotate() {
            // A large file is better than a lost record. The next attempt follows after `rotate_at` bytes.
            self.full_at = self.size + self.settings.rotate_at;
            tracing::error!(%error, "the audit file cannot be rotated, so it continues to grow");
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.size += written as u64;
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.settings.path.display().to_string()
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

        fn open(&self, rotate_at: u64, keep: u32) -> RotatedFile {
            let path = self.path("audit.jsonl");
            RotatedFile::open(FileSettings { path, rotate_at, keep }).expect("opens")
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
    fn the_file_rotates_before_its_limit_and_drops_the_oldest() {
        let dir = TestDir::new();
        let mut file = dir.open(8, 2);
        for line in ["one\n", "two\n", "three\n", "four4\n", "a line of any length\n", "6\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        let expected = [
            ("audit.jsonl", "6\n"),
            ("audit.jsonl.1", "a line of any length\n"),
            ("audit.jsonl.2", "four4\n"),
        ];
        assert_eq!(dir.files(), owned(&expected));
    }

    #[test]
    fn a_restart_appends_and_the_file_is_private() {
        let dir = TestDir::new();
        dir.open(8, 1).append(b"one\n").expect("written");
        dir.open(8, 1).append(b"two\n").expect("written");
        dir.open(8, 1).append(b"3\n").expect("written");
        let expected = [("audit.jsonl", "3\n"), ("audit.jsonl.1", "one\ntwo\n")];
        assert_eq!(dir.files(), owned(&expected));
        let mode = fs::metadata(dir.path("audit.jsonl")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_renamed_or_deleted_file_is_created_again() {
        let dir = TestDir::new();
        let mut file = dir.open(1000, 1);
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
    fn a_file_that_cannot_be_renamed_continues_to_grow() {
        let dir = TestDir::new();
        let mut file = dir.open(4, 1);
        // A directory that is not empty has the name of the older file.
        fs::create_dir_all(dir.path("audit.jsonl.1/x")).expect("made");
        for line in ["one\n", "two\n", "three\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        let text = fs::read_to_string(dir.path("audit.jsonl")).expect("text");
        assert_eq!(text, "one\ntwo\nthree\n");
        assert_eq!(
            file.full_at,
            8 + 4,
            "the next attempt follows after 4 bytes, not with each line"
        );
    }

    #[test]
    fn a_failing_rename_removes_at_most_one_older_file() {
        let dir = TestDir::new();
        let mut file = dir.open(4, 3);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        // Another program removes the file between the check and the rename.
        fs::remove_file(dir.path("audit.jsonl")).expect("removed");
        for _ in 0..5 {
            file.rotate().expect_err("nothing to rename");
        }
        let expected = [("audit.jsonl.2", "three\n"), ("audit.jsonl.3", "two\n")];
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
            let mut file = dir.open(1000, 1);
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
            drop(dir.open(1000, 1));
            let now = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(now & 0o777, kept, "from {mode:o}");
        }
    }

    #[test]
    fn a_pipe_is_written_to_and_never_renamed() {
        let dir = TestDir::new();
        let path = dir.path("audit.jsonl");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo is there").success());
        // Opened for reading too, because opening would otherwise wait for a reader.
        let reader = OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let mut file = dir.open(4, 1);
        for _ in 0..5 {
            file.append(b"a line\n").expect("written");
        }
        assert!(!dir.path("audit.jsonl.1").exists());
        let mut text = [0; 35];
        std::io::Read::read_exact(&mut &reader, &mut text).expect("read");
        assert_eq!(&text[..], "a line\n".repeat(5).as_bytes());
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_torn_line_stays_alone() {
        let dir = TestDir::new();
        // A link, so that the test cannot rename the device itself.
        std::os::unix::fs::symlink("/dev/full", dir.path("audit.jsonl")).expect("linked");
        let mut file = dir.open(1000, 1);
        for _ in 0..3 {
            let error = file.append(b"a line\n").expect_err("full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        fs::remove_file(dir.path("audit.jsonl")).expect("removed");
        file.append(b"one\n").expect("written");
        file.torn = true;
        file.append(b"two\n").expect("written");
        assert_eq!(dir.files(), owned(&[("audit.jsonl", "one\n\ntwo\n")]));
    }
}
