//! Exports spans to the configured collector, by OTLP over HTTP.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::TracingConfig;
use crate::genesys::{HttpClientSettings, HttpTransport};
use crate::telemetry::SpanExport;

/// Timeout for one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for a connection to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest response of a collector that is read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The path for spans, below the base URL of a collector.
const PATH: &str = "/v1/traces";

/// The configured export of spans, if any. Needs a tokio runtime.
pub(super) fn export(settings: &TracingConfig) -> anyhow::Result<Option<SpanExport>> {
    if settings.endpoint.is_none() {
        return Ok(None);
    }
    let transport = HttpClientSettings::new(CONNECT_TIMEOUT, MAX_RESPONSE_BYTES).transport();
    let transport = transport.context("cannot set up TLS; are CA certificates installed?")?;
    span_export(settings, transport)
}

/// The configured export of spans over this transport, if any. Needs a tokio runtime.
pub fn span_export(
    settings: &TracingConfig,
    transport: HttpTransport,
) -> anyhow::Result<Option<SpanExport>> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let headers = settings.headers.iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient { transport, runtime: Handle::current() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}{PATH}"))
        .with_headers(headers.collect())
        .build()
        .context("cannot export spans (tracing.endpoint)")?;
    Ok(Some(SpanExport::new(exporter, settings.service_name.clone(), settings.keep_one_in.get())))
}

/// Sends batches to the collector. The SDK calls it from a thread without a runtime, so it uses ours.
struct CollectorClient {
    transport: HttpTransport,
    runtime: Handle,
}

impl std::fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CollectorClient")
    }
}

type ExportFuture = Result<Response<Bytes>, HttpError>;

impl HttpClient for CollectorClient {
    fn send_bytes<'life, 'sending>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = ExportFuture> + Send + 'sending>>
    where
        'life: 'sending,
        Self: 'sending,
    {
        let transport = self.transport.clone();
        // `timeout` works only on a task of the runtime.
        let exchange = async move { timeout(BATCH_TIMEOUT, transport.send(request)).await };
        let sent = self.runtime.spawn(exchange);
        Box::pin(async { Ok(sent.await???) })
    }
}
