//! Records metrics of every attempt (innermost) and of every call with all its attempts (outermost).
//! Keeps Genesys' correlation id, which its support asks for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tokio::time::Instant;

use super::{CallMetadata, UnusableToken, call};
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::HttpTransport;
use crate::ports::{AttemptOutcome, MetricsRecorder, PlatformOperation, UpstreamAttempt};

/// Genesys' correlation id, a header of every answer of the platform.
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// Records calls as a whole.
pub fn calls(recorder: Arc<dyn MetricsRecorder>, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, recorder) = (inner.clone(), Arc::clone(&recorder));
        async move {
            let (operation, start) = (call(&request).operation, Instant::now());
            let result = inner.exchange(request).await;
            recorder.call(operation, answer_of(&result), start.elapsed());
            result
        }
    })
}

/// Records every attempt.
pub fn attempts(recorder: Arc<dyn MetricsRecorder>, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |mut request: Request<Bytes>| {
        let (inner, recorder) = (inner.clone(), Arc::clone(&recorder));
        async move {
            let (call, start) = (call(&request).clone(), Instant::now());
            if call.operation != PlatformOperation::Token {
                call.context.count_call();
            }
            // A cancelled attempt never gets past the exchange below; `drop` records it.
            let mut record = AttemptRecorder {
                recorder,
                operation: call.operation,
                start,
                answer: AttemptOutcome::Timeout,
                attempt_entry: call.context.note_attempt(call.operation),
                correlation_id: None,
            };
            set_attempt(record.attempt_entry.as_ref(), &mut request);
            let result = inner.exchange(request).await;
            record.answer = answer_of(&result);
            call.context.set_last_attempt(start.elapsed());
            let id = result.as_ref().ok().and_then(|answer| answer.headers().get(CORRELATION_ID));
            if let Some(id) = id.and_then(|id| id.to_str().ok()) {
                call.context.set_correlation_id(id);
                record.correlation_id = record.attempt_entry.is_some().then(|| id.to_owned());
            }
            tracing::debug!(
                upstream.operation = call.operation.as_str(),
                upstream.answer = ?record.answer,
                upstream.correlation_id = ?id,
                "upstream answered",
            );
            result
        }
    })
}

/// Tells the inner layers which attempt this is.
fn set_attempt(attempt_entry: Option<&Arc<UpstreamAttempt>>, request: &mut Request<Bytes>) {
    if let (Some(attempt_entry), Some(call)) =
        (attempt_entry, request.extensions_mut().get_mut::<CallMetadata>())
    {
        call.attempt = Some(Arc::clone(attempt_entry));
    }
}

fn answer_of(result: &Result<Response<Bytes>, UpstreamError>) -> AttemptOutcome {
    match result {
        Ok(answer) if answer.extensions().get::<UnusableToken>().is_some() => {
            AttemptOutcome::Invalid
        }
        Ok(answer) => AttemptOutcome::Status(answer.status().as_u16()),
        Err(error) => error.answer(),
    }
}

struct AttemptRecorder {
    recorder: Arc<dyn MetricsRecorder>,
    operation: PlatformOperation,
    start: Instant,
    answer: AttemptOutcome,
    /// Its entry in the attempt log of the request, if attempts are logged.
    attempt_entry: Option<Arc<UpstreamAttempt>>,
    correlation_id: Option<String>,
}

impl Drop for AttemptRecorder {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt_entry {
            attempt.end(self.answer, self.correlation_id.as_deref());
        }
        self.recorder.attempt(self.operation, self.answer, self.start.elapsed());
    }
}
