//! Builds the transport to upstream.

use anyhow::Context as _;

use super::tls::certificates;
use crate::config::Config;
use crate::genesys::{HttpClientSettings, HttpTransport};

/// The configured transport to upstream.
pub fn transport(config: &Config) -> anyhow::Result<HttpTransport> {
    let genesys = &config.genesys;
    let body_limit = genesys.max_response_bytes;
    let mut settings = HttpClientSettings::new(genesys.connect_timeout, body_limit);
    if let Some(file) = &genesys.ca_file {
        settings.authorities = certificates(file).context("cannot use genesys.ca_file")?;
    }
    if let Some(proxy) = &genesys.proxy {
        let proxy = reqwest::Proxy::https(proxy.expose_url().clone());
        settings.proxy = Some(proxy.context("cannot use genesys.proxy")?);
    }
    settings.transport().context("cannot set up TLS; are CA certificates installed?")
}
