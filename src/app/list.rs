//! Listing: the live conversations, some at a time.

use tokio::time::Instant;

use super::App;
use crate::domain::{Bookmark, ConversationFilter, Listing, Pages};
use crate::error::{Error, Failure};
use crate::ports::{Cycle, FindCall, Phase};

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
    /// Lists live voice conversations, the newest first. Ends with its caller.
    ///
    /// # Errors
    /// Of upstream.
    pub async fn list(&self, request: ListRequest) -> Result<Listing, Failure> {
        let ListRequest { filter, limit, after, cycle } = request;
        let mut pages = Pages::new(limit, after);
        while let Some(page) = pages.wanted() {
            let start = Instant::now();
            let call = FindCall { filter: &filter, page };
            let found = tokio::select! {
                biased;
                found = self.shared.conversations.find(call, &cycle) => found,
                () = self.shared.shutdown.drain_over() => Err(Error::ShuttingDown),
            };
            cycle.spend(Phase::Read, start.elapsed());
            pages.take(found?);
        }
        Ok(pages.finish())
    }
}
