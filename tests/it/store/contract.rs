//! What every backend must do. The same cases run on all of them.

use std::sync::Arc;
use std::time::Duration;

use gateway_store::StoreLimits;
use gateway_store::embedded::EmbeddedStore;
use gateway_store::ports::{
    AnswerClaim, CancelOutcome, ClaimedLane, IdempotencyState, IdempotencyStore, OperationJournal,
    OperationResult, OperationState, PrivateBytes, StoreError,
};
use uuid::Uuid;

use super::server::RedisServer;
use super::{SHORT, conversation, key, limits, operation, scope, short_limits};

/// A backend, for as long as a test runs.
pub(super) trait Backend: Send + Sync {
    /// Opens what was stored before, or a new store at first.
    async fn open(&self, limits: StoreLimits) -> Stores;
    /// Ends the server, if there is one, as a crash does.
    async fn crash(&self);
}

/// The two stores that every backend has.
#[derive(Clone)]
pub(super) struct Stores {
    pub journal: Arc<dyn OperationJournal>,
    pub answers: Arc<dyn IdempotencyStore>,
}

/// A database file.
pub(super) struct File(tempfile::TempDir);

impl File {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Backend for File {
    async fn open(&self, limits: StoreLimits) -> Stores {
        let path = self.0.path().join("store.db");
        let store = Arc::new(EmbeddedStore::open(&path, key(), limits).expect("opens"));
        Stores { journal: store.clone(), answers: store }
    }

    async fn crash(&self) {}
}

/// A database in memory.
pub(super) struct Memory;

impl Backend for Memory {
    async fn open(&self, limits: StoreLimits) -> Stores {
        let store = Arc::new(EmbeddedStore::in_memory(key(), limits).expect("opens"));
        Stores { journal: store.clone(), answers: store }
    }

    async fn crash(&self) {}
}

impl Backend for RedisServer {
    async fn open(&self, limits: StoreLimits) -> Stores {
        let store = Arc::new(self.store("one", limits));
        Stores { journal: store.clone(), answers: store }
    }

    async fn crash(&self) {
        self.restart().await;
    }
}

/// Runs a case on each backend.
macro_rules! contract {
    ($($case:ident),+ $(,)?; only durable: $($durable:ident),+ $(,)?) => {
        mod file {
            $(#[tokio::test] async fn $case() { super::$case(super::File::new()).await; })+
            $(#[tokio::test] async fn $durable() { super::$durable(super::File::new()).await; })+
        }
        mod redis {
            use crate::store::server::RedisServer;
            $(#[tokio::test] async fn $case() { super::$case(RedisServer::start(&[]).await).await; })+
            $(#[tokio::test] async fn $durable() {
                super::$durable(RedisServer::start(&[]).await).await;
            })+
        }
        mod cluster {
            use crate::store::server::RedisServer;
            $(#[tokio::test] async fn $case() {
                super::$case(RedisServer::start_cluster().await).await;
            })+
            $(#[tokio::test] async fn $durable() {
                super::$durable(RedisServer::start_cluster().await).await;
            })+
        }
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(super::Memory).await; })+
        }
    };
}

contract! {
    operations_of_a_conversation_come_back_in_order,
    a_second_append_changes_nothing,
    a_full_journal_refuses,
    a_claim_excludes_others_until_it_lapses,
    a_released_conversation_waits_for_its_delay,
    an_operation_ends_once,
    a_client_finds_its_own_operations_only,
    a_finished_operation_is_kept_for_a_while,
    only_an_unsent_operation_can_be_cancelled,
    concurrent_appends_get_their_own_numbers,
    the_first_of_many_requests_is_new,
    a_stored_answer_comes_back,
    a_key_stands_for_one_body,
    an_abandoned_key_is_new_again,
    an_interrupted_request_says_so,
    an_answer_expires,
    a_client_cannot_push_out_the_answers_of_another;
    only durable:
    unfinished_operations_survive_a_restart,
    a_stored_answer_survives_a_restart,
}

/// The numbers of the claimed operations, one list for each conversation.
fn numbers(lanes: &[ClaimedLane]) -> Vec<Vec<u8>> {
    let number = |operation: &Result<_, Uuid>| match operation {
        Ok(stored) => {
            let stored: &gateway_store::ports::StoredOperation = stored;
            let number = stored.operation.id.as_bytes()[0];
            let expected = format!("private-{number}").into_bytes();
            assert_eq!(stored.operation.request, PrivateBytes(expected));
            number
        }
        Err(id) => panic!("{id} cannot be read"),
    };
    lanes.iter().map(|lane| lane.operations.iter().map(number).collect()).collect()
}

/// No conversation.
const NOTHING: [Vec<u8>; 0] = [];

fn done(status: u16) -> OperationResult {
    OperationResult { status, body: PrivateBytes(b"{\"result\":1}".to_vec()) }
}

