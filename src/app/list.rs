//! Listing: the live conversations, some at a time.

use tokio::time::Instant;

use super::App;
use crate::domain::{Bookmark, ConversationFilter, Listing, Pages};
use crate::error::Failure;
use crate::ports::{Cycle, Phase};

/// What a caller wants to have listed.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Which conversations.
    pub filter: ConversationFilter,
    /// How many at most.
    pub limit: usize,
    /// Where it left off; `None` from the newest on.
    pub after: Option<Bookmark>,
    /// Deadline and spending.
    pub cycle: Cycle,
}

impl App {
    /// Lists live voice conversations, the newest first, together with whoever wants the same page of
    /// upstream at this moment. Ends with its caller, unless others wait for the same.
    ///
    /// # Errors
    /// Of upstream.
    pub async fn list(&self, request: ListRequest) -> Result<Listing, Failure> {
        let ListRequest { filter, limit, after, cycle } = request;
        let mut pages = Pages::new(limit, after);
        let mut place = (filter, 0);
        while let Some(page) = pages.wanted() {
            let start = Instant::now();
            place.1 = page;
            let found = self.shared.finds.find(&place, &cycle).await;
            cycle.spend(Phase::Read, start.elapsed());
            pages.take(found?);
        }
        Ok(pages.finish())
    }
}
