//! One request on its way through this layer: its id, deadline, preferences and trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use uuid::Uuid;

use super::flat::Ask;
use super::prefer::Prefer;
use super::state::HttpSettings;
use crate::domain::Client;
use crate::ports::{Cycle, Span, TraceContext, TraceId};

/// Names a request across logs; taken from the caller or made.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest request id that is taken from a caller.
const LONGEST_ID: usize = 128;

/// What the edge hands to handlers, as an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// On whose behalf it is made.
    pub client: Arc<Client>,
    /// When the request head arrived; the deadline counts from here.
    pub arrived: Instant,
    /// Deadline and spending; the edge keeps a clone, to log what was spent.
    pub cycle: Cycle,
    /// What the caller prefers.
    pub prefer: Prefer,
    /// What it asks for, if it wants the flat form.
    pub flat: Option<Arc<Ask>>,
    /// Whether a body that the head announces is still to be read; `None` without a body.
    body_waits: Option<Arc<AtomicBool>>,
}

impl Exchange {
    /// Opens the exchange of a request whose head has arrived just now, as part of a trace if it is of
    /// one.
    pub(super) fn open(
        headers: &HeaderMap,
        settings: &HttpSettings,
        client: Arc<Client>,
        span: Option<Span>,
    ) -> Self {
        let arrived = Instant::now();
        let prefer = Prefer::of(headers);
        let deadline = arrived + prefer.wait().unwrap_or(settings.deadline);
        let body_waits = announces_body(headers).then(|| Arc::new(AtomicBool::new(true)));
        let cycle = Cycle::traced(deadline, span).on_behalf_of(Arc::clone(&client));
        Self { client, arrived, cycle, prefer, flat: None, body_waits }
    }

    /// The body has been read to its end.
    pub(super) fn body_was_read(&self) {
        if let Some(waits) = &self.body_waits {
            waits.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the connection still holds a body that nobody will read: it cannot be used again,
    /// and the caller has to know.
    pub(super) fn leaves_body_unread(&self) -> bool {
        self.body_waits.as_ref().is_some_and(|waits| waits.load(Ordering::Relaxed))
    }

    /// Id of the trace that it is part of.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        Some(self.cycle.span()?.context().trace())
    }
}

fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The caller's request id if it is well-formed, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if is_well_formed(id) => id.to_owned(),
        Some(_) | None => Uuid::new_v4().to_string(),
    }
}

/// Ids go into logs and headers as they are, so nothing that could break either is taken.
fn is_well_formed(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(harmless)
}

/// What the caller's `traceparent` says, if there is one of them and it is valid.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(value), None) => TraceContext::read(value.to_str().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("header value"))])
    }

    #[test]
    fn a_well_formed_request_id_is_kept_and_others_are_replaced() {
        let id = |text: &str| request_id(&with(X_REQUEST_ID, text));
        let longest = "x".repeat(LONGEST_ID);
        for good in ["a", "A-1_b:c.d", longest.as_str()] {
            assert_eq!(id(good), good);
        }
        for bad in ["", "a b", "a\"b", "{a}", "x".repeat(LONGEST_ID + 1).as_str()] {
            assert!(Uuid::try_parse(&id(bad)).is_ok(), "{bad}");
        }
        assert!(Uuid::try_parse(&request_id(&HeaderMap::new())).is_ok());
    }

    #[test]
    fn a_traceparent_that_is_given_twice_is_none() {
        let mut headers = with(TRACEPARENT, TRACE);
        assert_eq!(traceparent(&headers).map(|trace| trace.to_string()).as_deref(), Some(TRACE));
        headers.append(TRACEPARENT, TRACE.parse().expect("header value"));
        assert_eq!(traceparent(&headers), None);
    }
}
