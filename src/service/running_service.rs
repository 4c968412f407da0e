//! Asks a running service: whether it is ready, for `healthcheck`, and for its live view, for `top`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::timeout;

use crate::http::paths;

/// A service that takes longer than this counts as unhealthy.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The name of the TLS alert of a service that requires a client certificate.
const WANTS_CERTIFICATE: &str = "CertificateRequired";

/// The readiness URL of a service.
pub fn readiness_url(base: &str) -> String {
    format!("{base}{}", paths::READYZ)
}

/// Asks a running service whether it is ready. The certificate of the own service on this machine is not
/// verified: it names another host, and the probe sends nothing secret.
pub async fn ask(url: &str, is_own: bool) -> anyhow::Result<()> {
    let client = client(|client| client.no_proxy().tls_danger_accept_invalid_certs(is_own))?;
    let request = client.get(url).build().with_context(|| format!("`{url}` is not a URL"))?;
    let late = || format!("no answer from {url} in {PROBE_TIMEOUT:?}");
    let answer = match timeout(PROBE_TIMEOUT, client.execute(request)).await.with_context(late)? {
        Err(error) if format!("{error:?}").contains(WANTS_CERTIFICATE) => return Ok(()),
        answer => answer.with_context(|| format!("cannot ask {url}"))?,
    };
    let status = answer.status();
    if !status.is_success() {
        let text = timeout(PROBE_TIMEOUT, answer.text()).await.with_context(late)??;
        bail!("{url} answered {}: {}", status.as_u16(), text.trim());
    }
    Ok(())
}

/// A client without redirects, and with these settings.
fn client(
    set: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Result<reqwest::Client> {
    // reqwest uses the provider of the process. If one is set already, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    set(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())).build()
}

/// The connection is lost if nothing arrives for so long: the service sends an event each second.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest event that is read.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The URL of the events of a service.
pub fn live_events_url(base: &str) -> String {
    format!("{}{}", base.trim_end_matches('/'), paths::LIVE_EVENTS)
}

/// A stream of events.
pub struct LiveStream {
    answer: reqwest::Response,
    unread: Vec<u8>,
}

impl LiveStream {
    /// Connects to a service.
    ///
    /// # Errors
    /// If the URL is invalid, or the service cannot be reached or refuses the request.
    pub async fn open(url: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let client = client(|client| client.connect_timeout(SILENCE_TIMEOUT))?;
        let mut request = client.get(url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let request = request.build().with_context(|| format!("cannot ask {url}"))?;
        let answer = timeout(SILENCE_TIMEOUT, client.execute(request)).await??;
        let status = answer.status();
        if status.is_success() {
            return Ok(Self { answer, unread: Vec::new() });
        }
        let problem: Value =
            serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default();
        let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let (status, detail, hint) = (status.as_u16(), member("detail"), member("hint"));
        bail!("{url} answered {status}: {detail}. {hint}")
    }

    /// The next event.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            // An event ends with an empty line. Pings are comments, which begin with a colon.
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(data) = event.strip_prefix(b"data: ") {
                    return serde_json::from_slice(data).context("the event is not JSON");
                }
            }
            let chunk = timeout(SILENCE_TIMEOUT, self.answer.chunk()).await;
            match chunk.context("the service is silent")?? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => bail!("the service has ended the stream"),
            }
            if self.unread.len() > MAX_EVENT_BYTES {
                bail!("an event is longer than {MAX_EVENT_BYTES} bytes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_service_fails_the_probe_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let start = Instant::now();
        ask(&url, true).await.expect_err("no answer");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
