//! Builds the transport to upstream.

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::tls::certificates;
use crate::config::{self, Config};
use crate::genesys::{HttpClientSettings, HttpTransport};

/// The configured transport to upstream.
///
/// # Errors
/// If TLS cannot be set up, or `genesys.ca_file` or `genesys.proxy` is invalid.
pub fn transport(config: &Config) -> anyhow::Result<HttpTransport> {
    let genesys = &config.genesys;
    let body_limit = genesys.max_response_bytes.as_usize();
    let mut settings = HttpClientSettings::new(genesys.connect_timeout, body_limit);
    if let Some(file) = &genesys.ca_file {
        settings.authorities = certificates(file).context("cannot use genesys.ca_file")?;
    }
    settings.proxy = genesys.proxy.as_ref().map(proxy).transpose()?;
    settings.transport().context("cannot set up TLS; are CA certificates installed?")
}

fn proxy(proxy: &config::HttpProxy) -> anyhow::Result<reqwest::Proxy> {
    let server = reqwest::Proxy::https(proxy.address()).context("cannot use genesys.proxy")?;
    Ok(match proxy.credentials() {
        Some((user, password)) => server.basic_auth(user, password.expose_secret()),
        None => server,
    })
}
