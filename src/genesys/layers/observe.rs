//! Counts and times what goes upstream, twice: every attempt (innermost), and every call with
//! all its attempts (outermost). Keeps Genesys' correlation id, which its support asks for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tokio::time::Instant;

use super::{Call, Unusable, call};
use crate::genesys::error::{UpstreamError, status_is_ambiguous};
use crate::genesys::transport::Transport;
use crate::ports::{Answer, Attempt, Meter, Operation};

/// Genesys' correlation id: on every answer of the platform.
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// Observes calls as a whole.
pub fn calls(meter: Arc<dyn Meter>, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let (inner, meter) = (inner.clone(), Arc::clone(&meter));
        async move {
            let (operation, start) = (call(&request).operation, Instant::now());
            let result = inner.exchange(request).await;
            meter.call(operation, answer_of(&result), start.elapsed());
            result
        }
    })
}

/// Observes every attempt.
pub fn attempts(meter: Arc<dyn Meter>, inner: Transport) -> Transport {
    Transport::of(move |mut request: Request<Bytes>| {
        let (inner, meter) = (inner.clone(), Arc::clone(&meter));
        async move {
            let (call, start) = (call(&request).clone(), Instant::now());
            if call.operation != Operation::Token {
                call.cycle.count_call();
            }
            // An attempt that is cut short never returns here; its metric is written on drop.
            let mut record = Record {
                meter,
                operation: call.operation,
                start,
                answer: Answer::Timeout,
                noted: call.cycle.note_attempt(call.operation),
                correlation_id: None,
            };
            hand_on(record.noted.as_ref(), &mut request);
            if call.operation == Operation::Patch {
                call.cycle.expose(true);
            }
            let result = inner.exchange(request).await;
            if call.operation == Operation::Patch {
                call.cycle.expose(may_have_been_applied(&result));
            }
            record.answer = answer_of(&result);
            call.cycle.set_last_attempt(start.elapsed());
            let id = result.as_ref().ok().and_then(|answer| answer.headers().get(CORRELATION_ID));
            if let Some(id) = id.and_then(|id| id.to_str().ok()) {
                call.cycle.set_correlation_id(id);
                record.correlation_id = record.noted.is_some().then(|| id.to_owned());
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

/// Lets the layers inside know which attempt it is.
fn hand_on(noted: Option<&Arc<Attempt>>, request: &mut Request<Bytes>) {
    if let (Some(noted), Some(call)) = (noted, request.extensions_mut().get_mut::<Call>()) {
        call.attempt = Some(Arc::clone(noted));
    }
}

fn may_have_been_applied(result: &Result<Response<Bytes>, UpstreamError>) -> bool {
    match result {
        Ok(answer) => answer.status().is_success() || status_is_ambiguous(answer.status()),
        Err(error) => error.may_have_been_applied(),
    }
}

fn answer_of(result: &Result<Response<Bytes>, UpstreamError>) -> Answer {
    match result {
        Ok(answer) if answer.extensions().get::<Unusable>().is_some() => Answer::Invalid,
        Ok(answer) => Answer::Status(answer.status().as_u16()),
        Err(error) => error.answer(),
    }
}

struct Record {
    meter: Arc<dyn Meter>,
    operation: Operation,
    start: Instant,
    answer: Answer,
    /// Its step in the trail of the request, where that is recorded.
    noted: Option<Arc<Attempt>>,
    correlation_id: Option<String>,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(attempt) = &self.noted {
            attempt.end(self.answer, self.correlation_id.as_deref());
        }
        self.meter.attempt(self.operation, self.answer, self.start.elapsed());
    }
}