async fn operations_of_a_conversation_come_back_in_order(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    let mut sequences = vec![];
    for (on, number) in [(1, 11), (2, 21), (1, 12), (1, 13), (2, 22)] {
        sequences.push(journal.append(operation(on, number)).await.expect("stored"));
    }
    assert!(sequences.is_sorted_by(|before, after| before < after), "{sequences:?}");
    let lanes = journal.claim(10).await.expect("claimed");
    assert_eq!(numbers(&lanes), [vec![11, 12, 13], vec![21, 22]]);
    assert_eq!(lanes[0].conversation, conversation(1));
    let first = lanes[0].operations[0].as_ref().expect("readable");
    let given = operation(1, 11);
    assert_eq!(first.operation.accepted_at, given.accepted_at);
    assert_eq!(first.operation.not_after, given.not_after);
    assert_eq!((first.state, first.patch_digest), (OperationState::Queued, None));
    assert_eq!((first.sequence, &first.result), (sequences[0], &None));
    let summary = journal.summary().await.expect("counted");
    assert_eq!((summary.unfinished, summary.oldest), (5, Some(given.accepted_at)));
}

async fn a_second_append_changes_nothing(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    let first = journal.append(operation(1, 11)).await.expect("stored");
    journal.append(operation(1, 12)).await.expect("stored");
    assert_eq!(journal.append(operation(1, 11)).await, Ok(first));
    assert_eq!(numbers(&journal.claim(10).await.expect("claimed")), [vec![11, 12]]);
}

async fn a_full_journal_refuses(backend: impl Backend) {
    let journal = backend.open(short_limits()).await.journal;
    for number in [11, 12, 13] {
        journal.append(operation(1, number)).await.expect("stored");
    }
    assert_eq!(journal.append(operation(2, 21)).await, Err(StoreError::Full));
    let id = operation(1, 11).id;
    assert_eq!(journal.finish(id, OperationState::Done, Some(done(200))).await, Ok(true));
    journal.append(operation(2, 21)).await.expect("there is room again");
}

async fn a_claim_excludes_others_until_it_lapses(backend: impl Backend) {
    let journal = backend.open(short_limits()).await.journal;
    journal.append(operation(1, 11)).await.expect("stored");
    journal.append(operation(2, 21)).await.expect("stored");
    assert_eq!(numbers(&journal.claim(1).await.expect("claimed")), [vec![11]]);
    // A new operation of a claimed conversation waits, too.
    journal.append(operation(1, 12)).await.expect("stored");
    assert_eq!(numbers(&journal.claim(5).await.expect("claimed")), [vec![21]]);
    assert_eq!(numbers(&journal.claim(5).await.expect("claimed")), NOTHING);

    tokio::time::sleep(SHORT * 3 / 4).await;
    assert_eq!(journal.renew(conversation(1)).await, Ok(true));
    tokio::time::sleep(SHORT / 2).await;
    assert_eq!(numbers(&journal.claim(5).await.expect("claimed")), [vec![21]]);
    tokio::time::sleep(SHORT).await;
    assert_eq!(numbers(&journal.claim(1).await.expect("claimed")), [vec![11, 12]]);
}

async fn a_released_conversation_waits_for_its_delay(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    journal.append(operation(1, 11)).await.expect("stored");
    journal.claim(1).await.expect("claimed");
    journal.release(conversation(1), SHORT).await.expect("released");
    assert_eq!(journal.renew(conversation(1)).await, Ok(false), "the claim was given back");
    assert_eq!(numbers(&journal.claim(1).await.expect("claimed")), NOTHING);
    tokio::time::sleep(SHORT * 5 / 4).await;
    assert_eq!(numbers(&journal.claim(1).await.expect("claimed")), [vec![11]]);
    journal.release(conversation(1), Duration::ZERO).await.expect("released");
    assert_eq!(numbers(&journal.claim(1).await.expect("claimed")), [vec![11]]);
}

async fn an_operation_ends_once(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    let id = journal.append(operation(1, 11)).await.map(|_| operation(1, 11).id).expect("stored");
    assert_eq!(journal.mark_sent(id, [7; 32]).await, Ok(true));
    let stored = journal.find(id, "crm").await.expect("read").expect("there");
    assert_eq!((stored.state, stored.patch_digest), (OperationState::Sent, Some([7; 32])));

    assert_eq!(journal.finish(id, OperationState::Done, Some(done(200))).await, Ok(true));
    assert_eq!(journal.finish(id, OperationState::Failed, None).await, Ok(false));
    assert_eq!(journal.mark_sent(id, [8; 32]).await, Ok(false));
    let stored = journal.find(id, "crm").await.expect("read").expect("there");
    assert_eq!((stored.state, stored.result), (OperationState::Done, Some(done(200))));
    assert_eq!(numbers(&journal.claim(5).await.expect("claimed")), NOTHING);
    assert_eq!(journal.finish(Uuid::nil(), OperationState::Failed, None).await, Ok(false));
}

