//! Which upstream pages to fetch for one page of ours, and which of their rows the client has seen.
//!
//! Upstream numbers the pages of a list that changes: a new call pushes all rows down, and an ended
//! call moves them up. Our cursor therefore names the last call that the client saw. Its page number
//! only says where to look for that call. The walker skips newer calls, and goes back a page if the
//! rows have moved up. So the client sees no call twice and misses no call that lasts.

use std::collections::BTreeSet;

use super::super::ids::ConversationId;
use super::{ListPage, ListedConversation, PAGE_SIZE};

/// Most pages fetched for one answer. If the position has moved further, the answer is short and
/// contains a cursor to continue with.
const MAX_PAGES: u32 = 5;

/// Most conversations of one millisecond that a cursor can distinguish.
const MAX_TWINS: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorPosition {
    /// The upstream page that contained it, counted from 1.
    pub page: u32,
    /// Its start in milliseconds since 1970.
    pub at: i64,
    /// The conversations with this start that the client has seen.
    pub shown: Vec<ConversationId>,
}

/// One page for a client, newest conversations first.
#[derive(Clone, Debug)]
pub struct ListingPage {
    pub conversations: Vec<ListedConversation>,
    pub next: Option<CursorPosition>,
}

/// Collects one page for a client from upstream's pages.
#[derive(Clone, Debug, Default)]
pub struct PageWalker {
    limit: usize,
    mark: Option<CursorPosition>,
    /// The upstream page to fetch next.
    page: u32,
    asked: u32,
    /// The cursor's position is known to be on this page or later.
    is_placed: bool,
    /// Each conversation with its upstream page.
    found: Vec<(u32, ListedConversation)>,
    seen: BTreeSet<ConversationId>,
    done: bool,
    more: bool,
}

impl PageWalker {
    pub fn new(limit: usize, mark: Option<CursorPosition>) -> Self {
        let page = mark.as_ref().map_or(1, |mark| mark.page.max(1));
        Self { limit, page, is_placed: mark.is_none(), mark, ..Self::default() }
    }

    pub fn wanted(&self) -> Option<u32> {
        (!self.done).then_some(self.page)
    }

    /// Adds the page that [`Self::wanted`] named.
    pub fn take(&mut self, page: ListPage) {
        self.asked += 1;
        let is_last_try = self.asked >= MAX_PAGES;
        if !self.is_placed && !is_last_try && self.page > 1 && !self.begins_before_mark(&page) {
            self.page -= 1;
            return;
        }
        self.is_placed = true;
        let here = self.page;
        let before = u64::from(here) * PAGE_SIZE as u64;
        let ends = page.received < PAGE_SIZE || page.total.is_some_and(|total| total <= before);
        for row in page.rows {
            if self.is_after_mark(&row) && self.seen.insert(row.id) {
                self.found.push((here, row));
            }
        }
        self.done = ends || self.found.len() >= self.limit || is_last_try;
        self.more = !ends || self.found.len() > self.limit;
        if !self.done {
            self.page = here.saturating_add(1);
        }
    }

    pub fn finish(mut self) -> ListingPage {
        // Pages may overlap, because the list changes between the fetches.
        self.found.sort_by_key(|(_, row)| std::cmp::Reverse(row.at));
        self.found.truncate(self.limit);
        let next = self.more.then(|| self.next_mark());
        let conversations = self.found.into_iter().map(|(_, row)| row).collect();
        ListingPage { conversations, next }
    }

    fn next_mark(&self) -> CursorPosition {
        let Some((page, last)) = self.found.last() else {
            let start = CursorPosition { page: 1, at: i64::MAX, shown: Vec::new() };
            return CursorPosition { page: self.page, ..self.mark.clone().unwrap_or(start) };
        };
        let twins = self.found.iter().rev().take_while(|(_, row)| row.at == last.at);
        let earlier = self.mark.iter().filter(|mark| mark.at == last.at);
        let earlier = earlier.flat_map(|mark| mark.shown.iter().copied());
        let shown = twins.map(|(_, row)| row.id).chain(earlier).take(MAX_TWINS).collect();
        CursorPosition { page: *page, at: last.at, shown }
    }

    /// Whether the cursor's position is certainly on this page or a later one.
    fn begins_before_mark(&self, page: &ListPage) -> bool {
        let first = page.rows.first().map(|row| row.at);
        self.mark.as_ref().is_none_or(|mark| first.is_some_and(|at| at > mark.at))
    }

