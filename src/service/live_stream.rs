//! Reads the live view of a running service, for `top`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::http::paths;

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
    /// Connects to a service. The inner error says why it could not be reached.
    ///
    /// # Errors
    /// If the URL is invalid, or the service refuses the request: it would do so again.
    pub async fn open(url: &str, key: Option<&str>) -> anyhow::Result<anyhow::Result<Self>> {
        // reqwest uses the provider of the process. If one is set already, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().connect_timeout(SILENCE_TIMEOUT);
        let client = builder.redirect(reqwest::redirect::Policy::none()).build()?;
        let request = client.get(url);
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let request = request.build().with_context(|| format!("cannot ask {url}"))?;
        let answer = match tokio::time::timeout(SILENCE_TIMEOUT, client.execute(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Ok(Err(error.into())),
            Err(late) => return Ok(Err(late.into())),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(Ok(Self { answer, unread: Vec::new() }));
        }
        let problem: Value =
            serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default();
        let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let refusal = anyhow::anyhow!(
            "{url} answered {}: {}. {}",
            status.as_u16(),
            member("detail"),
            member("hint"),
        );
        if status.is_server_error() { Ok(Err(refusal)) } else { Err(refusal) }
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
            let chunk = tokio::time::timeout(SILENCE_TIMEOUT, self.answer.chunk()).await;
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
