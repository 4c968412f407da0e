//! What only replicas share: the token and the write leases.

use std::time::Duration;

use gateway_store::ports::{LastPatch, PrivateBytes, SharedToken as _, WriteLeases as _};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::server::RedisServer;
use super::{SHORT, limits, operation, short_limits};

const HOLD: Duration = Duration::from_secs(5);

#[tokio::test]
async fn one_replica_fetches_the_token_for_all() {
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, limits()));
    assert!(one.load().await.expect("read").token.is_none());
    let lock = one.lock(HOLD).await.expect("asked").expect("free");
    assert_eq!(two.lock(HOLD).await, Ok(None));
    let valid = Duration::from_mins(1);
    assert_eq!(one.store(lock, &"first".into(), valid).await, Ok(Some(1)));

    let token = two.load().await.expect("read").token.expect("shared");
    assert_eq!((token.token.expose_secret(), token.generation), ("first", 1));
    assert!(token.expires_in <= valid && token.expires_in > valid / 2, "{:?}", token.expires_in);
    let bytes: Vec<u8> =
        server.command(redis::cmd("HGET").arg("attribute-gateway:{test}:token").arg("token")).await;
    assert!(!bytes.windows(5).any(|part| part == b"first"), "it is not encrypted");

    let lock = two.lock(HOLD).await.expect("asked").expect("the lock has ended");
    assert_eq!(two.store(lock, &"second".into(), valid).await, Ok(Some(2)));
    assert_eq!(one.store(lock, &"late".into(), valid).await, Ok(None), "the lock has ended");
}

#[tokio::test]
async fn only_the_token_that_failed_is_dropped() {
    let server = RedisServer::start(&[]).await;
    let store = server.store("one", limits());
    for generation in 1..=2 {
        let lock = store.lock(HOLD).await.expect("asked").expect("free");
        let stored = store.store(lock, &"token".into(), Duration::from_mins(1)).await;
        assert_eq!(stored, Ok(Some(generation)));
    }
    assert_eq!(store.drop_token(1).await, Ok(false));
    assert!(store.load().await.expect("read").token.is_some());
    assert_eq!(store.drop_token(2).await, Ok(true));
    assert!(store.load().await.expect("read").token.is_none());
    let lock = store.lock(HOLD).await.expect("asked").expect("free");
    let next = store.store(lock, &"token".into(), Duration::from_mins(1)).await;
    assert_eq!(next, Ok(Some(3)), "a generation was used twice");
}

#[tokio::test]
async fn a_throttled_token_endpoint_is_left_alone_by_all() {
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, limits()));
    let lock = one.lock(HOLD).await.expect("asked").expect("free");
    one.unlock(lock, Duration::from_secs(30)).await.expect("unlocked");
    let hold_off = two.load().await.expect("read").hold_off;
    assert!(hold_off > Duration::from_secs(20), "{hold_off:?}");
    let lock = two.lock(Duration::from_millis(50)).await.expect("asked").expect("unlocked");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let taken = one.lock(HOLD).await.expect("asked").expect("the lock has lapsed");
    two.unlock(lock, Duration::ZERO).await.expect("nothing");
    assert_eq!(two.lock(HOLD).await, Ok(None), "the lock of another was ended");
    one.unlock(taken, Duration::ZERO).await.expect("unlocked");
}

fn patch(note: &str) -> LastPatch {
    LastPatch { id: Uuid::from_u128(7), note: PrivateBytes(note.as_bytes().to_vec()) }
}

#[tokio::test]
async fn one_replica_writes_and_the_next_knows_of_it() {
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, limits()));
    let mut lease = one.acquire("p").await.expect("asked").expect("free");
    assert_eq!(lease.last_patch, None);
    assert!(two.acquire("p").await.expect("asked").is_none());
    assert!(two.acquire("q").await.expect("asked").is_some());
    let before = lease.send_before;
    let keep = Duration::from_secs(30);
    assert_eq!(one.record(&mut lease, patch("sent"), keep).await, Ok(true));
    assert!(lease.send_before > before, "the lease was not extended");
    assert_eq!(two.last_patch("p").await, Ok(Some(patch("sent"))));
    one.release(lease, Some((patch("accepted"), keep))).await.expect("released");

    let mut lease = two.acquire("p").await.expect("asked").expect("free");
    assert_eq!(lease.last_patch, Some(patch("accepted")));
    let short = Duration::from_millis(50);
    assert_eq!(two.record(&mut lease, patch("later"), short).await, Ok(true));
    tokio::time::sleep(Duration::from_millis(100)).await;
    two.release(lease, None).await.expect("released");
    let lease = one.acquire("p").await.expect("asked").expect("free");
    assert_eq!(lease.last_patch, None, "it was to be kept for 50 ms");
    assert_eq!(one.last_patch("p").await, Ok(None));
}

#[tokio::test]
async fn a_lost_lease_gives_no_rights() {
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, limits()));
    let mut lost = one.acquire("p").await.expect("asked").expect("free");
    // As if it had lapsed: only the time is skipped.
    server.command::<()>(redis::cmd("DEL").arg("attribute-gateway:{test}:write:p")).await;
    let mut held = two.acquire("p").await.expect("asked").expect("free");
    assert_eq!(one.record(&mut lost, patch("late"), HOLD).await, Ok(false));
    one.release(lost, Some((patch("late"), HOLD))).await.expect("nothing");
    assert!(one.acquire("p").await.expect("asked").is_none(), "the lease of another was ended");
    assert_eq!(one.last_patch("p").await, Ok(None), "a lost lease left a note");
    assert_eq!(two.record(&mut held, patch("held"), HOLD).await, Ok(true));
}

#[tokio::test]
async fn a_replica_cannot_send_what_another_has_claimed() {
    use gateway_store::ports::OperationJournal as _;
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, short_limits()));
    one.append(operation(1, 11)).await.expect("stored");
    let id = operation(1, 11).id;
    assert_eq!(one.claim(1).await.expect("claimed").len(), 1);
    assert_eq!(two.mark_sent(id, [7; 32]).await, Ok(false), "it has no claim");
    tokio::time::sleep(SHORT * 5 / 4).await;
    assert_eq!(two.claim(1).await.expect("claimed").len(), 1);
    assert_eq!(one.renew(operation(1, 11).conversation).await, Ok(false));
    assert_eq!(one.mark_sent(id, [7; 32]).await, Ok(false), "its claim has lapsed");
    assert_eq!(two.mark_sent(id, [7; 32]).await, Ok(true));
}
