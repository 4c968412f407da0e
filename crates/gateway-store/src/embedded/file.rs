//! Opens the database file: its lock, its place, its version and its tables.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode};

use crate::ports::StoreError;

/// Version of the tables. A file with any other is refused.
const SCHEMA_VERSION: i64 = 1;

/// How long to wait for a process that is just ending to let the file go.
const LOCK_WAIT: Duration = Duration::from_millis(500);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS operation (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, client TEXT NOT NULL,
    conversation BLOB NOT NULL, state TEXT NOT NULL, accepted_at INTEGER NOT NULL,
    not_after INTEGER NOT NULL, request BLOB NOT NULL, patch BLOB, ended_at INTEGER,
    status INTEGER, body BLOB);
CREATE INDEX IF NOT EXISTS operation_lane ON operation (conversation, sequence) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS operation_end ON operation (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS answer (
    record TEXT PRIMARY KEY, client TEXT NOT NULL, fingerprint TEXT NOT NULL, owner BLOB NOT NULL,
    lapses_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, answer BLOB);
CREATE INDEX IF NOT EXISTS answer_client ON answer (client, expires_at);
CREATE INDEX IF NOT EXISTS answer_end ON answer (expires_at);
-- The process before this one worked on these, and it has ended.
UPDATE answer SET lapses_at = 0;
CREATE TEMP TABLE lane (conversation BLOB PRIMARY KEY, free_at INTEGER NOT NULL, held INTEGER NOT NULL);
";

/// File systems on which locks or the log of `SQLite` are not reliable, by the numbers of `statfs`.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFE53_4D42, "SMB2"),
    (0xFF53_4D42, "CIFS"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x0102_1997, "9p"),
    (0x4750_4653, "GPFS"),
    (0x0BD0_0BD0, "Lustre"),
    (0x7461_636F, "OCFS2"),
];

/// Opens the file at `path`.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    refuse_network(path)?;
    let about = |error: Error| explain(&error, path);
    let connection = Connection::open(path).map_err(about)?;
    connection.busy_timeout(LOCK_WAIT).map_err(about)?;
    // The exclusive mode comes first, so that the log needs no shared memory. It holds the lock.
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA temp_store = MEMORY; BEGIN EXCLUSIVE; COMMIT;",
        )
        .map_err(about)?;
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(about)?;
    if version != 0 && version != SCHEMA_VERSION {
        return Err(StoreError::Unusable(format!(
            "`{}` has version {version} and this program knows version {SCHEMA_VERSION}: use the program \
             that wrote it, or another file",
            path.display()
        )));
    }
    create_tables(&connection).map_err(about)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(about)?;
    Ok(connection)
}

/// Opens a database in memory.
pub(super) fn in_memory() -> Result<Connection, StoreError> {
    let about = |error: Error| explain(&error, Path::new(":memory:"));
    let connection = Connection::open_in_memory().map_err(about)?;
    create_tables(&connection).map_err(about)?;
    Ok(connection)
}

fn create_tables(connection: &Connection) -> Result<(), Error> {
    connection.execute_batch(&format!("BEGIN; {TABLES} COMMIT;"))
}

/// Refuses a directory where the file could be damaged.
fn refuse_network(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let found = rustix::fs::statfs(directory).map_err(|error| {
        let directory = directory.display();
        StoreError::Unusable(format!("the directory `{directory}` cannot be used: {error}"))
    })?;
    match network_file_system(found.f_type) {
        None => Ok(()),
        Some(name) => Err(StoreError::Unusable(format!(
            "`{}` is on {name}, and a database on a network file system can be damaged: use a local disk, \
             or `store.backend = \"redis\"`",
            path.display()
        ))),
    }
}

/// The name of a network file system, by the number that `statfs` shows.
fn network_file_system(magic: impl TryInto<i64>) -> Option<&'static str> {
    let magic: i64 = magic.try_into().ok()?;
    // The field is signed on some platforms.
    let known =
        |number: u32| i64::from(number) == magic || i64::from(number.cast_signed()) == magic;
    NETWORK_FILE_SYSTEMS.iter().find(|(number, _)| known(*number)).map(|(_, name)| *name)
}

/// What to do about an error of the database. The message shows no values.
fn explain(error: &Error, path: &Path) -> StoreError {
    let path = path.display();
    let unusable = StoreError::Unusable;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unusable(format!("another process uses `{path}`: give each process a file of its own"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            unusable(format!(
                "`{path}` cannot be written: make the file and its directory writable"
            ))
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            unusable(format!("`{path}` is no intact database: move it away or restore it"))
        }
        _ => failed(error),
    }
}

/// An error while the store is in use.
fn failed(error: &Error) -> StoreError {
    StoreError::Unavailable(match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: make room for `store.path`".to_owned(),
        Some(ErrorCode::SystemIoFailure) => "the disk of `store.path` reports an error".to_owned(),
        Some(code) => format!("the database reports {code:?}"),
        None => "the database gave an unexpected answer".to_owned(),
    })
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        failed(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_with_and_without_sign() {
        assert_eq!(network_file_system(0x6969_i64), Some("NFS"));
        assert_eq!(network_file_system(0xFF53_4D42_u64), Some("CIFS"));
        assert_eq!(network_file_system(0xFF53_4D42_u32.cast_signed()), Some("CIFS"));
        // ext4, tmpfs, overlayfs
        for local in [0xEF53_i64, 0x0102_1994, 0x794C_7630] {
            assert_eq!(network_file_system(local), None);
        }
    }
}
