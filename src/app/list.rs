//! Listing: the live conversations, some at a time.

use tokio::time::Instant;

use super::App;
use crate::domain::{ConversationFilter, CursorPosition, ListingPage, PageWalker};
use crate::error::RequestFailure;
use crate::ports::{RequestContext, RequestPhase};

/// What a client wants to have listed.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which conversations.
    pub filter: ConversationFilter,
    /// How many at most.
    pub limit: usize,
    /// Where it left off; `None` from the newest on.
    pub after: Option<CursorPosition>,
    /// Deadline and spending.
    pub context: RequestContext,
}

impl App {
    /// Lists live voice conversations, the newest first, together with whoever wants the same page of
    /// upstream at this moment. Ends with its client, unless others wait for the same.
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
            let found = self.shared.finds.find(&place, &context).await;
            context.spend(RequestPhase::Read, start.elapsed());
            pages.take(found?);
        }
        Ok(pages.finish())
    }
}
