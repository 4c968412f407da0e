//! Queries of the list of live conversations, shared by the requests that want the same page.

use std::sync::Arc;

use super::coalescing::{CallParts, CallSource};
use crate::domain::{ConversationFilter, ListPage};
use crate::error::Error;
use crate::ports::{ConversationsPort, RequestContext, UpstreamQuery};

/// Queries pages of the list.
pub struct ListQueries(pub Arc<dyn ConversationsPort>);

/// One page of the list with a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub filter: ConversationFilter,
    pub page: u32,
}

impl CallSource for ListQueries {
    type Key = PageKey;
    type Output = ListPage;
    // Upstream throttles these queries separately, so a permit must not wait with them.
    const IS_RESERVED: bool = false;

    async fn call(
        &self,
        key: &PageKey,
        _: CallParts,
        context: &RequestContext,
    ) -> Result<ListPage, Error> {
        self.0.find(UpstreamQuery { filter: &key.filter, page: key.page }, context).await
    }
}
