//! Pages of the list of live conversations, shared by all who want the same one while it is on its way.
//! Nothing of it is kept: whoever comes after it has a query of its own.
//!
//! A query runs in a task of its own, so that nobody's hang-up ends it for others; it ends when nobody
//! waits any more. Its time is that of the client it was made for. Whoever has less time makes another
//! one, since this one may be tried again for longer; whoever has more may go on when it has failed.
//!
//! It is made on the account of that client, too. As long as it has not left, it may have to wait for
//! that client's share: nobody else joins it before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::coalesced_reads::DEADLINE_MARGIN;
use crate::domain::{ConversationFilter, ListPage};
use crate::error::Error;
use crate::ports::{ContextParts, ConversationsPort, RequestContext, UpstreamQuery};
use crate::shutdown::ShutdownSignal;

/// What is looked for: the page with this number.
type PageKey = (ConversationFilter, u32);

/// Shared queries. Cheap to clone.
#[derive(Clone)]
pub struct ListCoalescer {
    conversations: Arc<dyn ConversationsPort>,
    shutdown: ShutdownSignal,
    /// Those on their way. Of one place there are several only where the first has too much time, or
    /// waits on the account of another client.
    in_flight: Arc<Mutex<HashMap<PageKey, Vec<InFlightQuery>>>>,
}

/// A query on its way. Those who wait for it have a receiver each.
#[derive(Clone)]
struct InFlightQuery {
    deadline: Instant,
    spent: RequestContext,
    told: watch::Sender<Option<QueryResult>>,
}

impl InFlightQuery {
    /// Whether it serves somebody else as well, and without making him wait for what is not his.
    fn may_be_joined(&self, context: &RequestContext) -> bool {
        let has_left = || self.spent.calls() > 0;
        self.deadline <= context.deadline()
            && (self.spent.budget_account() == context.budget_account() || has_left())
    }
}

#[derive(Clone)]
struct QueryResult {
    result: Result<ListPage, Error>,
    spent: RequestContext,
}

impl ListCoalescer {
    /// Shared queries of this upstream.
    pub fn new(conversations: Arc<dyn ConversationsPort>, shutdown: ShutdownSignal) -> Self {
        Self { conversations, shutdown, in_flight: Arc::default() }
    }

    /// Joins a query on its way, or makes one.
    ///
    /// # Errors
    /// Of upstream, or when the deadline comes first.
    pub async fn find(
        &self,
        page_key: &PageKey,
        context: &RequestContext,
    ) -> Result<ListPage, Error> {
        loop {
            let (deadline, mut told) = self.join_or_start(page_key, context);
            let waited =
                timeout_at(context.deadline() + DEADLINE_MARGIN, told.wait_for(Option::is_some))
                    .await;
            let Ok(ended) = waited.map(|told| told.ok().and_then(|ended| ended.clone())) else {
                return Err(Error::DeadlineExceeded("waiting for Genesys Cloud"));
            };
            let Some(QueryResult { result, spent }) = ended else {
                let cause = "the task of a query ended without a word";
                return Err(Error::Internal(cause.to_owned()));
            };
            context.add_usage_of(&spent);
            let Err(error) = &result else { return result };
            let again = Instant::now() + error.retry_after().unwrap_or_default();
            // It had to give up where this client need not.
            if again < deadline || again >= context.deadline() {
                return result;
            }
            sleep_until(again).await;
        }
    }

    /// A query that this client can wait for, and its deadline.
    fn join_or_start(
        &self,
        page_key: &PageKey,
        context: &RequestContext,
    ) -> (Instant, watch::Receiver<Option<QueryResult>>) {
        let mut in_flight = self.in_flight();
        let here = in_flight.entry(page_key.clone()).or_default();
        if let Some(query) = here.iter().find(|query| query.may_be_joined(context)) {
            return (query.deadline, query.told.subscribe());
        }
        let (told, waits) = watch::channel(None);
        let spent = RequestContext::from_parts(ContextParts {
            span: context.span().cloned(),
            client: Arc::clone(context.client()),
            ..ContextParts::new(context.deadline())
        });
        let query = InFlightQuery { deadline: context.deadline(), spent, told };
        here.push(query.clone());
        drop(in_flight);
        self.shutdown.tasks().spawn(self.clone().run_query(page_key.clone(), query));
        (context.deadline(), waits)
    }

    async fn run_query(self, page_key: PageKey, query: InFlightQuery) {
        // Whatever ends this task, a panic of upstream's client included: nobody is left waiting.
        let landing = InFlightGuard { finds: &self, page_key: &page_key, query: &query };
        let (filter, page) = (&page_key.0, page_key.1);
        let result = tokio::select! {
            biased;
            found = self.conversations.find(UpstreamQuery { filter, page }, &query.spent) => found,
            () = landing.deserted() => return,
            () = self.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        // Nobody joins what has ended.
        drop(landing);
        let spent = query.spent.clone();
        query.told.send_replace(Some(QueryResult { result, spent }));
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<PageKey, Vec<InFlightQuery>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a query when it has ended, however it did.
struct InFlightGuard<'a> {
    finds: &'a ListCoalescer,
    page_key: &'a PageKey,
    query: &'a InFlightQuery,
}

impl InFlightGuard<'_> {
    /// Waits until nobody waits for it; then nobody can join it either.
    async fn deserted(&self) {
        loop {
            self.query.told.closed().await;
            let mut in_flight = self.finds.in_flight();
            if self.query.told.receiver_count() == 0 {
                self.remove(&mut in_flight);
                return;
            }
        }
    }

    fn remove(&self, in_flight: &mut HashMap<PageKey, Vec<InFlightQuery>>) {
        let Some(here) = in_flight.get_mut(self.page_key) else { return };
        here.retain(|query| !query.told.same_channel(&self.query.told));
        if here.is_empty() {
            in_flight.remove(self.page_key);
        }
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.remove(&mut self.finds.in_flight());
    }
}
