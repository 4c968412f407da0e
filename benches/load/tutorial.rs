//! What the gateway's writes are measured against: the usual recipe (read, merge, PATCH the whole
//! map, read again) in plain axum and reqwest, without logs, metrics, retries, pacing or locks.
//!
//! `tutorial BIND UPSTREAM`. Typed parsing, one cached token, and in `run.sh` the gateway's own build
//! profile, so that what is compared is the algorithm. It loses updates; that is part of the recipe.

use anyhow::ensure;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use self::upstream::{Attributes, Upstream};

#[path = "upstream.rs"]
mod upstream;

#[derive(Deserialize, Serialize)]
struct Body {
    attributes: Attributes,
}

async fn customer(upstream: &Upstream, id: Uuid) -> anyhow::Result<(String, Attributes)> {
    let customer = upstream::customer(&upstream.conversation(id).await?)?;
    Ok((customer.id, customer.attributes.unwrap_or_default()))
}

async fn write(upstream: &Upstream, id: Uuid, wanted: Attributes) -> anyhow::Result<Attributes> {
    let (participant, mut merged) = customer(upstream, id).await?;
    merged.extend(wanted.clone());
    let path = format!(
        "{}/api/v2/conversations/{id}/participants/{participant}/attributes",
        upstream.base
    );
    let request = upstream.client.patch(path).bearer_auth(upstream.token().await?);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let body = serde_json::to_vec(&Body { attributes: merged })?;
    request.body(body).send().await?.error_for_status()?;
    let (_, shown) = customer(upstream, id).await?;
    ensure!(wanted.iter().all(|(key, value)| shown.get(key) == Some(value)), "not visible yet");
    Ok(shown)
}

async fn attributes(
    State(upstream): State<Upstream>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let (Ok(id), Ok(Body { attributes })) = (id.parse(), serde_json::from_slice(&body)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let written = write(&upstream, id, attributes).await;
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
        .with_state(Upstream::new(&upstream)?);
    axum::serve(tokio::net::TcpListener::bind(bind).await?, routes).await?;
    Ok(())
}
