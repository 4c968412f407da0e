//! `healthcheck`: asks a running service whether it is ready.

use super::simulate::reachable;
use crate::config;
use crate::service::{ProbeTarget, ask, readiness_url};

/// Fails unless the response is a 2xx. Needs no credentials.
pub async fn healthcheck(source: &config::ConfigSource, url: Option<String>) -> anyhow::Result<()> {
    if let Some(url) = url {
        return ask(&url, ProbeTarget::Other).await;
    }
    let server = config::load(source)?.config.server;
    ask(&readiness_url(reachable(server.bind), server.tls.is_some()), ProbeTarget::Own).await
}
