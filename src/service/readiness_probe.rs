//! How another process asks a running service whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use tower::ServiceExt as _;

use crate::genesys::{HttpClientSettings, HttpTransport};
use crate::http::paths;

/// A service that takes longer than this to tell is not well.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest answer read: it is a word, or a sentence.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// How the TLS library names the alert of a service that wants a certificate first.
const WANTS_CERTIFICATE: &str = "CertificateRequired";

/// Whom is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// The service of this configuration, on this machine. Its certificate names another host, and the
    /// file may hold a newer one already: neither says anything of its health, and nothing secret is
    /// sent. So its certificate is not looked at.
    Own,
    /// Whatever the URL names; its certificate is verified.
    Other,
}

/// Where a service on this address tells whether it is ready.
pub fn readiness_url(address: SocketAddr, encrypted: bool) -> String {
    let scheme = if encrypted { "https" } else { "http" };
    format!("{scheme}://{address}{}", paths::READYZ)
}

/// Asks a running service whether it is ready.
///
/// # Errors
/// Unless the answer is a 2xx, and comes in time. A service that wants a certificate before it
/// answers lives, and no more can be known of it.
pub async fn ask(url: &str, asked: ProbeTarget) -> anyhow::Result<()> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
    let answer = tokio::time::timeout(PROBE_TIMEOUT, transport(asked)?.oneshot(request)).await;
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

fn transport(asked: ProbeTarget) -> anyhow::Result<HttpTransport> {
    let mut settings = HttpClientSettings::new(PROBE_TIMEOUT, MAX_RESPONSE_BYTES);
    settings.verifies_certificate = asked == ProbeTarget::Other;
    Ok(settings.transport()?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = readiness_url(silent.local_addr().expect("an address"), false);
        let start = Instant::now();
        ask(&url, ProbeTarget::Own).await.expect_err("no answer");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
