//! What the gateway's writes are measured against: the usual recipe (read, merge, PATCH the whole
//! map, read again) in plain axum and reqwest, without logs, metrics, retries, pacing or locks.
//!
//! `tutorial BIND UPSTREAM value|typed`. As in `bare_proxy.rs`, the last word says how answers are
//! parsed, and `run.sh` builds it by two profiles: untuned as most would begin, and with typed parsing
//! and the gateway's own profile. It loses updates; that is part of the recipe.

use anyhow::{Context, ensure};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use self::upstream::{Attributes, Upstream};

#[path = "upstream.rs"]
mod upstream;

#[derive(Deserialize, Serialize)]
struct Body {
    attributes: Attributes,
}

type Customer = (String, Attributes);

#[derive(Clone)]
struct Recipe {
    upstream: Upstream,
    customer: fn(&[u8]) -> anyhow::Result<Customer>,
}

fn customer_by_type(body: &[u8]) -> anyhow::Result<Customer> {
    let customer = upstream::customer(body)?;
    Ok((customer.id, customer.attributes.unwrap_or_default()))
}

fn customer_by_value(body: &[u8]) -> anyhow::Result<Customer> {
    let mut conversation: Value = serde_json::from_slice(body)?;
    let customer = conversation["participants"]
        .as_array_mut()
        .and_then(|all| {
            all.iter_mut().find(|p| p["purpose"] == "customer" && p["endTime"].is_null())
        })
        .context("no live customer")?;
    let id = customer["id"].as_str().context("no id")?.to_owned();
    Ok((id, serde_json::from_value(customer["attributes"].take())?))
}

async fn write(recipe: &Recipe, id: Uuid, wanted: Attributes) -> anyhow::Result<Attributes> {
    let Recipe { upstream, customer } = recipe;
    let (participant, mut merged) = customer(&upstream.conversation(id).await?)?;
    merged.extend(wanted.clone());
    let path = format!(
        "{}/api/v2/conversations/{id}/participants/{participant}/attributes",
        upstream.base
    );
    let request = upstream.client.patch(path).bearer_auth(upstream.token().await?);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let body = serde_json::to_vec(&Body { attributes: merged })?;
    request.body(body).send().await?.error_for_status()?;
    let (_, shown) = customer(&upstream.conversation(id).await?)?;
    ensure!(wanted.iter().all(|(key, value)| shown.get(key) == Some(value)), "not visible yet");
    Ok(shown)
}

async fn attributes(State(recipe): State<Recipe>, Path(id): Path<String>, body: Bytes) -> Response {
    let (Ok(id), Ok(Body { attributes })) = (id.parse(), serde_json::from_slice(&body)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let written = write(&recipe, id, attributes).await;
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
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [bind, upstream, parsing] = &arguments[..] else {
        anyhow::bail!("usage: tutorial BIND UPSTREAM value|typed");
    };
    let customer = match parsing.as_str() {
        "value" => customer_by_value,
        "typed" => customer_by_type,
        _ => anyhow::bail!("parsing is `value` or `typed`"),
    };
    let routes = Router::new()
        .route("/v1/conversations/{id}/attributes", put(attributes))
        .with_state(Recipe { upstream: Upstream::new(upstream)?, customer });
    axum::serve(tokio::net::TcpListener::bind(bind).await?, routes).await?;
    Ok(())
}
