//! `healthcheck`: asks a running service whether it is ready.

use super::simulate::reachable;
use crate::config;
use crate::service;

/// Fails unless the answer is a 2xx. Needs no credentials.
pub async fn healthcheck(source: &config::Source, url: Option<String>) -> anyhow::Result<()> {
    let url = if let Some(url) = url {
        url
    } else {
        let bind = config::load(source)?.config.server.bind;
        service::readiness_url(reachable(bind))
    };
    service::ask(&url).await
}
