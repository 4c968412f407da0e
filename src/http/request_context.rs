//! The context of one request in this layer: its id, deadline, preferences and trace.

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
use crate::ports::{AuditEntry, ContextParts, RequestContext, TraceContext, TraceId, TraceSpan};

/// Names a request across logs; taken from the client or made.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest request id that is taken from a client.
const MAX_ID_BYTES: usize = 128;

/// The context of a request, as an extension of it.
#[derive(Clone, Debug)]
pub(super) struct HttpRequestContext {
    /// On whose behalf it is made.
    pub client: Arc<Client>,
    /// When the request head arrived; the deadline counts from here.
    pub arrived: Instant,
    /// Deadline and spending; all clones count together.
    pub context: RequestContext,
    /// What the client prefers.
    pub prefer: PreferHeader,
    /// What it asks for, if it wants the flat form.
    pub flat: Option<Arc<FlatRequest>>,
    /// Names the request across logs.
    pub request_id: String,
    /// Whether a body that the head announces is still to be read; `None` without a body.
    body_waits: Option<Arc<AtomicBool>>,
}

/// What is known of a request besides its headers, and what is recorded of it.
pub(super) struct RequestRecording {
    /// The client.
    pub client: Arc<Client>,
    /// The id of the request.
    pub request_id: String,
    /// Its place in a trace.
    pub span: Option<TraceSpan>,
    /// Whether its attempts are recorded.
    pub has_attempt_log: bool,
    /// Its audit entry.
    pub audit_entry: Option<AuditEntry>,
}

/// The id of a request; empty if it has none.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let request_id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    request_id.unwrap_or_default().to_owned()
}

impl HttpRequestContext {
    /// Opens the exchange of a request whose head has arrived just now, as part of a trace if it is of
    /// one.
    pub(super) fn open(
        headers: &HeaderMap,
        settings: &HttpSettings,
        recording: RequestRecording,
    ) -> Self {
        let RequestRecording { client, request_id, span, has_attempt_log, audit_entry } = recording;
        let arrived = Instant::now();
        let prefer = PreferHeader::from_headers(headers);
        let deadline = arrived + prefer.wait().unwrap_or(settings.deadline);
        let body_waits = announces_body(headers).then(|| Arc::new(AtomicBool::new(true)));
        let context = RequestContext::from_parts(ContextParts {
            client: Arc::clone(&client),
            span,
            has_attempt_log,
            audit_entry,
            ..ContextParts::new(deadline)
        });
        Self { client, arrived, context, prefer, flat: None, request_id, body_waits }
    }

    /// The context of a request, which the middleware has put into its extensions.
    pub(super) fn of(request: &Request) -> Option<&Self> {
        request.extensions().get()
    }

    /// The body has been read to its end.
    pub(super) fn body_was_read(&self) {
        if let Some(waits) = &self.body_waits {
            waits.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the connection still holds a body that nobody will read: it cannot be used again,
    /// and the client has to know.
    pub(super) fn leaves_body_unread(&self) -> bool {
        self.body_waits.as_ref().is_some_and(|waits| waits.load(Ordering::Relaxed))
    }

    /// Id of the trace that it is part of.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        Some(self.context.span()?.context().trace())
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

/// Makes the id of a request whose client sent none.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(Uuid::new_v4().to_string()).ok().map(RequestId::new)
    }
}

/// Ids go into logs and headers as they are, so nothing that could break either is taken.
fn is_well_formed(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(harmless)
}

/// What the client's `traceparent` says, if there is one of them and it is valid.
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
    fn a_traceparent_that_is_given_twice_is_none() {
        let mut headers = with(TRACEPARENT, TRACE);
        assert_eq!(traceparent(&headers).map(|trace| trace.to_string()).as_deref(), Some(TRACE));
        headers.append(TRACEPARENT, TRACE.parse().expect("header value"));
        assert_eq!(traceparent(&headers), None);
    }
}
