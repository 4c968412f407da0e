//! Lists live conversations, page by page. Nothing is cached.

use tokio::time::Instant;

use super::App;
use super::coalescing::{CoalescedCall, Freshness};
use super::list_queries::PageKey;
use crate::domain::{ConversationFilter, CursorPosition, ListingPage, PageWalker};
use crate::error::RequestFailure;
use crate::ports::{PriorityClass, RequestContext, RequestPhase};

/// A list that a client asks for.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which conversations.
    pub filter: ConversationFilter,
    /// How many at most.
    pub limit: usize,
    /// Where the previous page ended; `None` for the first page.
    pub after: Option<CursorPosition>,
    /// The request's context.
    pub context: RequestContext,
}

impl App {
    /// Lists live voice conversations, newest first, sharing upstream pages with other requests. It
    /// ends when its client hangs up, unless other requests wait for the same page.
    ///
    /// # Errors
    /// Of upstream.
    pub async fn list(&self, request: ListRequest) -> Result<ListingPage, RequestFailure> {
        let ListRequest { filter, limit, after, context } = request;
        let mut pages = PageWalker::new(limit, after);
        while let Some(page) = pages.wanted() {
            let start = Instant::now();
            let key = PageKey { filter: filter.clone(), page };
            let wanted = CoalescedCall::new(key, Freshness::AfterLastWrite, PriorityClass::Read);
            let found = self.shared.lists.call(wanted, &context).await;
            context.spend(RequestPhase::Read, start.elapsed());
            pages.take(found?.0);
        }
        Ok(pages.finish())
    }
}
