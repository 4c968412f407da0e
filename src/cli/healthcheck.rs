//! `healthcheck`: asks a running service whether it is ready.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use tower::ServiceExt as _;

use super::simulate::reachable;
use crate::config;
use crate::genesys::over_http;
use crate::http::paths;

/// A service that takes longer than this is not well.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer read: it is a word, or a sentence.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Fails unless the answer is a 2xx. Needs no credentials.
pub async fn healthcheck(source: &config::Source, url: Option<String>) -> anyhow::Result<()> {
    let url = if let Some(url) = url {
        url
    } else {
        let bind = config::load(source)?.config.server.bind;
        format!("http://{}{}", reachable(bind), paths::READYZ)
    };
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    let transport = over_http(PATIENCE, LONGEST_ANSWER)?;
    let answer = tokio::time::timeout(PATIENCE, transport.oneshot(request)).await;
    let answer = answer.with_context(|| format!("no answer from {url} in {PATIENCE:?}"))??;
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(answer.body()).trim().to_owned();
        bail!("{url} answered {}: {text}", answer.status().as_u16());
    }
    Ok(())
}
