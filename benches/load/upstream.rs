//! What the programs that the gateway is measured against share: an upstream called as the usual
//! axum and reqwest code would do it, with one cached token and typed parsing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::body::Bytes;
use axum::http::header;
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

pub type Attributes = BTreeMap<String, String>;

#[derive(Clone)]
pub struct Upstream {
    pub client: reqwest::Client,
    pub base: Arc<str>,
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
pub struct Participant {
    pub id: String,
    pub purpose: String,
    end_time: Option<String>,
    pub attributes: Option<Attributes>,
}

impl Upstream {
    pub fn new(base: &str) -> anyhow::Result<Self> {
        // reqwest is built without a TLS provider of its own and wants one even for plain http.
        rustls::crypto::ring::default_provider()
            .install_default()
            .map_err(|_| anyhow!("a TLS provider is installed already"))?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self { client, base: base.into(), token: Arc::default() })
    }

    pub async fn token(&self) -> anyhow::Result<String> {
        let mut cached = self.token.lock().await;
        if let Some(token) = &*cached {
            return Ok(token.clone());
        }
        let answer = self
            .client
            .post(format!("{}/oauth/token", self.base))
            .basic_auth("x", Some("y"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials")
            .send()
            .await?
            .error_for_status()?;
        let token: Token = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(cached.insert(token.access_token).clone())
    }

    pub async fn conversation(&self, id: Uuid) -> anyhow::Result<Bytes> {
        let request = self.client.get(format!("{}/api/v2/conversations/{id}", self.base));
        let answer = request.bearer_auth(self.token().await?).send().await?.error_for_status()?;
        Ok(answer.bytes().await?)
    }
}

pub fn customer(body: &[u8]) -> anyhow::Result<Participant> {
    let conversation: Conversation = serde_json::from_slice(body)?;
    let mut participants = conversation.participants.into_iter();
    participants
        .find(|one| one.purpose == "customer" && one.end_time.is_none())
        .context("no live customer")
}
