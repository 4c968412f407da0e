//! Asks a running service whether it is ready, for `healthcheck`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;

use crate::genesys::{HttpClientSettings, HttpTransport};
use crate::http::paths;

/// A service that takes longer than this counts as unhealthy.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest response that is read; a usual one is a word or a sentence.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The name of the TLS alert of a service that requires a client certificate.
const WANTS_CERTIFICATE: &str = "CertificateRequired";

/// The service to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// The service of this configuration, on this machine. Its certificate is not verified: it names
    /// another host, and the probe sends nothing secret.
    Own,
    /// The service at a URL. Its certificate is verified.
    Other,
}

/// The readiness URL of a service on this address.
pub fn readiness_url(address: SocketAddr, encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    format!("{scheme}://{address}{}", paths::READYZ)
}

/// Asks a running service whether it is ready.
pub async fn ask(url: &str, target: ProbeTarget) -> anyhow::Result<()> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    let answer = tokio::time::timeout(PROBE_TIMEOUT, transport(target)?.send(request)).await;
    let answer =
        match answer.with_context(|| format!("no answer from {url} in {PROBE_TIMEOUT:?}"))? {
            Err(error) if error.to_string().contains(WANTS_CERTIFICATE) => return Ok(()),
            answer => answer?,
        };
    if !answer.status().is_success() {
        let text = String::from_utf8_lossy(answer.body()).trim().to_owned();
        bail!("{url} answered {}: {text}", answer.status().as_u16());
    }
    Ok(())
}

fn transport(target: ProbeTarget) -> anyhow::Result<HttpTransport> {
    let mut settings = HttpClientSettings::new(PROBE_TIMEOUT, MAX_RESPONSE_BYTES);
    settings.verifies_certificate = target == ProbeTarget::Other;
    Ok(settings.transport()?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_service_fails_the_probe_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = readiness_url(silent.local_addr().expect("an address"), false);
        let start = Instant::now();
        ask(&url, ProbeTarget::Own).await.expect_err("no answer");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
