use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

mod script;

use self::script::{Always, BudgetLog, LostNotes, coordinator, rejected};
use super::*;
use crate::app::budget_accounts::ReservedCalls;
use crate::app::coalescing::Coalescer;
use crate::app::conversation_reads::ConversationReads;
use crate::app::lag::LagTracker;
use crate::app::pending_writes::PendingWrites;
use crate::app::snapshot_cache::SnapshotCache;
use crate::app::testing::{self, PatchLog};
use crate::app::write_coordinator::WriteCoordinator;
use crate::domain::{AttributeKey, AttributeMap, AttributeValue, Client, KeyChange, Patch};
use crate::error::Error;
use crate::ports::store::StoreError;
use crate::ports::{
    BudgetAccount, CallBudget, CallPermits, ContextParts, ConversationsPort, PatchOutcome,
    PriorityClass, RequestContext, UnlimitedBudget,
};
use crate::shutdown::ShutdownSignal;

fn store_away() -> StoreError {
    StoreError::Unavailable("it is away".to_owned())
}

fn queues(upstream: &Arc<PatchLog>) -> WriteQueues {
    queues_with(upstream, Arc::new(UnlimitedBudget), None)
}

fn queues_with(
    upstream: &Arc<PatchLog>,
    call_budget: Arc<dyn CallBudget>,
    replicas: Option<Arc<WriteCoordinator>>,
) -> WriteQueues {
    let conversations: Arc<dyn ConversationsPort> = Arc::<PatchLog>::clone(upstream);
    let (settings, shutdown) = (Arc::new(testing::settings()), ShutdownSignal::default());
    let pending_writes = PendingWrites::new(&settings, Arc::default());
    let lags = Arc::new(LagTracker::new(settings.settle));
    let source = ConversationReads {
        conversations: Arc::clone(&conversations),
        cache: Arc::new(SnapshotCache::new(Duration::ZERO, 0, Arc::default())),
        pending_writes: pending_writes.clone(),
        lags: Arc::clone(&lags),
    };
    WriteQueues::new(BatchingParts {
        replicas,
        conversations,
        call_budget,
        recorder: Arc::default(),
        settings,
        reads: Coalescer::new(source, Arc::new(UnlimitedBudget), shutdown.clone()),
        shutdown,
        pending_writes,
        lags,
        random: Box::new(|| 0.5),
    })
}

fn participant_key() -> ParticipantKey {
    let id = "5eed0000-0000-4000-8000-000000000001";
    (id.parse().expect("an id"), id.parse().expect("an id"))
}

fn write(queues: &WriteQueues, key: &str, deadline: u64) -> WriteSubmission {
    let change = (AttributeKey::existing(key), KeyChange::to(AttributeValue::new("1")));
    let now = Instant::now();
    WriteSubmission {
        arrival: queues.arrival(),
        arrived: now,
        patch: std::iter::once(change).collect(),
        shown: AttributeMap::default(),
        shown_at: now,
        condition: None,
        notes: None,
        pending_ids: Vec::new(),
        verify: false,
        context: RequestContext::new(now + Duration::from_millis(deadline)),
        reserved_calls: ReservedCalls::default(),
    }
}

/// The same, on another account.
fn of_another_client(queues: &WriteQueues, key: &str) -> WriteSubmission {
    let client =
        Client { name: "other".parse().expect("a name"), ..(*Client::anonymous()).clone() };
    let context = ContextParts {
        client: Arc::new(client),
        ..ContextParts::new(Instant::now() + Duration::from_secs(1))
    };
    WriteSubmission { context: RequestContext::from_parts(context), ..write(queues, key, 0) }
}

fn submit(queues: &WriteQueues, key: &str, deadline: u64) -> SubmissionHandle {
    queues.submit(participant_key(), write(queues, key, deadline))
}

async fn sent(handle: &mut SubmissionHandle) -> bool {
    matches!(handle.result().await, SubmissionResult::Sent(_))
}

/// Whether a write was refused for want of calls.
async fn over_budget(handle: &mut SubmissionHandle) -> bool {
    let refused = handle.result().await;
    matches!(refused, SubmissionResult::Refused(Error::Overloaded("there is no budget")))
}

