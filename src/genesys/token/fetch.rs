//! One fetch of a token, and what its failure means.
//!
//! The endpoint answers in OAuth's form, not in that of the API. The status of `invalid_client` is
//! not documented (400 and 401 were both seen), so the JSON decides.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::Credentials;
use crate::genesys::error::{TokenFailure, UpstreamError, retry_after};
use crate::genesys::layers::{Call, HeldPermit};
use crate::genesys::transport::Transport;
use crate::genesys::wire::{TokenBody, TokenErrorBody, without_secrets};
use crate::ports::{Class, Cycle, Operation};

/// Path of the token endpoint on the login host.
const TOKEN_PATH: &str = "/oauth/token";
/// How the token endpoint words its throttling, a 400 with `invalid_request`. Source: the retry of
/// the vendor's Terraform provider.
const THROTTLED: &str = "rate limit exceeded";

/// The longest life that a client's tokens can be given, by the models of the Python SDK 269. More
/// than that is a mistake, and an instant that lies too far ahead cannot be told.
const LONGEST_LIFE: Duration = Duration::from_hours(48);

/// Fetches tokens.
pub struct Fetch {
    pub credentials: Credentials,
    pub stack: Transport,
    pub timeout: Duration,
}

/// A token as fetched.
pub struct Fetched {
    pub header: HeaderValue,
    pub lifetime: Duration,
}

/// Why there is none, and when upstream wants to be asked again.
pub struct FetchFailure {
    pub failure: TokenFailure,
    pub retry_after: Option<Duration>,
}

impl Fetch {
    /// Fetches a token.
    pub async fn run(&self) -> Result<Fetched, FetchFailure> {
        let answer = self.stack.clone().oneshot(self.request()).await;
        let answer = answer.map_err(|error| FetchFailure {
            retry_after: match error {
                UpstreamError::InTrouble { retry_after } => Some(retry_after),
                _ => None,
            },
            failure: if error.is_transient() || matches!(error, UpstreamError::InTrouble { .. }) {
                unavailable(error.to_string())
            } else {
                TokenFailure::Invalid(error.to_string())
            },
        })?;
        if answer.status().is_success() { token(answer.body()) } else { Err(self.refusal(&answer)) }
    }

    /// Id and secret, as HTTP Basic sends them.
    fn basic(&self) -> String {
        let Credentials { client_id, client_secret } = &self.credentials;
        STANDARD.encode(format!("{client_id}:{}", client_secret.expose_secret()))
    }

    fn refusal(&self, answer: &Response<Bytes>) -> FetchFailure {
        let status = answer.status();
        let body: TokenErrorBody = serde_json::from_slice(answer.body()).unwrap_or_default();
        // Whoever answers may repeat what it was sent, and this text is shown to callers.
        let secrets = [self.credentials.client_secret.expose_secret(), &self.basic()];
        let clean = |text: String| without_secrets(&text, &secrets);
        let text = clean(body.error_description.or(body.description).unwrap_or_default());
        let throttled = status.as_u16() == 429
            || (status.as_u16() == 400 && text.to_ascii_lowercase().starts_with(THROTTLED));
        let failure = if throttled {
            TokenFailure::Throttled { retry_after: Duration::ZERO }
        } else if status.is_server_error() || status.as_u16() == 408 {
            unavailable(format!("it answered {}", status.as_u16()))
        } else {
            let error = body.error.map(|error| format!(" `{}`", clean(error))).unwrap_or_default();
            let text = if text.is_empty() { text } else { format!(": {text}") };
            TokenFailure::Refused(format!(
                "the token endpoint answered {}{error}{text}",
                status.as_u16()
            ))
        };
        FetchFailure { failure, retry_after: retry_after(answer.headers()) }
    }

    fn request(&self) -> Request<Bytes> {
        let mut basic = HeaderValue::try_from(format!("Basic {}", self.basic()))
            .expect("base64 consists of header characters");
        basic.set_sensitive(true);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = Request::new(Bytes::from_static(b"grant_type=client_credentials"));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(TOKEN_PATH);
        request.headers_mut().insert(header::AUTHORIZATION, basic);
        request.headers_mut().insert(header::CONTENT_TYPE, form);
        request.extensions_mut().insert(Call {
            operation: Operation::Token,
            conversation: None,
            cycle: Cycle::new(Instant::now() + self.timeout),
            retries: false,
            again: false,
            // Neither matters: a token spends none of the API's budget.
            class: Class::Admitted,
            permit: HeldPermit::default(),
            attempt: None,
        });
        request
    }
}

fn unavailable(reason: String) -> TokenFailure {
    TokenFailure::Unavailable { reason, retry_after: Duration::ZERO }
}

fn token(body: &[u8]) -> Result<Fetched, FetchFailure> {
    let invalid = |what: &str| FetchFailure {
        failure: TokenFailure::Invalid(what.to_owned()),
        retry_after: None,
    };
    let body: TokenBody = serde_json::from_slice(body)
        .map_err(|_| invalid("something that is not a token with a life in seconds"))?;
    if body.access_token.trim().is_empty() {
        return Err(invalid("a token that is empty"));
    }
    if body.expires_in == 0 {
        return Err(invalid("a token that is dead already (`expires_in` is 0)"));
    }
    let header = HeaderValue::try_from(format!("Bearer {}", body.access_token));
    let mut header = header.map_err(|_| invalid("a token that cannot be sent in a header"))?;
    header.set_sensitive(true);
    Ok(Fetched { header, lifetime: Duration::from_secs(body.expires_in).min(LONGEST_LIFE) })
}
