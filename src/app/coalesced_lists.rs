//! Pages of the list of live conversations, shared by the requests that want the same page at the
//! same time. Nothing is cached: a later request makes a query of its own.
//!
//! A query runs in its own task, so that a client that hangs up cannot end it for others. It ends
//! when no request waits. It has the deadline of the client that started it. A request with an
//! earlier deadline starts another query, since this one may be retried for longer. A request with
//! a later deadline may go on when it has failed.
//!
//! It is charged to the client that started it. Until it is sent it may have to wait for that
//! client's share, and requests of other clients do not join it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::coalesced_reads::DEADLINE_MARGIN;
use crate::domain::{ConversationFilter, ListPage};
use crate::error::Error;
use crate::ports::{ContextParts, ConversationsPort, RequestContext, UpstreamQuery};
use crate::shutdown::ShutdownSignal;

/// The page with this number of the list with this filter.
type PageKey = (ConversationFilter, u32);

/// Shared queries. Cheap to clone.
#[derive(Clone)]
pub struct ListCoalescer {
    conversations: Arc<dyn ConversationsPort>,
    shutdown: ShutdownSignal,
    /// Queries in flight. A page has several only if the first has a later deadline, or waits on
    /// the account of another client.
    in_flight: Arc<Mutex<HashMap<PageKey, Vec<InFlightQuery>>>>,
}

/// A query in flight. Each request that waits for it has a receiver.
#[derive(Clone)]
struct InFlightQuery {
    deadline: Instant,
    spent: RequestContext,
    sender: watch::Sender<Option<QueryResult>>,
}

impl InFlightQuery {
    /// Whether it can serve another request without making it wait for another client's share.
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
    /// A coalescer for this upstream.
    pub fn new(conversations: Arc<dyn ConversationsPort>, shutdown: ShutdownSignal) -> Self {
        Self { conversations, shutdown, in_flight: Arc::default() }
    }

    /// Joins a query in flight, or starts one.
    ///
    /// # Errors
    /// Of upstream, or when the deadline comes first.
    pub async fn find(
        &self,
        page_key: &PageKey,
        context: &RequestContext,
    ) -> Result<ListPage, Error> {
        loop {
            let (deadline, mut receiver) = self.join_or_start(page_key, context);
            let waited = timeout_at(
                context.deadline() + DEADLINE_MARGIN,
                receiver.wait_for(Option::is_some),
            )
            .await;
            let Ok(ended) = waited.map(|result| result.ok().and_then(|ended| ended.clone())) else {
                return Err(Error::DeadlineExceeded("waiting for Genesys Cloud"));
            };
            let Some(QueryResult { result, spent }) = ended else {
                let cause = "the task of a query ended without a result";
                return Err(Error::Internal(cause.to_owned()));
            };
            context.add_usage_of(&spent);
            let Err(error) = &result else { return result };
            let again = Instant::now() + error.retry_after().unwrap_or_default();
            // The query had to give up where this client has more time.
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
        let queries = in_flight.entry(page_key.clone()).or_default();
        if let Some(query) = queries.iter().find(|query| query.may_be_joined(context)) {
            return (query.deadline, query.sender.subscribe());
        }
        let (sender, receiver) = watch::channel(None);
        let spent = RequestContext::from_parts(ContextParts {
            span: context.span().cloned(),
            client: Arc::clone(context.client()),
            ..ContextParts::new(context.deadline())
        });
        let query = InFlightQuery { deadline: context.deadline(), spent, sender };
        queries.push(query.clone());
        drop(in_flight);
        self.shutdown.tasks().spawn(self.clone().run_query(page_key.clone(), query));
        (context.deadline(), receiver)
    }

    async fn run_query(self, page_key: PageKey, query: InFlightQuery) {
        // If this task ends in any other way, as by a panic in the upstream client, no request is
        // left waiting.
        let guard = InFlightGuard { lists: &self, page_key: &page_key, query: &query };
        let (filter, page) = (&page_key.0, page_key.1);
        let result = tokio::select! {
            biased;
            found = self.conversations.find(UpstreamQuery { filter, page }, &query.spent) => found,
            () = guard.deserted() => return,
            () = self.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        // A query that has ended cannot be joined.
        drop(guard);
        let spent = query.spent.clone();
        query.sender.send_replace(Some(QueryResult { result, spent }));
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<PageKey, Vec<InFlightQuery>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a query when it has ended in any way.
struct InFlightGuard<'a> {
    lists: &'a ListCoalescer,
    page_key: &'a PageKey,
    query: &'a InFlightQuery,
}

impl InFlightGuard<'_> {
    /// Waits until no request waits for it; then none can join it either.
    async fn deserted(&self) {
        loop {
            self.query.sender.closed().await;
            let mut in_flight = self.lists.in_flight();
            if self.query.sender.receiver_count() == 0 {
                self.remove(&mut in_flight);
                return;
            }
        }
    }

    fn remove(&self, in_flight: &mut HashMap<PageKey, Vec<InFlightQuery>>) {
        let Some(queries) = in_flight.get_mut(self.page_key) else { return };
        queries.retain(|query| !query.sender.same_channel(&self.query.sender));
        if queries.is_empty() {
            in_flight.remove(self.page_key);
        }
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.remove(&mut self.lists.in_flight());
    }
}