fn is_open(queues: &WriteQueues, key: &str) -> bool {
    queues.0.parts.pending_writes.is_open(participant_key(), &AttributeKey::existing(key))
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_write_is_not_sent() {
    let upstream = Arc::<PatchLog>::default();
    let queues = queues(&upstream);
    let mut first = submit(&queues, "a", 1_000);
    sleep(Duration::from_millis(1)).await;
    let (second, mut third) = (submit(&queues, "b", 1_000), submit(&queues, "c", 1_000));
    assert!(second.cancel().is_none());
    for handle in [&mut first, &mut third] {
        assert!(matches!(handle.result().await, SubmissionResult::Sent(_)));
    }
    assert_eq!(*upstream.0.lock(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_applied_from_the_moment_its_patch_leaves() {
    for (cut, has_left) in [(4, false), (6, true)] {
        let queues = queues(&Arc::default());
        let handle = submit(&queues, "a", 1_000);
        sleep(Duration::from_millis(cut)).await;
        assert_eq!(handle.cancel().map(|patch| patch.has_left()), Some(has_left), "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_past_its_deadline_is_refused_and_the_others_go() {
    let upstream = Arc::<PatchLog>::default();
    let queues = queues(&upstream);
    let _first = submit(&queues, "a", 1_000);
    sleep(Duration::from_millis(1)).await;
    let (mut late, mut other) = (submit(&queues, "b", 5), submit(&queues, "c", 1_000));
    let refused = late.result().await;
    assert!(matches!(refused, SubmissionResult::Refused(Error::DeadlineExceeded(_))));
    assert!(matches!(other.result().await, SubmissionResult::Sent(_)));
    assert_eq!(*upstream.0.lock(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn other_writes_have_a_turn_between_single_ones() {
    let upstream = PatchLog::scripted(&[rejected]);
    let queues = queues(&upstream);
    let mut handles: Vec<_> = ["a", "b", "c"].map(|key| submit(&queues, key, 1_000)).into();
    sleep(Duration::from_millis(15)).await;
    handles.extend(["d", "e"].map(|key| submit(&queues, key, 1_000)));
    for handle in &mut handles {
        assert!(sent(handle).await);
    }
    assert_eq!(*upstream.0.lock(), ["a,b,c", "a", "d,e", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_leaves_a_queue_that_works() {
    let upstream = PatchLog::scripted(&[|| panic!("on purpose")]);
    let queues = queues(&upstream);
    let mut lost = submit(&queues, "a", 1_000);
    sleep(Duration::from_millis(1)).await;
    let mut waiting = submit(&queues, "b", 1_000);
    assert!(matches!(lost.result().await, SubmissionResult::Lost));
    assert!(matches!(waiting.result().await, SubmissionResult::Lost), "its submitter tries again");
    assert!(queues.0.inboxes.lock().is_empty());
    assert!(is_open(&queues, "a"), "the PATCH may have been applied");
    sleep(testing::settings().outstanding).await;
    assert!(!is_open(&queues, "a"), "but not without end");
    assert!(sent(&mut submit(&queues, "c", 1_000)).await);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_a_lease_is_sent_again_with_one() {
    let upstream = Arc::<PatchLog>::default();
    let leases = coordinator(vec![Ok(false)]);
    let queues = queues_with(&upstream, Arc::new(UnlimitedBudget), Some(leases));
    let mut handle = submit(&queues, "a", 1_000);
    assert!(sent(&mut handle).await);
    assert_eq!(*upstream.0.lock(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_nothing_is_sent_and_nothing_is_open() {
    let upstream = Arc::<PatchLog>::default();
    let leases = coordinator(vec![Err(store_away())]);
    let queues = queues_with(&upstream, Arc::new(UnlimitedBudget), Some(leases));
    // The note fails first, and then there is no lease.
    for key in ["a", "b"] {
        let handle = &mut submit(&queues, key, 1_000);
        let refused = handle.result().await;
        assert!(matches!(refused, SubmissionResult::Refused(Error::StoreUnavailable(_))));
        assert!(!is_open(&queues, key));
    }
    assert!(upstream.0.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_reserves_the_calls_that_its_members_need() {
    use PriorityClass::{Committed, Write};
    let budget = Arc::<BudgetLog>::default();
    let upstream = PatchLog::scripted(&[|| PatchOutcome::Accepted, rejected]);
    let queues = queues_with(&upstream, Arc::<BudgetLog>::clone(&budget), None);
    let (patch, map) = (Patch::default(), AttributeMap::default());
    let pending_writes = &queues.0.parts.pending_writes;
    let own = pending_writes.sending(participant_key(), &patch, &map, &BTreeMap::new());
    let plain = |key| write(&queues, key, 1_000);
    let verified = |key| WriteSubmission { verify: true, ..plain(key) };
    let again = |write| WriteSubmission { pending_ids: vec![own], ..write };
    let judged = |write| WriteSubmission { condition: Some(Arc::new(Always)), ..write };
    for (batch, requests) in [
        (vec![judged(verified("a")), plain("b")], vec![(3, Write)]),
        // They are rejected together, and then each goes alone.
        (
            vec![again(verified("c")), again(plain("d"))],
            vec![(2, Committed), (2, Write), (1, Write)],
        ),
        (vec![again(plain("e")), plain("f")], vec![(1, Write)]),
    ] {
        let each = batch.into_iter().map(|one| queues.submit(participant_key(), one));
        for handle in &mut each.collect::<Vec<_>>() {
            assert!(sent(handle).await);
        }
        assert_eq!(std::mem::take(&mut *budget.requests.lock()), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_cannot_wait_for_calls_is_refused_at_once() {
    let start = Instant::now();
    let budget = Arc::new(BudgetLog {
        until: Mutex::new(Some(start + Duration::from_millis(100))),
        ..BudgetLog::default()
    });
    let upstream = Arc::<PatchLog>::default();
    let queues = queues_with(&upstream, budget, None);
    let (mut early, mut patient) = (submit(&queues, "a", 50), submit(&queues, "b", 1_000));
    assert!(over_budget(&mut early).await);
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_millis(20)).await;
    assert!(over_budget(&mut submit(&queues, "c", 50)).await);
    assert_eq!(start.elapsed(), Duration::from_millis(20));
    assert!(sent(&mut patient).await);
    assert_eq!((start.elapsed(), upstream.0.lock().len()), (Duration::from_millis(110), 1));
}

type Second = fn(&WriteQueues, &dyn Fn() -> ReservedCalls) -> WriteSubmission;

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_with_the_calls_of_the_member_that_has_them_first() {
    let own = || {
        let one = CallPermits::new(Arc::new(UnlimitedBudget), BudgetAccount::SHARED, 1);
        ReservedCalls::new(one)
    };
    let with_calls: Second =
        |queues, own| WriteSubmission { reserved_calls: own(), ..write(queues, "b", 1_000) };
    let of_another: Second = |queues, _| of_another_client(queues, "b");
    for second in [with_calls, of_another] {
        let start = Instant::now();
        let budget = BudgetLog::default();
        *budget.until.lock() = Some(start + Duration::from_millis(100));
        let upstream = Arc::<PatchLog>::default();
        let queues = queues_with(&upstream, Arc::new(budget), None);
        let mut first = submit(&queues, "a", 1_000);
        sleep(Duration::from_millis(20)).await;
        let mut second = queues.submit(participant_key(), second(&queues, &own));
        assert!(sent(&mut first).await && sent(&mut second).await);
        assert_eq!(start.elapsed(), Duration::from_millis(30));
        assert_eq!(*upstream.0.lock(), ["a,b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn single_writes_wait_for_their_calls_and_others_do_not() {
    for is_optimistic in [false, true] {
        let start = Instant::now();
        let budget = Arc::new(BudgetLog { is_optimistic, ..BudgetLog::default() });
        let upstream = PatchLog::scripted(&[rejected]);
        let queues = queues_with(&upstream, Arc::<BudgetLog>::clone(&budget), None);
        let mut early = submit(&queues, "a", 50);
        let (mut patient, mut hasty) = (submit(&queues, "b", 1_000), submit(&queues, "h", 60));
        sleep(Duration::from_millis(5)).await;
        *budget.until.lock() = Some(start + Duration::from_millis(100));
        assert!(over_budget(&mut early).await, "its own calls come too late");
        if !is_optimistic {
            assert!(over_budget(&mut hasty).await, "the calls of the one before it do");
        }
        assert_eq!(start.elapsed(), Duration::from_millis(10), "the batch was rejected then");
        sleep(Duration::from_millis(10)).await;
        assert!(sent(&mut queues.submit(participant_key(), of_another_client(&queues, "c"))).await);
        assert_eq!(start.elapsed(), Duration::from_millis(30));
        assert!(sent(&mut patient).await);
        assert!(start.elapsed() >= Duration::from_millis(110));
        assert_eq!(*upstream.0.lock(), ["a,b,h", "c", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_another_process_may_send_is_not_sent() {
    let upstream = Arc::<PatchLog>::default();
    let queues = queues(&upstream);
    let lost = WriteSubmission { notes: Some(Arc::new(LostNotes)), ..write(&queues, "a", 1_000) };
    let mut lost = queues.submit(participant_key(), lost);
    let mut other = submit(&queues, "b", 1_000);
    let refused = lost.result().await;
    assert!(matches!(refused, SubmissionResult::Refused(Error::OperationEnded)), "{refused:?}");
    assert!(sent(&mut other).await);
    assert_eq!(*upstream.0.lock(), ["b"]);
}
