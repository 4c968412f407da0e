//! What the gateway's writes are measured against: the usual recipe (read, merge, PATCH the whole
//! map, read again) in plain axum and reqwest, without logs, metrics, retries, pacing or locks.
//!
//! `tutorial BIND UPSTREAM`. Typed parsing, one cached token, and in `run.sh` the gateway's own build
//! profile, so that what is compared is the algorithm. It loses updates; that is part of the recipe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

type Attributes = BTreeMap<String, String>;

#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    upstream: Arc<str>,
    token: Arc<Mutex<Option<String>>>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct Conversation {
    participants: Vec<Participant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Participant {
    id: String,
    purpose: String,
    end_time: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(Deserialize, Serialize)]
struct Body {
    attributes: Attributes,
}

impl Proxy {
    fn new(upstream: &str) -> anyhow::Result<Self> {
        // reqwest is built without a TLS provider of its own and wants one even for plain http.
        rustls::crypto::ring::default_provider()
            .install_default()
            .map_err(|_| anyhow!("a TLS provider is installed already"))?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self { client, upstream: upstream.into(), token: Arc::default() })
    }

    async fn token(&self) -> anyhow::Result<String> {
        let mut cached = self.token.lock().await;
        if let Some(token) = &*cached {
            return Ok(token.clone());
        }
        let request = self.client.post(format!("{}/oauth/token", self.upstream));
        let answer = request.basic_auth("x", Some("y")).send().await?.error_for_status()?;
        let token: Token = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(cached.insert(token.access_token).clone())
    }

    async fn customer(&self, id: Uuid) -> anyhow::Result<(String, Attributes)> {
        let request = self.client.get(format!("{}/api/v2/conversations/{id}", self.upstream));
        let answer = request.bearer_auth(self.token().await?).send().await?.error_for_status()?;
        let conversation: Conversation = serde_json::from_slice(&answer.bytes().await?)?;
        let mut participants = conversation.participants.into_iter();
        let customer = participants.find(|p| p.purpose == "customer" && p.end_time.is_none());
        let customer = customer.context("no live customer")?;
        Ok((customer.id, customer.attributes.unwrap_or_default()))
    }

    async fn write(&self, id: Uuid, wanted: Attributes) -> anyhow::Result<Attributes> {
        let (participant, mut merged) = self.customer(id).await?;
        merged.extend(wanted.clone());
        let path = format!(
            "{}/api/v2/conversations/{id}/participants/{participant}/attributes",
            self.upstream
        );
        let request = self.client.patch(path).bearer_auth(self.token().await?);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = serde_json::to_vec(&Body { attributes: merged })?;
        request.body(body).send().await?.error_for_status()?;
        let (_, shown) = self.customer(id).await?;
        ensure!(wanted.iter().all(|(key, value)| shown.get(key) == Some(value)), "not visible yet");
        Ok(shown)
    }
}

async fn attributes(State(proxy): State<Proxy>, Path(id): Path<String>, body: Bytes) -> Response {
    let (Ok(id), Ok(Body { attributes })) = (id.parse(), serde_json::from_slice(&body)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let written = proxy.write(id, attributes).await;
    match written {
        Ok(attributes) => {
            Json(json!({ "conversationId": id.to_string(), "attributes": attributes }))
                .into_response()
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(bind), Some(upstream)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: tutorial BIND UPSTREAM");
    };
    let routes = Router::new()
        .route("/v1/conversations/{id}/attributes", put(attributes))
        .with_state(Proxy::new(&upstream)?);
    axum::serve(tokio::net::TcpListener::bind(bind).await?, routes).await?;
    Ok(())
}
