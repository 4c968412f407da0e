//! A file that only grows, and makes room by being renamed: `audit.jsonl` becomes `audit.jsonl.1`,
//! that one `audit.jsonl.2`, and so on; the oldest is deleted.
//!
//! What another program renames or deletes is followed: the next line goes to a new file at the
//! path. What is no regular file, a pipe say, is written to and never renamed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::output::LineOutput;

/// Readable by its owner alone: who wrote to whose call is nobody else's business.
const MODE: u32 = 0o600;

/// Where the file is, and when another one begins.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Where.
    pub path: PathBuf,
    /// Bytes that it may grow to.
    pub rotate_at: u64,
    /// Older files that stay, at least one.
    pub keep: u32,
}

/// The file.
#[derive(Debug)]
pub struct RotatedFile {
    settings: FileSettings,
    file: File,
    /// Device and inode, by which it is known again.
    identity: (u64, u64),
    is_regular: bool,
    size: u64,
    /// From which size on it is renamed.
    full_at: u64,
    /// Only a part of the last line could be written.
    torn: bool,
}

impl RotatedFile {
    /// Opens the file, or makes it. One that others may read is theirs no more.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn open(settings: FileSettings) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(&settings.path)?;
        let found = file.metadata()?;
        if found.is_file() && found.mode() & 0o777 & !MODE != 0 {
            keep_to_owner(&file, &settings.path);
        }
        // A crash or a full disk may have left half a line, which must not swallow the next record.
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

    /// Opens anew what does not stand at the path any more.
    fn follow(&mut self) -> io::Result<()> {
        match fs::metadata(&self.settings.path) {
            Ok(there) if (there.dev(), there.ino()) == self.identity => Ok(()),
            // What cannot be looked at may still be written to.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(()),
            Ok(_) | Err(_) => self.reopen(),
        }
    }

