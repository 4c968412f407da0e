//! A collector of spans, by the protocol's own definitions and not by those of the gateway.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

use super::TestApp;

/// What has arrived. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Collector(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Collector {
    /// The collector's routes.
    pub fn router(&self) -> Router {
        let take = async |State(collector): State<Self>, headers: HeaderMap, body: Bytes| {
            collector.0.lock().expect("no holder panics").push((headers, body));
        };
        let path = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        Router::new().nest("/base", path.clone()).merge(path)
    }

    /// Serves on any free port for as long as the test runs; returns its base URL.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = self.router();
        tokio::spawn(axum::serve(listener, router).into_future());
        format!("http://{address}")
    }

    /// The bodies of all batches as text: what is text in a span is readable in it.
    pub fn bodies(&self) -> String {
        let arrived = self.0.lock().expect("no holder panics");
        arrived.iter().map(|(_, body)| String::from_utf8_lossy(body)).collect()
    }

    /// The headers of the batches.
    pub fn headers(&self) -> Vec<HeaderMap> {
        let arrived = self.0.lock().expect("no holder panics");
        arrived.iter().map(|(headers, _)| headers.clone()).collect()
    }

    /// Each batch, decoded.
    pub fn batches(&self) -> Vec<ExportTraceServiceRequest> {
        let arrived = self.0.lock().expect("no holder panics");
        let decode = |body: &Bytes| ExportTraceServiceRequest::decode(&body[..]).expect("protobuf");
        arrived.iter().map(|(_, body)| decode(body)).collect()
    }

    /// All spans, in the order in which they ended.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.batches().into_iter().flat_map(|batch| batch.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

impl TestApp {
    /// The spans that have ended so far.
    pub async fn spans(&self) -> Vec<Span> {
        if let Some(spans) = &self.spans {
            spans.flush().await;
        }
        self.collector.spans()
    }
}

/// The attribute of this name, as text.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()? {
        AnyValue { value: Some(Value::StringValue(text)) } => Some(text),
        AnyValue { value: Some(Value::IntValue(number)) } => Some(number.to_string()),
        AnyValue { value: Some(Value::DoubleValue(number)) } => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}
