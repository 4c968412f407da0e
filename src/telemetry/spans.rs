//! Spans for an OpenTelemetry collector: one per API request, with one child per exchange with
//! upstream. Without a collector, the gateway creates none.
//!
//! The gateway creates a span when it has ended, from the data of the access line and the attempt log.
//! So no span stays open, and none contains a path, key or value. The SDK sends batches from its own
//! thread. If its queue is full, it drops spans and logs a warning.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};

use super::access_log::{AccessRecord, milliseconds};
use crate::clock;
use crate::ports::{
    AttemptOutcome, PlatformOperation, RequestContext, RequestPhase, TraceContext, TraceExporter,
    TraceSpan, UpstreamAttempt,
};

const SERVER_ERROR: u16 = 500;

/// How long a stopping process waits for the last batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Exports spans. Clones share the exporter.
#[derive(Clone, Debug)]
pub struct SpanExport(Arc<SpanRecorder>);

#[derive(Debug)]
struct SpanRecorder {
    processor: BatchSpanProcessor,
    /// The gateway samples one in this many of the traces that it starts.
    keep_one_in: u32,
    scope: InstrumentationScope,
}

impl SpanExport {
    /// Exports to `exporter` under the name `service`. Samples one in `keep_one_in` of the traces that
    /// the gateway starts. For other traces, the client decides.
    pub fn new(exporter: impl SpanExporter + 'static, service: String, keep_one_in: u32) -> Self {
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&Resource::builder().with_service_name(service).build());
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self(Arc::new(SpanRecorder { processor, keep_one_in, scope }))
    }

    /// The span of a new request, as a child of the client's span if there is one.
    pub fn open(&self, given: Option<TraceContext>) -> TraceSpan {
        let begin = || TraceContext::begin(fastrand::u32(..self.0.keep_one_in.max(1)) == 0);
        let context = given.map_or_else(begin, TraceContext::next);
        let kept = context.is_sampled().then(|| Arc::clone(&self.0) as Arc<dyn TraceExporter>);
        TraceSpan::new(context, given, kept)
    }

    /// Exports the span of a request that was answered, or whose client disconnected.
    pub fn request(&self, record: &AccessRecord<'_>, context: &RequestContext) {
        let Some(span) = context.span().filter(|span| span.is_exported()) else { return };
        let name = format!("{} {}", record.method, record.route.unwrap_or("-"));
        let mut data = self.0.ended(span, SpanKind::Server, name, record.took);
        data.attributes = of_request(record, context);
        data.links = shared_exchanges(span, context);
        if record.status >= SERVER_ERROR {
            data.status = Status::error("");
        }
        self.0.processor.on_end(data);
    }

    /// Waits until the SDK has sent or failed to send all spans so far.
    pub async fn flush(&self) {
        self.wait(SpanProcessor::force_flush).await;
    }

    /// Sends all spans so far and stops the exporter.
    pub async fn finish(&self) {
        self.wait(|processor| processor.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
    }

    async fn wait(&self, ends: impl FnOnce(&BatchSpanProcessor) -> OTelSdkResult + Send + 'static) {
        let recorder = Arc::clone(&self.0);
        let ended = tokio::task::spawn_blocking(move || ends(&recorder.processor));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(error = %error, "the last spans could not be sent");
        }
    }
}

impl TraceExporter for SpanRecorder {
    fn attempt(&self, span: &TraceSpan, attempt: &UpstreamAttempt) {
        let Some(end) = attempt.ended() else { return };
        let operation = attempt.operation.as_str();
        let method = match attempt.operation {
            PlatformOperation::Read => "GET",
            PlatformOperation::Patch => "PATCH",
            PlatformOperation::Token | PlatformOperation::Analytics => "POST",
        };
        let (kind, name) = (SpanKind::Client, format!("genesys {operation}"));
        let mut data = self.ended(span, kind, name, end.took);
        data.attributes = vec![
            KeyValue::new("genesys.operation", operation),
            KeyValue::new("http.request.method", method),
        ];
        if let Some(id) = &end.correlation_id {
            data.attributes.push(KeyValue::new("genesys.correlation_id", id.clone()));
        }
        if let AttemptOutcome::Status(status) = end.answer {
            let code = KeyValue::new("http.response.status_code", i64::from(status));
            data.attributes.push(code);
        }
        let failure = match end.answer {
            AttemptOutcome::Status(status) => (status >= 400).then(|| status.to_string()),
            other => other.failure().map(str::to_owned),
        };
        if let Some(failure) = failure {
            data.attributes.push(KeyValue::new("error.type", failure));
            data.status = Status::error("");
        }
        self.processor.on_end(data);
    }
}

impl SpanRecorder {
    /// A span that ends now, with its duration.
    fn ended(&self, span: &TraceSpan, kind: SpanKind, name: String, took: Duration) -> SpanData {
        let end_time = SystemTime::from(clock::now());
        SpanData {
            span_context: context_of(span.context),
            parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| parent.span.into()),
            parent_span_is_remote: kind == SpanKind::Server,
            span_kind: kind,
            name: name.into(),
            start_time: end_time.checked_sub(took).unwrap_or(end_time),
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn context_of(context: TraceContext) -> SpanContext {
    let (trace, span) = (context.trace.into(), context.span.into());
    let flags = TraceFlags::default().with_sampled(context.is_sampled());
    SpanContext::new(trace, span, flags, false, TraceState::default())
}

/// Links to shared exchanges. Their span is a child of the first request that needed them.
fn shared_exchanges(span: &TraceSpan, context: &RequestContext) -> SpanLinks {
    let attempts = context.attempt_log().map(|attempt_log| attempt_log.snapshot().attempts);
    let attempts = attempts.unwrap_or_default();
    let is_shared = |other: &&TraceSpan| other.is_exported() && other.parent != Some(span.context);
    let others = attempts.iter().filter_map(|attempt| attempt.span.as_ref()).filter(is_shared);
    let mut links = SpanLinks::default();
    links.links.extend(others.map(|other| Link::with_context(context_of(other.context))));
    links
}

fn of_request(record: &AccessRecord<'_>, context: &RequestContext) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", record.method.to_owned()),
        KeyValue::new("http.route", record.route.unwrap_or("-").to_owned()),
        KeyValue::new("http.response.status_code", i64::from(record.status)),
        KeyValue::new("request.id", record.request_id.to_owned()),
        KeyValue::new("upstream.calls", i64::from(record.upstream_calls)),
    ];
    let mut add = |name: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add("client", record.client.map(str::to_owned));
    add("conversation.id", record.conversation.map(|id| id.to_string()));
    add("effect", record.effect.map(|effect| effect.as_str().to_owned()));
    add("correlation.id", record.correlation_id.map(str::to_owned));
    add("error.type", record.code.map(|code| code.as_str().to_owned()));
    for phase in RequestPhase::ALL {
        let spent = context.spent(phase);
        if !spent.is_zero() {
            let name = format!("{}_ms", phase.as_str());
            attributes.push(KeyValue::new(name, milliseconds(spent)));
        }
    }
    attributes
}
