//! What the gateway is measured against: the same read as the usual axum and reqwest code would do
//! it, without logs, metrics, retries, limits or a choice of participant.
//!
//! `bare_proxy BIND UPSTREAM value|typed`, for example
//! `bare_proxy 127.0.0.1:19042 http://127.0.0.1:19040 value`. The last word says how the upstream's
//! answer is parsed: into a `serde_json::Value`, as most would begin, or into types with the needed
//! fields alone. It is the same binary, but `run.sh` builds it by two profiles; see there. Both have
//! the gateway's dependencies. It checks nothing that a service must check.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Context;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use self::upstream::{Attributes, Upstream};

#[path = "upstream.rs"]
mod upstream;

#[derive(Clone)]
struct Proxy {
    upstream: Upstream,
    answer: fn(Uuid, &[u8]) -> anyhow::Result<Vec<u8>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    conversation_id: String,
    participant: Chosen,
    attributes: Attributes,
}

#[derive(Serialize)]
struct Chosen {
    id: String,
    purpose: String,
}

impl Proxy {
    fn new(upstream: &str, parsing: &str) -> anyhow::Result<Self> {
        let answer = match parsing {
            "value" => answer_by_value,
            "typed" => answer_by_type,
            _ => anyhow::bail!("parsing is `value` or `typed`"),
        };
        Ok(Self { upstream: Upstream::new(upstream)?, answer })
    }

    async fn answer(&self, id: Uuid) -> anyhow::Result<Vec<u8>> {
        (self.answer)(id, &self.upstream.conversation(id).await?)
    }
}

fn answer_by_type(id: Uuid, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let customer = upstream::customer(body)?;
    Ok(serde_json::to_vec(&Answer {
        conversation_id: id.to_string(),
        participant: Chosen { id: customer.id, purpose: customer.purpose },
        attributes: customer.attributes.unwrap_or_default(),
    })?)
}

fn answer_by_value(id: Uuid, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let conversation: Value = serde_json::from_slice(body)?;
    let customer = conversation["participants"]
        .as_array()
        .and_then(|all| all.iter().find(|p| p["purpose"] == "customer" && p["endTime"].is_null()))
        .context("no live customer")?;
    Ok(serde_json::to_vec(&json!({
        "conversationId": id.to_string(),
        "participant": { "id": customer["id"], "purpose": customer["purpose"] },
        "attributes": customer["attributes"],
    }))?)
}

async fn attributes(State(proxy): State<Proxy>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(body) = proxy.answer(id).await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::ETAG, format!("\"{:016x}\"", hasher.finish())),
        (header::HeaderName::from_static("x-request-id"), Uuid::new_v4().to_string()),
    ];
    (headers, body).into_response()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [bind, upstream, parsing] = args.as_slice() else {
        anyhow::bail!("usage: bare_proxy BIND UPSTREAM value|typed");
    };
    let routes = Router::new()
        .route("/v1/conversations/{id}/attributes", get(attributes))
        .with_state(Proxy::new(upstream, parsing)?);
    axum::serve(tokio::net::TcpListener::bind(bind).await?, routes).await?;
    Ok(())
}