    /// Moves older files up only as far as the first number that is free. So however often the last
    /// step fails, no more than one file goes.
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

fn keep_to_owner(file: &File, path: &Path) {
    let path = path.display();
    match file.set_permissions(fs::Permissions::from_mode(MODE)) {
        Ok(()) => tracing::warn!("others could read the audit file {path}: its mode is 0600 now"),
        Err(error) => tracing::error!(%error, "others may read the audit file {path}"),
    }
}

/// Whether the last byte ends a line. What cannot be read is taken for torn: an empty line between
/// two records does no harm.
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
        self.follow()?;
        let length = line.len() as u64;
        let is_full = self.is_regular && self.size > 0 && self.size + length > self.full_at;
        if is_full && let Err(error) = self.rotate() {
            // Better too large a file than no record; tried again after as much once more.
            self.full_at = self.size + self.settings.rotate_at;
            tracing::error!(%error, "the audit file cannot be renamed, and goes on growing");
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

    struct Place(TempDir);

    impl Place {
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

        /// Names and contents, in order.
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

    fn found(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_file_rotates_before_its_limit_and_drops_the_oldest() {
        let place = Place::new();
        let mut file = place.open(8, 2);
        for line in ["one\n", "two\n", "three\n", "four4\n", "a line of any length\n", "6\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        let expected = [
            ("audit.jsonl", "6\n"),
            ("audit.jsonl.1", "a line of any length\n"),
            ("audit.jsonl.2", "four4\n"),
        ];
        assert_eq!(place.files(), found(&expected));
    }

    #[test]
    fn a_restart_appends_and_the_file_is_private() {
        let place = Place::new();
        place.open(8, 1).append(b"one\n").expect("written");
        place.open(8, 1).append(b"two\n").expect("written");
        place.open(8, 1).append(b"3\n").expect("written");
        let expected = [("audit.jsonl", "3\n"), ("audit.jsonl.1", "one\ntwo\n")];
        assert_eq!(place.files(), found(&expected));
        let mode = fs::metadata(place.path("audit.jsonl")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_another_program_renames_or_deletes_is_followed() {
        let place = Place::new();
        let mut file = place.open(1000, 1);
        file.append(b"one\n").expect("written");
        fs::rename(place.path("audit.jsonl"), place.path("moved")).expect("renamed");
        file.append(b"two\n").expect("written");
        fs::rename(place.path("audit.jsonl"), place.path("moved-2")).expect("renamed");
        fs::write(place.path("audit.jsonl"), "theirs\n").expect("written");
        file.append(b"three\n").expect("written");
        fs::remove_file(place.path("audit.jsonl")).expect("removed");
        file.append(b"four\n").expect("written");
        let expected = [("audit.jsonl", "four\n"), ("moved", "one\n"), ("moved-2", "two\n")];
        assert_eq!(place.files(), found(&expected));
    }

    #[test]
    fn a_file_that_cannot_be_renamed_goes_on_growing() {
        let place = Place::new();
        let mut file = place.open(4, 1);
        // A directory that is not empty stands where the older file should go.
        fs::create_dir_all(place.path("audit.jsonl.1/x")).expect("made");
        for line in ["one\n", "two\n", "three\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        let text = fs::read_to_string(place.path("audit.jsonl")).expect("text");
        assert_eq!(text, "one\ntwo\nthree\n");
        assert_eq!(file.full_at, 8 + 4, "tried again after as much once more, not with each line");
    }

    #[test]
    fn a_failing_rename_removes_at_most_one_older_file() {
        let place = Place::new();
        let mut file = place.open(4, 3);
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            file.append(line.as_bytes()).expect("written");
        }
        // Its name is taken away in the moment between the look at it and the renaming.
        fs::remove_file(place.path("audit.jsonl")).expect("removed");
        for _ in 0..5 {
            file.rotate().expect_err("nothing to rename");
        }
        let expected = [("audit.jsonl.2", "three\n"), ("audit.jsonl.3", "two\n")];
        assert_eq!(place.files(), found(&expected));
    }

    #[test]
    fn half_a_line_from_before_a_restart_swallows_no_record() {
        for (left, expected) in [
            ("{\"half\":", "{\"half\":\none\ntwo\n"),
            ("whole\n", "whole\none\ntwo\n"),
            ("", "one\ntwo\n"),
        ] {
            let place = Place::new();
            fs::write(place.path("audit.jsonl"), left).expect("written");
            let mut file = place.open(1000, 1);
            file.append(b"one\n").expect("written");
            file.append(b"two\n").expect("written");
            assert_eq!(place.files(), found(&[("audit.jsonl", expected)]));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_its_owners_alone_from_then_on() {
        let place = Place::new();
        let path = place.path("audit.jsonl");
        fs::write(&path, "one\n").expect("written");
        for (mode, kept) in [(0o644, 0o600), (0o666, 0o600), (0o620, 0o600), (0o600, 0o600)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            drop(place.open(1000, 1));
            let now = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(now & 0o777, kept, "from {mode:o}");
        }
    }

    #[test]
    fn a_pipe_is_written_to_and_never_renamed() {
        let place = Place::new();
        let path = place.path("audit.jsonl");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo is there").success());
        // Opened for reading as well, so that opening does not wait for a reader.
        let reader = OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let mut file = place.open(4, 1);
        for _ in 0..5 {
            file.append(b"a line\n").expect("written");
        }
        assert!(!place.path("audit.jsonl.1").exists());
        let mut text = [0; 35];
        std::io::Read::read_exact(&mut &reader, &mut text).expect("read");
        assert_eq!(&text[..], "a line\n".repeat(5).as_bytes());
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_torn_line_stays_alone() {
        let place = Place::new();
        // A link, so that nothing here could ever rename the device itself.
        std::os::unix::fs::symlink("/dev/full", place.path("audit.jsonl")).expect("linked");
        let mut file = place.open(1000, 1);
        for _ in 0..3 {
            let error = file.append(b"a line\n").expect_err("full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        fs::remove_file(place.path("audit.jsonl")).expect("removed");
        file.append(b"one\n").expect("written");
        file.torn = true;
        file.append(b"two\n").expect("written");
        assert_eq!(place.files(), found(&[("audit.jsonl", "one\n\ntwo\n")]));
    }
}