async fn a_client_finds_its_own_operations_only(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    journal.append(operation(1, 11)).await.expect("stored");
    let id = operation(1, 11).id;
    assert!(journal.find(id, "crm").await.expect("read").is_some());
    assert!(journal.find(id, "other").await.expect("read").is_none());
    assert!(journal.find(Uuid::nil(), "crm").await.expect("read").is_none());
    assert_eq!(journal.cancel(id, "other").await, Ok(CancelOutcome::NotFound));
}

async fn a_finished_operation_is_kept_for_a_while(backend: impl Backend) {
    let journal = backend.open(short_limits()).await.journal;
    for number in [11, 12] {
        journal.append(operation(1, number)).await.expect("stored");
    }
    let [ended, open] = [11, 12].map(|number| operation(1, number).id);
    journal.finish(ended, OperationState::Expired, None).await.expect("stored");
    assert!(journal.find(ended, "crm").await.expect("read").is_some());
    tokio::time::sleep(SHORT * 5 / 4).await;
    assert!(journal.find(ended, "crm").await.expect("read").is_none());
    assert!(journal.find(open, "crm").await.expect("read").is_some(), "it is not finished");
}

async fn only_an_unsent_operation_can_be_cancelled(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    for number in [11, 12] {
        journal.append(operation(1, number)).await.expect("stored");
    }
    let [unsent, sent] = [11, 12].map(|number| operation(1, number).id);
    assert_eq!(journal.mark_sent(sent, [7; 32]).await, Ok(true));
    assert_eq!(journal.cancel(unsent, "crm").await, Ok(CancelOutcome::Cancelled));
    assert_eq!(journal.mark_sent(unsent, [7; 32]).await, Ok(false), "it must not be sent");
    assert_eq!(journal.cancel(sent, "crm").await, Ok(CancelOutcome::TooLate));
    assert_eq!(journal.cancel(unsent, "crm").await, Ok(CancelOutcome::TooLate));
    assert_eq!(numbers(&journal.claim(5).await.expect("claimed")), [vec![12]]);
    let state = journal.find(unsent, "crm").await.expect("read").expect("there").state;
    assert_eq!(state, OperationState::Cancelled);
}

async fn concurrent_appends_get_their_own_numbers(backend: impl Backend) {
    let journal = backend.open(limits()).await.journal;
    let appends = (0..100_u8).map(|number| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.append(operation(number % 7, number)).await })
    });
    let mut sequences = vec![];
    for append in appends.collect::<Vec<_>>() {
        sequences.push(append.await.expect("no panic").expect("stored"));
    }
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), 100);
    assert_eq!(journal.summary().await.expect("counted").unfinished, 100);
}

async fn unfinished_operations_survive_a_restart(backend: impl Backend) {
    let before = backend.open(short_limits()).await;
    for (on, number) in [(1, 11), (2, 21), (1, 12)] {
        before.journal.append(operation(on, number)).await.expect("stored");
    }
    before.journal.claim(5).await.expect("claimed");
    let [sent, ended] = [operation(1, 11).id, operation(2, 21).id];
    before.journal.mark_sent(sent, [7; 32]).await.expect("stored");
    before.journal.finish(ended, OperationState::Done, Some(done(202))).await.expect("stored");
    drop(before);
    backend.crash().await;

    let after = backend.open(limits()).await.journal;
    tokio::time::sleep(SHORT).await;
    let lanes = after.claim(5).await.expect("claimed");
    assert_eq!(numbers(&lanes), [vec![11, 12]]);
    let first = lanes[0].operations[0].as_ref().expect("readable");
    assert_eq!((first.state, first.patch_digest), (OperationState::Sent, Some([7; 32])));
    let next = after.append(operation(3, 31)).await.expect("stored");
    let last = lanes[0].operations[1].as_ref().expect("readable").sequence;
    assert!(next > last, "{next} does not come after {last}");
}

/// The claim of a new key.
async fn claim(answers: &dyn IdempotencyStore, client: &str, request: &str) -> AnswerClaim {
    match answers.begin(scope(client, request), [1; 32]).await.expect("looked up") {
        IdempotencyState::New { claim, interrupted: false } => claim,
        other => panic!("{request} is {other:?}"),
    }
}

async fn the_first_of_many_requests_is_new(backend: impl Backend) {
    let answers = backend.open(limits()).await.answers;
    let begins = (0..20).map(|_| {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move { answers.begin(scope("crm", "PUT /a k1"), [1; 32]).await })
    });
    let mut new = 0;
    for begin in begins.collect::<Vec<_>>() {
        match begin.await.expect("no panic").expect("looked up") {
            IdempotencyState::New { interrupted: false, .. } => new += 1,
            other => assert_eq!(other, IdempotencyState::InProgress),
        }
    }
    assert_eq!(new, 1);
    claim(&*answers, "crm", "PUT /a k2").await;
    claim(&*answers, "other", "PUT /a k1").await;
}

