use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::*;
use crate::app::coalescing::Coalescer;
use crate::app::conversation_reads::ConversationReads;
use crate::app::lag::LagTracker;
use crate::app::pending_writes::PendingWrites;
use crate::app::snapshot_cache::SnapshotCache;
use crate::app::testing;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, Conversation, KeyChange, ListPage,
};
use crate::error::Error;
use crate::ports::{
    BoxFuture, ConversationsPort, NoMeter, PatchOutcome, RequestContext, UnlimitedBudget,
    UpstreamPatch, UpstreamQuery, UpstreamRead, WriteNotes,
};
use crate::shutdown::ShutdownSignal;

/// Accepts every PATCH after 10 ms, and keeps the keys of each. A PATCH leaves after 5 ms.
#[derive(Default)]
struct PatchLog(Mutex<Vec<String>>);

impl ConversationsPort for PatchLog {
    fn reads_participants_singly(&self) -> bool {
        false
    }

    fn read<'a>(
        &'a self,
        _: UpstreamRead,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(std::future::pending())
    }

    fn find<'a>(
        &'a self,
        _: UpstreamQuery<'a>,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(std::future::pending())
    }

    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        let keys: Vec<_> = patch.attributes.iter().map(|(key, _)| key.as_str()).collect();
        self.0.lock().push(keys.join(","));
        Box::pin(async {
            sleep(Duration::from_millis(5)).await;
            context.count_call();
            sleep(Duration::from_millis(5)).await;
            PatchOutcome::Accepted
        })
    }
}

fn queues(upstream: &Arc<PatchLog>) -> WriteQueues {
    let conversations: Arc<dyn ConversationsPort> = Arc::<PatchLog>::clone(upstream);
    let (settings, shutdown) = (Arc::new(testing::settings()), ShutdownSignal::default());
    let pending_writes = PendingWrites::new(&settings, Arc::new(NoMeter));
    let lags = Arc::new(LagTracker::new(settings.settle));
    let source = ConversationReads {
        conversations: Arc::clone(&conversations),
        cache: Arc::new(SnapshotCache::new(Duration::ZERO, 0, Arc::new(NoMeter))),
        pending_writes: pending_writes.clone(),
        lags: Arc::clone(&lags),
    };
    WriteQueues::new(BatchingParts {
        replicas: None,
        conversations,
        call_budget: Arc::new(UnlimitedBudget),
        recorder: Arc::new(NoMeter),
        settings,
        reads: Coalescer::new(source, Arc::new(UnlimitedBudget), shutdown.clone()),
        shutdown,
        pending_writes,
        lags,
        random: Box::new(|| 0.5),
    })
}

fn submit(queues: &WriteQueues, key: &str, deadline: u64) -> SubmissionHandle {
    submit_with(queues, key, deadline, None)
}

fn submit_with(
    queues: &WriteQueues,
    key: &str,
    deadline: u64,
    notes: Option<Arc<dyn WriteNotes>>,
) -> SubmissionHandle {
    let id = "5eed0000-0000-4000-8000-000000000001";
    let participant_key = (id.parse().expect("an id"), id.parse().expect("an id"));
    let change = (AttributeKey::existing(key), KeyChange::to(AttributeValue::new("1")));
    let now = Instant::now();
    let submission = WriteSubmission {
        arrival: queues.arrival(),
        arrived: now,
        patch: std::iter::once(change).collect(),
        shown: AttributeMap::default(),
        shown_at: now,
        condition: None,
        notes,
        pending_ids: Vec::new(),
        verify: false,
        context: RequestContext::new(now + Duration::from_millis(deadline)),
        reserved_calls: super::super::budget_accounts::ReservedCalls::default(),
    };
    queues.submit(participant_key, submission)
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

/// The notes of a write that another process may send.
#[derive(Debug)]
struct LostNotes;

impl WriteNotes for LostNotes {
    fn earlier(&self) -> Option<[u8; 32]> {
        None
    }

    fn before_sending(&self, _: [u8; 32]) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn may_send(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_another_process_may_send_is_not_sent() {
    let upstream = Arc::<PatchLog>::default();
    let queues = queues(&upstream);
    let mut lost = submit_with(&queues, "a", 1_000, Some(Arc::new(LostNotes)));
    let mut other = submit(&queues, "b", 1_000);
    let refused = lost.result().await;
    assert!(matches!(refused, SubmissionResult::Refused(Error::OperationEnded)), "{refused:?}");
    assert!(matches!(other.result().await, SubmissionResult::Sent(_)));
    assert_eq!(*upstream.0.lock(), ["b"]);
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
