//! A fast upstream that remembers what is written to it, for the load run of writes.
//!
//! `write_stub BIND CONVERSATION_JSON`. Every conversation exists, and looks like the file until its
//! customer's attributes are changed; a change can be read at once. Nothing is checked, since nothing
//! but its speed is wanted; the simulator is the one that behaves like the platform.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

type Attributes = BTreeMap<String, String>;

#[derive(Clone)]
struct Stub(Arc<Platform>);

struct Platform {
    /// A conversation, before and after the attributes of its customer.
    before: String,
    after: String,
    initial: Attributes,
    written: Mutex<HashMap<String, Attributes>>,
    calls: AtomicU64,
}

#[derive(Deserialize)]
struct Patch {
    attributes: Attributes,
}

impl Stub {
    fn load(path: &str) -> anyhow::Result<Self> {
        let mut conversation: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let participants = conversation["participants"].as_array_mut().context("participants")?;
        let customer = participants.iter_mut().find(|one| one["purpose"] == "customer");
        let customer = customer.context("a customer")?;
        let place = json!("@attributes@");
        let initial = std::mem::replace(&mut customer["attributes"], place.clone());
        let text = conversation.to_string();
        let (before, after) = text.split_once(&place.to_string()).context("the place")?;
        Ok(Self(Arc::new(Platform {
            before: before.to_owned(),
            after: after.to_owned(),
            initial: serde_json::from_value(initial)?,
            written: Mutex::default(),
            calls: AtomicU64::new(0),
        })))
    }

    fn count(&self) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }
}

async fn conversation(State(stub): State<Stub>, Path(id): Path<String>) -> impl IntoResponse {
    stub.count();
    let attributes = {
        let written = stub.0.written.lock().expect("no thread panics while it holds the lock");
        serde_json::to_string(written.get(&id).unwrap_or(&stub.0.initial))
    };
    let attributes = attributes.unwrap_or_default();
    let body = [stub.0.before.as_str(), &attributes, &stub.0.after].concat();
    ([(header::CONTENT_TYPE, "application/json")], body)
}

async fn write(
    State(stub): State<Stub>,
    Path((id, _)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    stub.count();
    let Ok(patch) = serde_json::from_slice::<Patch>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut written = stub.0.written.lock().expect("no thread panics while it holds the lock");
    written.entry(id).or_insert_with(|| stub.0.initial.clone()).extend(patch.attributes);
    StatusCode::ACCEPTED
}

/// The count of calls where nginx' status page has it, so that run.sh can ask both alike.
async fn count(State(stub): State<Stub>) -> String {
    let calls = stub.0.calls.load(Ordering::Relaxed);
    format!("a stub\naccepts handled requests\n 0 0 {calls}\n")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(bind), Some(path)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: write_stub BIND CONVERSATION_JSON");
    };
    let token = json!({"access_token": "x", "token_type": "bearer", "expires_in": 86_400});
    let router = Router::new()
        .route("/oauth/token", post(async move || Json(token)))
        .route("/count", get(count))
        .route("/api/v2/conversations/{id}", get(conversation))
        .route("/api/v2/conversations/{id}/participants/{participant}/attributes", patch(write))
        .with_state(Stub::load(&path)?);
    axum::serve(tokio::net::TcpListener::bind(bind).await?, router).await?;
    Ok(())
}
