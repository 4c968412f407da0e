//! Lists live conversations, page by page.

use tokio::time::Instant;

use super::App;
use crate::domain::{ConversationFilter, CursorPosition, ListingPage, PageWalker};
use crate::error::RequestFailure;
use crate::ports::{RequestContext, RequestPhase};

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
        let mut place = (filter, 0);
        while let Some(page) = pages.wanted() {
            let start = Instant::now();
            place.1 = page;
            let found = self.shared.lists.find(&place, &context).await;
            context.spend(RequestPhase::Read, start.elapsed());
            pages.take(found?);
        }
        Ok(pages.finish())
    }
}
