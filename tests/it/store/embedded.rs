//! The file of a single process: what it refuses, and what is in it.

use std::path::Path;

use gateway_store::embedded::EmbeddedStore;
use gateway_store::ports::{
    IdempotencyState, IdempotencyStore as _, OperationJournal as _, PrivateBytes, StoreError,
};
use gateway_store::{SealingKey, StoreLimits};
use rusqlite::Connection;

use super::{key, limits, operation, scope};

fn open(path: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(path, key(), limits())
}

#[track_caller]
fn refused(path: &Path, reason: &str) {
    let message = match open(path) {
        Err(StoreError::Unusable(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(message.contains(reason), "{message}");
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let first = open(&path).expect("opens");
    refused(&path, "another process uses");
    // Not one of this library: the lock is of the file.
    let shell =
        std::process::Command::new("sqlite3").arg(&path).arg("SELECT 1 FROM answer").output();
    if let Ok(shell) = shell {
        let said = String::from_utf8_lossy(&shell.stderr).into_owned();
        assert!(said.contains("locked"), "{said}");
    }
    first.append(operation(1, 11)).await.expect("the first goes on");
    drop(first);
    open(&path).expect("it is free again");
}

#[test]
fn places_that_cannot_be_used_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    refused(&directory.path().join("absent/store.db"), "the directory");
    refused(directory.path(), "cannot be written");
    let text = directory.path().join("text");
    std::fs::write(&text, "this is no database, although it is long enough to be one. ".repeat(99))
        .expect("written");
    refused(&text, "no intact database");
}

/// Not under another user: root may write to every directory.
#[test]
fn a_file_system_that_is_read_only_is_refused() {
    // The file system of processes takes no files, not even of root.
    refused(Path::new("/proc/store.db"), "cannot be written");
}

#[test]
fn a_file_of_another_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    drop(open(&path).expect("opens"));
    Connection::open(&path).expect("opens").pragma_update(None, "user_version", 7).expect("set");
    refused(&path, "has version 7 and this program knows version 1");
}

#[tokio::test]
async fn the_file_shows_neither_contents_nor_keys() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store.db")).expect("opens");
    store.append(operation(1, 11)).await.expect("stored");
    let state = store.begin(scope("crm", "PUT /x my-key"), [b'f'; 32]).await.expect("new");
    let IdempotencyState::New { claim, .. } = state else { panic!("{state:?}") };
    store.complete(claim, PrivateBytes(b"the-answer".to_vec())).await.expect("stored");
    store.mark_sent(operation(1, 11).id, [b'd'; 32]).await.expect("stored");
    let mut bytes = vec![];
    for entry in std::fs::read_dir(directory.path()).expect("a directory") {
        bytes.extend(std::fs::read(entry.expect("a file").path()).expect("read"));
    }
    let shows = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(shows(b"crm"), "the search is broken");
    for private in [b"private-11".as_slice(), b"my-key", b"the-answer", &[b'f'; 32], &[b'd'; 32]] {
        assert!(!shows(private), "{}", String::from_utf8_lossy(private));
    }
}

#[tokio::test]
async fn values_of_another_secret_or_version_are_errors_and_block_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let before = open(&path).expect("opens");
    for number in [11, 12] {
        before.append(operation(1, number)).await.expect("stored");
    }
    drop(before);
    let first = operation(1, 11).id;
    let database = Connection::open(&path).expect("opens");
    let sql = "SELECT request FROM operation WHERE id = ?1";
    let mut request: Vec<u8> =
        database.query_row(sql, [first.as_bytes()], |row| row.get(0)).expect("stored");
    request[0] = 2;
    let sql = "UPDATE operation SET request = ?1 WHERE id = ?2";
    assert_eq!(database.execute(sql, (request, first.as_bytes())), Ok(1));
    drop(database);

    let after = open(&path).expect("opens");
    let lanes = after.claim(5).await.expect("claimed");
    let [unreadable, readable] = lanes[0].operations.as_slice() else { panic!("{lanes:?}") };
    assert_eq!(unreadable.as_ref().expect_err("another version"), &first);
    assert_eq!(readable.as_ref().expect("readable").operation.id, operation(1, 12).id);
    let error = after.find(first, "crm").await.expect_err("another version").to_string();
    assert!(error.contains("another version of the gateway"), "{error}");
    drop(after);

    let other = SealingKey::derive("other");
    let other = EmbeddedStore::open(&path, other, limits()).expect("opens");
    let error = other.find(operation(1, 12).id, "crm").await.expect_err("another key").to_string();
    assert!(error.contains("another client secret"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_the_store_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    drop(open(&path).expect("opens"));
    // A limit on its pages is what a full disk looks like to the database.
    let limits = StoreLimits::default();
    let store = EmbeddedStore::open(&path, key(), limits).expect("opens");
    store.limit_size(40).await.expect("limited");
    let mut refused = None;
    for number in 0..=255 {
        let mut large = operation(1, number);
        large.request = PrivateBytes(vec![0; 8_000]);
        if let Err(error) = store.append(large).await {
            refused = Some((number, error));
            break;
        }
    }
    let (number, error) = refused.expect("it is full");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    let kept = store.summary().await.expect("counted").unfinished;
    assert_eq!(kept, u64::from(number), "nothing that was accepted is lost");
    store.limit_size(4_000).await.expect("room again");
    store.append(operation(1, number)).await.expect("stored");
}