async fn a_stored_answer_comes_back(backend: impl Backend) {
    let answers = backend.open(limits()).await.answers;
    let first = claim(&*answers, "crm", "k").await;
    let answer = PrivateBytes(vec![0, 159, 146, 150]);
    answers.complete(first, answer.clone()).await.expect("stored");
    for _ in 0..2 {
        let state = answers.begin(scope("crm", "k"), [1; 32]).await;
        assert_eq!(state, Ok(IdempotencyState::Finished(answer.clone())));
    }
}

async fn a_key_stands_for_one_body(backend: impl Backend) {
    let answers = backend.open(limits()).await.answers;
    let first = claim(&*answers, "crm", "k").await;
    let other = answers.begin(scope("crm", "k"), [2; 32]).await;
    assert_eq!(other, Ok(IdempotencyState::Mismatch));
    answers.complete(first, PrivateBytes(vec![])).await.expect("stored");
    let other = answers.begin(scope("crm", "k"), [2; 32]).await;
    assert_eq!(other, Ok(IdempotencyState::Mismatch));
}

async fn an_abandoned_key_is_new_again(backend: impl Backend) {
    let answers = backend.open(limits()).await.answers;
    let first = claim(&*answers, "crm", "k").await;
    answers.abandon(first.clone()).await.expect("forgotten");
    let second = claim(&*answers, "crm", "k").await;
    // What is left of the first try changes nothing.
    answers.abandon(first.clone()).await.expect("nothing");
    answers.complete(first, PrivateBytes(b"late".to_vec())).await.expect("nothing");
    let state = answers.begin(scope("crm", "k"), [1; 32]).await;
    assert_eq!(state, Ok(IdempotencyState::InProgress));
    answers.complete(second, PrivateBytes(b"answer".to_vec())).await.expect("stored");
    let state = answers.begin(scope("crm", "k"), [1; 32]).await;
    assert_eq!(state, Ok(IdempotencyState::Finished(PrivateBytes(b"answer".to_vec()))));
}

async fn an_interrupted_request_says_so(backend: impl Backend) {
    let limits = StoreLimits { longest_lease: SHORT, ..limits() };
    let answers = backend.open(limits).await.answers;
    claim(&*answers, "crm", "k").await;
    tokio::time::sleep(SHORT * 5 / 4).await;
    let state = answers.begin(scope("crm", "k"), [1; 32]).await.expect("looked up");
    assert!(matches!(state, IdempotencyState::New { interrupted: true, .. }), "{state:?}");
    let state = answers.begin(scope("crm", "k"), [1; 32]).await;
    assert_eq!(state, Ok(IdempotencyState::InProgress));
}

async fn an_answer_expires(backend: impl Backend) {
    let answers = backend.open(short_limits()).await.answers;
    let first = claim(&*answers, "crm", "k").await;
    answers.complete(first, PrivateBytes(b"answer".to_vec())).await.expect("stored");
    tokio::time::sleep(SHORT * 5 / 4).await;
    claim(&*answers, "crm", "k").await;
}

async fn a_client_cannot_push_out_the_answers_of_another(backend: impl Backend) {
    let limits = StoreLimits { answers_per_client: 3, ..limits() };
    let answers = backend.open(limits).await.answers;
    for (client, request) in [("quiet", "k"), ("busy", "1"), ("busy", "2"), ("busy", "3")] {
        let claim = claim(&*answers, client, request).await;
        answers.complete(claim, PrivateBytes(b"answer".to_vec())).await.expect("stored");
        // Those of one millisecond have no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    claim(&*answers, "busy", "4").await;
    let kept = Ok(IdempotencyState::Finished(PrivateBytes(b"answer".to_vec())));
    for (client, request) in [("quiet", "k"), ("busy", "2"), ("busy", "3")] {
        assert_eq!(answers.begin(scope(client, request), [1; 32]).await, kept, "{request}");
    }
    claim(&*answers, "busy", "1").await;
}

async fn a_stored_answer_survives_a_restart(backend: impl Backend) {
    let before = backend.open(limits()).await;
    let finished = claim(&*before.answers, "crm", "finished").await;
    before.answers.complete(finished, PrivateBytes(b"answer".to_vec())).await.expect("stored");
    drop(before);
    backend.crash().await;
    let after = backend.open(limits()).await.answers;
    let state = after.begin(scope("crm", "finished"), [1; 32]).await;
    assert_eq!(state, Ok(IdempotencyState::Finished(PrivateBytes(b"answer".to_vec()))));
}
