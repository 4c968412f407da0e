//! Stand-ins for unit tests: an upstream that takes `PATCH`es, and the default settings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::client_registry::ClientRegistry;
use super::settings::AppSettings;
use super::{App, AppParts};
use crate::domain::{AttributeLimits, Conversation, ListPage};
use crate::error::Error;
use crate::policy::Backoff;
use crate::ports::{
    BoxFuture, ConversationsPort, PatchOutcome, RequestContext, UnlimitedBudget, UpstreamPatch,
    UpstreamQuery, UpstreamRead,
};
use crate::shutdown::ShutdownSignal;

/// Keeps the keys of each PATCH, and answers after 10 ms: as scripted, and then with acceptance. A
/// PATCH leaves after 5 ms. Reads are never answered.
#[derive(Default)]
pub struct PatchLog(pub Mutex<Vec<String>>, Mutex<VecDeque<fn() -> PatchOutcome>>);

impl PatchLog {
    pub fn scripted(answers: &[fn() -> PatchOutcome]) -> Arc<Self> {
        Arc::new(Self(Mutex::default(), Mutex::new(answers.to_vec().into())))
    }
}

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
        assert!(patch.permit.is_some(), "every PATCH has its permit");
        let keys: Vec<_> = patch.attributes.iter().map(|(key, _)| key.as_str()).collect();
        self.0.lock().push(keys.join(","));
        let answer = self.1.lock().pop_front();
        Box::pin(async move {
            sleep(Duration::from_millis(5)).await;
            context.count_call();
            sleep(Duration::from_millis(5)).await;
            answer.map_or(PatchOutcome::Accepted, |answer| answer())
        })
    }
}

/// The default settings.
pub fn settings() -> AppSettings {
    AppSettings {
        limits: AttributeLimits { total_bytes: 10_240 },
        patch_full: false,
        max_reads: 12,
        settle: Duration::from_secs(10),
        outstanding: Duration::from_secs(30),
        conflict_retries: 3,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        warm_for: Duration::from_secs(10),
        memory: 8 * 1024 * 1024,
        max_age: Duration::ZERO,
        waiting: 4096,
        waiting_per_participant: 256,
    }
}

impl App {
    /// An application for tests whose requests never reach it.
    pub(crate) fn for_tests() -> Self {
        Self::new(AppParts {
            replicas: None,
            client_registry: ClientRegistry::unauthenticated(),
            conversations: Arc::<PatchLog>::default(),
            call_budget: Arc::new(UnlimitedBudget),
            recorder: Arc::default(),
            settings: settings(),
            shutdown: ShutdownSignal::default(),
            random: Box::new(|| 0.5),
        })
    }
}
