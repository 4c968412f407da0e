//! Where spans go, as the configuration wants it: to a collector, by OTLP over HTTP.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::TracingConfig;
use crate::genesys::{HttpClientSettings, HttpTransport};
use crate::telemetry::SpanExport;

/// Time for one batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to connect to the collector.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest answer of a collector that is read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Where a collector takes spans, behind its base URL.
const PATH: &str = "/v1/traces";

/// The export of spans, if there is to be one. Needs a runtime.
pub(super) fn export(settings: &TracingConfig) -> anyhow::Result<Option<SpanExport>> {
    if settings.endpoint.is_none() {
        return Ok(None);
    }
    let transport = HttpClientSettings::new(CONNECT_TIMEOUT, MAX_RESPONSE_BYTES).transport();
    let transport = transport.context("cannot set up TLS; are CA certificates installed?")?;
    span_export(settings, transport)
}

/// The export of spans over this transport, if there is to be one. Needs a runtime.
///
/// # Errors
/// If the collector's URL cannot be used.
pub fn span_export(
    settings: &TracingConfig,
    transport: HttpTransport,
) -> anyhow::Result<Option<SpanExport>> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let headers = settings.headers.iter();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient { transport, runtime: Handle::current() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}{PATH}"))
        .with_headers(
            headers
                .map(|(name, value)| (name.to_owned(), value.expose_secret().to_owned()))
                .collect(),
        )
        .build()
        .context("cannot export spans (tracing.endpoint)")?;
    Ok(Some(SpanExport::new(exporter, settings.service_name.clone(), settings.keep_one_in)))
}

/// Reaches the collector. The SDK sends from a thread without a runtime, so the exchange is made on ours.
struct CollectorClient {
    transport: HttpTransport,
    runtime: Handle,
}

impl std::fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
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
        // The clock of a runtime is there for tasks on it alone.
        let exchange = async move { timeout(BATCH_TIMEOUT, transport.exchange(request)).await };
        let sent = self.runtime.spawn(exchange);
        Box::pin(async { Ok(sent.await???) })
    }
}
