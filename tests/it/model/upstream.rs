//! An upstream that answers after random times, sometimes wrongly, and keeps a log of what it applied.

use std::sync::Mutex;
use std::time::Duration;

use attribute_gateway::domain::{AttributeMap, Conversation, ListPage, Participant, TimeRange};
use attribute_gateway::error::Error;
use attribute_gateway::ports::{
    BoxFuture, ConversationsPort, PatchOutcome, RequestContext, UnknownPatch, UpstreamPatch,
    UpstreamQuery, UpstreamRead,
};
use tokio::time::Instant;

use crate::harness::{CUSTOMER, ms};

/// One PATCH that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    pub at: Instant,
    pub visible: Instant,
    pub map: AttributeMap,
}

/// The upstream of a schedule.
pub struct Upstream {
    pub log: Mutex<Vec<Applied>>,
    pub random: Mutex<fastrand::Rng>,
    pub lag: Duration,
    /// One call in so many hundred fails.
    pub trouble: u8,
    /// The PATCH with this key panics, once it has left.
    pub panics_at: Option<&'static str>,
    /// When the service begins to drain; it has 20 ms then.
    pub drains_at: Option<u64>,
}

impl Upstream {
    /// An upstream that shows a PATCH `lag` milliseconds after it was applied, and gets so many calls
    /// of a hundred wrong.
    pub fn new(seed: u64, lag: u64, trouble: u8) -> Self {
        Self {
            log: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            lag: ms(lag),
            trouble,
            panics_at: None,
            drains_at: None,
        }
    }

    fn draw(&self, most: u64) -> u64 {
        self.random.lock().expect("no panic").u64(0..=most)
    }

    fn fails(&self) -> bool {
        self.draw(99) < u64::from(self.trouble)
    }

    fn shown(&self) -> AttributeMap {
        let mut map = AttributeMap::default();
        for applied in self.log.lock().expect("no panic").iter() {
            if applied.visible <= Instant::now() {
                applied.map.iter_held().for_each(|(k, v)| map.insert(k.clone(), v.clone()));
            }
        }
        map
    }

    fn apply(&self, map: AttributeMap) {
        let at = Instant::now();
        self.log.lock().expect("no panic").push(Applied { at, visible: at + self.lag, map });
    }

    async fn answer_read(&self, read: UpstreamRead) -> Result<Conversation, Error> {
        tokio::time::sleep(ms(self.draw(20))).await;
        if self.fails() {
            return Err(unavailable());
        }
        let customer = Participant {
            id: CUSTOMER.parse().expect("an id"),
            purpose: "customer".into(),
            state: None,
            live: true,
            name: None,
            span: TimeRange::default(),
            attributes: self.shown(),
        };
        tokio::time::sleep(ms(self.draw(20))).await;
        let participants = vec![customer];
        Ok(Conversation {
            id: read.conversation,
            live: Some(true),
            span: TimeRange::default(),
            participants,
        })
    }

    async fn answer_patch(&self, patch: UpstreamPatch, context: &RequestContext) -> PatchOutcome {
        if context.time_to_start().is_zero() {
            return PatchOutcome::Refused(Error::DeadlineExceeded("waiting to be sent"));
        }
        context.count_call();
        tokio::time::sleep(ms(self.draw(20))).await;
        assert!(self.panics_at.is_none_or(|key| patch.attributes.get(key).is_none()), "on purpose");
        let outcome = match self.draw(3) {
            _ if !self.fails() => PatchOutcome::Accepted,
            0 => PatchOutcome::Refused(unavailable()),
            1 => PatchOutcome::Refused(Error::UpstreamConflict),
            draw => unknown(unavailable(), draw > 2),
        };
        let applied = match &outcome {
            PatchOutcome::Accepted => true,
            PatchOutcome::Refused(_) => false,
            PatchOutcome::Unknown(_) => self.draw(1) == 0,
        };
        if applied {
            self.apply(patch.attributes);
        }
        tokio::time::sleep(ms(self.draw(20))).await;
        outcome
    }
}

fn unavailable() -> Error {
    Error::UpstreamUnavailable { reason: "trouble".to_owned(), retry_after: ms(30) }
}

fn unknown(error: Error, is_last_try: bool) -> PatchOutcome {
    PatchOutcome::Unknown(UnknownPatch { error, is_last_try, retry_after: None })
}

impl ConversationsPort for Upstream {
    fn reads_participants_singly(&self) -> bool {
        false
    }

    fn read<'a>(
        &'a self,
        read: UpstreamRead,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(async move {
            let answer = tokio::time::timeout_at(context.deadline(), self.answer_read(read)).await;
            answer.unwrap_or(Err(Error::DeadlineExceeded("reading")))
        })
    }

    fn find<'a>(
        &'a self,
        _: UpstreamQuery<'a>,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async { Ok(ListPage::default()) })
    }

    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        Box::pin(async move {
            let answer = self.answer_patch(patch, context);
            let answer = tokio::time::timeout_at(context.deadline(), answer).await;
            answer.unwrap_or_else(|_| unknown(Error::DeadlineExceeded("sending"), false))
        })
    }
}