    fn is_after_mark(&self, row: &ListedConversation) -> bool {
        self.mark.as_ref().is_none_or(|mark| {
            row.at < mark.at || (row.at == mark.at && !mark.shown.contains(&row.id))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Upstream's live calls, newest first: the start and number of each.
    #[derive(Clone, Debug, Default)]
    struct World(Vec<(i64, u32)>);

    impl World {
        fn add(&mut self, at: i64, number: u32) {
            self.0.push((at, number));
            self.0.sort_by_key(|(at, number)| (std::cmp::Reverse(*at), *number));
        }

        fn page(&self, page: u32) -> ListPage {
            let before = (page as usize - 1) * PAGE_SIZE;
            let rows: Vec<_> = self.0.iter().skip(before).take(PAGE_SIZE).map(row).collect();
            ListPage { received: rows.len(), rows, total: Some(self.0.len() as u64) }
        }

        /// One page for a client, and the upstream pages fetched for it.
        fn list(&self, limit: usize, mark: Option<CursorPosition>) -> (ListingPage, Vec<u32>) {
            let (mut pages, mut fetched) = (PageWalker::new(limit, mark), Vec::new());
            while let Some(page) = pages.wanted() {
                fetched.push(page);
                pages.take(self.page(page));
            }
            (pages.finish(), fetched)
        }
    }

    fn row((at, number): &(i64, u32)) -> ListedConversation {
        let id = id(*number);
        ListedConversation { id, at: *at, start: None, direction: None, participants: Vec::new() }
    }

    fn id(number: u32) -> ConversationId {
        format!("00000000-0000-4000-8000-{number:012}").parse().expect("a UUID")
    }

    fn quiet(calls: u32) -> World {
        World((0..calls).map(|number| (1_000_000 - i64::from(number), number)).collect())
    }

    #[test]
    fn a_quiet_list_is_walked_with_few_calls_and_an_end() {
        let (first, fetched) = quiet(3).list(3, None);
        assert_eq!((first.conversations.len(), first.next, fetched), (3, None, vec![1]));
        let world = quiet(250);
        let (first, fetched) = world.list(100, None);
        assert_eq!((first.conversations.len(), fetched), (100, vec![1]));
        let (second, fetched) = world.list(100, first.next);
        assert_eq!((second.conversations[0].id, fetched), (id(100), vec![1, 2]));
        let (third, fetched) = world.list(100, second.next);
        assert_eq!((third.conversations.len(), third.next, fetched), (50, None, vec![2, 3]));
    }

    #[test]
    fn a_position_that_moved_up_is_found_on_an_earlier_page() {
        let mut world = quiet(250);
        let (_, next) =
            (0..4).fold((0, None), |(_, mark), round| (round, world.list(40, mark).0.next));
        assert_eq!(next.as_ref().map(|mark| mark.page), Some(2), "after 160");
        world.0.drain(..100);
        let (listing, fetched) = world.list(40, next);
        assert_eq!((listing.conversations[0].id, fetched), (id(160), vec![2, 1]));
    }

    #[test]
    fn a_position_far_down_is_reached_over_several_pages() {
        let mut world = quiet(50);
        let (first, _) = world.list(10, None);
        (0..700).for_each(|number| world.add(2_000_000, 1000 + number));
        let (none, fetched) = world.list(10, first.next);
        assert_eq!((none.conversations.len(), fetched.len()), (0, MAX_PAGES as usize));
        let (rest, _) = world.list(10, none.next);
        assert_eq!(rest.conversations[0].id, id(10));
    }

    #[test]
    fn a_row_pushed_to_the_next_page_is_shown_once() {
        let mut world = quiet(150);
        let mut pages = PageWalker::new(2 * PAGE_SIZE, None);
        pages.take(world.page(1));
        // Ten calls begin before the second page is asked for.
        (0..10).for_each(|number| world.add(2_000_000, 1000 + number));
        assert_eq!(pages.wanted(), Some(2));
        pages.take(world.page(2));
        let rows = pages.finish().conversations;
        assert_eq!(rows.iter().map(|row| row.id).collect::<BTreeSet<_>>().len(), 150);
        assert_eq!(rows.len(), 150, "the last ten of the first page stand on the second, too");
    }

    proptest! {
        #[test]
        fn paging_shows_each_lasting_conversation_exactly_once(
            calls in 0_u32..260,
            spread in 1_i64..40,
            limit in 1_usize..=100,
            changes in proptest::collection::vec((any::<bool>(), 0_u32..60, any::<u32>()), 0..40),
        ) {
            let mut world = World::default();
            // Many calls begin in the same millisecond.
            (0..calls).for_each(|number| world.add(i64::from(number) / spread, number));
            let mut lasting: BTreeSet<u32> = (0..calls).collect();
            let (mut shown, mut mark, mut fresh) = (BTreeSet::new(), None, calls);
            let mut changes = changes.into_iter();
            loop {
                let (listing, _) = world.list(limit, mark);
                for row in &listing.conversations {
                    prop_assert!(shown.insert(row.id), "{} twice", row.id);
                }
                mark = listing.next;
                if mark.is_none() {
                    break;
                }
                let Some((begins, count, seed)) = changes.next() else { continue };
                for turn in 0..count {
                    if begins {
                        world.add(i64::from(fresh), fresh);
                        fresh += 1;
                    } else if !world.0.is_empty() {
                        let index = seed.wrapping_mul(31).wrapping_add(turn) as usize % world.0.len();
                        lasting.remove(&world.0.remove(index).1);
                    }
                }
            }
            for number in lasting {
                prop_assert!(shown.contains(&id(number)), "{number} left out");
            }
        }
    }
}
