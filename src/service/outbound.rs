//! The way to upstream, as it is configured.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::ExposeSecret as _;

use super::tls::certificates;
use crate::config::{self, Config};
use crate::genesys::{Outbound, ProxyServer, Transport};

/// Reaches upstream as configured.
///
/// # Errors
/// If TLS cannot be set up, or the file of authorities not be used.
pub fn transport(config: &Config) -> anyhow::Result<Transport> {
    let genesys = &config.genesys;
    let body_limit = genesys.max_response_bytes.as_usize();
    let mut outbound = Outbound::new(genesys.connect_timeout, body_limit);
    if let Some(file) = &genesys.ca_file {
        outbound.authorities = certificates(file).context("cannot use genesys.ca_file")?;
    }
    outbound.proxy = genesys.proxy.as_ref().map(proxy).transpose()?;
    outbound.transport().context("cannot set up TLS; are CA certificates installed?")
}

fn proxy(proxy: &config::Proxy) -> anyhow::Result<ProxyServer> {
    let authorization = proxy.credentials().map(|(user, password)| {
        let pair = format!("{user}:{}", password.expose_secret());
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).map(|mut value| {
            value.set_sensitive(true);
            value
        })
    });
    Ok(ProxyServer { address: proxy.address().parse()?, authorization: authorization.transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_shown_who_asks_and_nobody_else_is() {
        let server = |text: &str| proxy(&text.parse().expect("a proxy")).expect("it can be used");
        let known = server("http://me:hunter2@proxy.local").authorization.expect("credentials");
        assert_eq!(known, format!("Basic {}", STANDARD.encode("me:hunter2")));
        assert_eq!(format!("{known:?}"), "Sensitive");
        assert!(server("http://proxy.local").authorization.is_none());
    }
}
