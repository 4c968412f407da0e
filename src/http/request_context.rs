//! The context of one request in the HTTP layer: its id, deadline, preferences and trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tower_http::request_id::{MakeRequestId, RequestId};
use uuid::Uuid;

use super::flat::FlatRequest;
use super::prefer::PreferHeader;
use super::state::HttpSettings;
use crate::domain::Client;
use crate::ports::{ContextParts, RequestContext, TraceContext};

/// Header with the request id. The client sends it, or the gateway generates one.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Maximum length of a request id from a client.
const MAX_ID_BYTES: usize = 128;

/// The context of a request, stored in its extensions.
#[derive(Clone, Debug)]
pub(super) struct HttpRequestContext {
    pub client: Arc<Client>,
    /// When the request head arrived; the deadline counts from here.
    pub arrived: Instant,
    /// Deadline and upstream calls; all clones share the counters.
    pub context: RequestContext,
    pub prefer: PreferHeader,
    /// The flat form, if the client asked for it.
    pub flat: Option<Arc<FlatRequest>>,
    pub request_id: String,
    /// Whether an announced body is still unread; `None` without a body.
    unread_body: Option<Arc<AtomicBool>>,
}

/// The id of a request; empty if it has none.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let request_id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    request_id.unwrap_or_default().to_owned()
}

impl HttpRequestContext {
    /// Opens the context of a request whose head has just arrived. `record` gets its deadline.
    pub(super) fn open(
        headers: &HeaderMap,
        settings: &HttpSettings,
        record: impl FnOnce(Instant) -> ContextParts,
    ) -> Self {
        let arrived = Instant::now();
        let prefer = PreferHeader::from_headers(headers);
        let parts = record(arrived + prefer.wait().unwrap_or(settings.deadline));
        let unread_body = announces_body(headers).then(|| Arc::new(AtomicBool::new(true)));
        Self {
            client: Arc::clone(&parts.client),
            arrived,
            context: RequestContext::from_parts(parts),
            prefer,
            flat: None,
            request_id: request_id(headers),
            unread_body,
        }
    }

    pub(super) fn of(request: &Request) -> Option<&Self> {
        request.extensions().get()
    }

    pub(super) fn body_was_read(&self) {
        if let Some(unread) = &self.unread_body {
            unread.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the connection still holds an unread body. Such a connection cannot be reused, and the
    /// response must say so.
    pub(super) fn leaves_body_unread(&self) -> bool {
        self.unread_body.as_ref().is_some_and(|unread| unread.load(Ordering::Relaxed))
    }
}

fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Removes a request id that is not well-formed, so that it counts as absent.
pub(super) async fn remove_malformed_request_id(mut request: Request) -> Request {
    let given = request.headers().get(X_REQUEST_ID);
    if given.is_some_and(|id| !id.to_str().is_ok_and(is_well_formed)) {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    request
}

/// Generates the id of a request whose client sent none.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(Uuid::new_v4().to_string()).ok().map(RequestId::new)
    }
}

/// Ids are copied into logs and headers, so only characters that are safe in both are accepted.
fn is_well_formed(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(harmless)
}

/// The trace context of the client's `traceparent`, if there is exactly one and it is valid.
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

    #[tokio::test]
    async fn a_well_formed_request_id_is_kept_and_others_are_removed() {
        let kept = async |text: &str| {
            let mut request = Request::default();
            request.headers_mut().extend(with(X_REQUEST_ID, text));
            remove_malformed_request_id(request).await.headers().contains_key(X_REQUEST_ID)
        };
        let longest = "x".repeat(MAX_ID_BYTES);
        for good in ["a", "A-1_b:c.d", longest.as_str()] {
            assert!(kept(good).await, "{good}");
        }
        for bad in ["", "a b", "a\"b", "{a}", "x".repeat(MAX_ID_BYTES + 1).as_str()] {
            assert!(!kept(bad).await, "{bad}");
        }
    }

    #[test]
    fn a_repeated_traceparent_is_ignored() {
        let mut headers = with(TRACEPARENT, TRACE);
        assert_eq!(traceparent(&headers).map(|trace| trace.to_string()).as_deref(), Some(TRACE));
        headers.append(TRACEPARENT, TRACE.parse().expect("header value"));
        assert_eq!(traceparent(&headers), None);
    }
}
