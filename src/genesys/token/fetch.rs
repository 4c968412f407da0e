//! Fetches a token, and classifies failures.
//!
//! The endpoint answers with the error format of OAuth, and not with that of the API. The status of
//! `invalid_client` is not documented: both 400 and 401 occur. So the JSON decides.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::ClientCredentials;
use crate::genesys::error::{TokenFailure, UpstreamError, retry_after};
use crate::genesys::layers::{CallMetadata, PermitSlot, UnusableToken};
use crate::genesys::transport::HttpTransport;
use crate::genesys::wire::{TokenBody, TokenErrorBody, without_secrets};
use crate::ports::{PlatformOperation, PriorityClass, RequestContext};

/// Path of the token endpoint on the login host.
const TOKEN_PATH: &str = "/oauth/token";
/// The text of a throttled token endpoint, in a 400 with `invalid_request`. Source: the retry of the
/// vendor's Terraform provider.
const THROTTLED: &str = "rate limit exceeded";

/// The assumed lifetime if the answer states none: the shortest that an OAuth client can have, by the
/// models of the Python SDK 269. A token with a longer lifetime is merely renewed early.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

/// The longest lifetime that an OAuth client can have, by the same models. Longer ones are cut to it:
/// an instant too far in the future cannot be represented.
const MAX_LIFETIME: Duration = Duration::from_hours(48);

/// Fetches tokens.
pub struct TokenFetcher {
    pub credentials: ClientCredentials,
    pub stack: HttpTransport,
    pub timeout: Duration,
    /// Host of the token endpoint, for messages.
    pub host: String,
}

/// A fetched token.
pub struct TokenGrant {
    pub header: HeaderValue,
    pub lifetime: Duration,
}

/// Why a fetch failed, and the `Retry-After` of the answer.
pub struct FetchFailure {
    pub failure: TokenFailure,
    pub retry_after: Option<Duration>,
}

impl TokenFetcher {
    /// Fetches a token.
    pub async fn run(&self) -> Result<TokenGrant, FetchFailure> {
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
        if !answer.status().is_success() {
            return Err(self.refusal(&answer));
        }
        token(&answer).map_err(|what| {
            let text = format!("`{}` answered {}", self.host, self.clean(&what));
            FetchFailure { failure: TokenFailure::Invalid(text), retry_after: None }
        })
    }

    /// Removes the credentials that we sent from a text. Clients see the text.
    fn clean(&self, text: &str) -> String {
        let secrets = [self.credentials.client_secret.expose_secret(), &self.basic()];
        without_secrets(text, &secrets)
    }

    /// Reads the secret again, if it came from a file. The next fetch uses a rotated secret.
    pub async fn reload_secret(&mut self) {
        let Some(source) = self.credentials.secret_source.clone() else {
            return;
        };
        match tokio::task::spawn_blocking(move || source.read()).await {
            Ok(Ok(secret)) => {
                if secret.expose_secret() != self.credentials.client_secret.expose_secret() {
                    tracing::info!(
                        "the file of the client secret has changed: the new secret is used"
                    );
                    self.credentials.client_secret = secret;
                }
            }
            Ok(Err(reason)) => tracing::warn!(
                reason,
                "the file of the client secret cannot be used: the previous secret stays in force"
            ),
            // The runtime shuts down.
            Err(_) => {}
        }
    }

    /// Id and secret in the encoding of HTTP Basic.
    fn basic(&self) -> String {
        let ClientCredentials { client_id, client_secret, .. } = &self.credentials;
        STANDARD.encode(format!("{client_id}:{}", client_secret.expose_secret()))
    }

    fn refusal(&self, answer: &Response<Bytes>) -> FetchFailure {
        let status = answer.status();
        let body: TokenErrorBody = serde_json::from_slice(answer.body()).unwrap_or_default();
        let is_oauth = serde_json::from_slice::<Value>(answer.body())
            .is_ok_and(|body| body.get("error").is_some());
        let text = body.error_description.or(body.description);
        let text = self.clean(&text.unwrap_or_default());
        let throttled = status.as_u16() == 429
            || (status.as_u16() == 400 && text.to_ascii_lowercase().starts_with(THROTTLED));
        let failure = if throttled {
            TokenFailure::Throttled { retry_after: Duration::ZERO }
        } else if status.is_server_error() || status.as_u16() == 408 {
            unavailable(format!("it answered {}", status.as_u16()))
        } else if is_oauth {
            let error = body.error.map(|error| format!(" `{}`", self.clean(&error)));
            let text = if text.is_empty() { text } else { format!(": {text}") };
            TokenFailure::Refused(format!(
                "the token endpoint answered {}{}{text}",
                status.as_u16(),
                error.unwrap_or_default()
            ))
        } else {
            // A page of a proxy or another host says nothing about the credentials.
            TokenFailure::Invalid(format!(
                "`{}` answered {}, which is not an answer of a token endpoint: check \
                 genesys.environment, genesys.login_url and any proxy",
                self.host,
                self.clean(&described(answer))
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
        request.extensions_mut().insert(CallMetadata {
            operation: PlatformOperation::Token,
            conversation: None,
            context: RequestContext::new(Instant::now() + self.timeout),
            retries: false,
            again: false,
            // Neither has an effect: fetching a token does not use the call budget.
            class: PriorityClass::Committed,
            permit: PermitSlot::default(),
            attempt: None,
        });
        request
    }
}

fn unavailable(reason: String) -> TokenFailure {
    TokenFailure::Unavailable { reason, retry_after: Duration::ZERO }
}

/// The status and content type of an answer.
fn described(answer: &Response<Bytes>) -> String {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    let kind = kind.map_or_else(|| "no content type".to_owned(), |kind| format!("`{kind}`"));
    format!("{} with {kind}", answer.status().as_u16())
}

/// The token of a successful answer, or the status and what is wrong with the answer.
fn token(answer: &Response<Bytes>) -> Result<TokenGrant, String> {
    let status = answer.status().as_u16();
    let body: TokenBody = serde_json::from_slice(answer.body())
        .map_err(|_| format!("{}, whose body is not the JSON of a token", described(answer)))?;
    let Some(token) = body.access_token.as_str().filter(|token| !token.trim().is_empty()) else {
        return Err(format!("{status} without a text in `access_token`"));
    };
    let lifetime = lifetime(&body.expires_in).ok_or_else(|| {
        format!("{status} with an `expires_in` that is not a number of seconds above 0")
    })?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| format!("{status} with an `access_token` that cannot be sent in a header"))?;
    header.set_sensitive(true);
    Ok(TokenGrant { header, lifetime })
}

/// Parses a lifetime of at least a second, in whole seconds.
fn lifetime(expires_in: &Value) -> Option<Duration> {
    let seconds = match expires_in {
        Value::Null => return Some(DEFAULT_LIFETIME),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }?;
    let longest = MAX_LIFETIME.as_secs_f64();
    (seconds >= 1.0).then(|| Duration::from_secs_f64(seconds.floor().min(longest)))
}

/// Marks successful answers without a usable token, so that metrics and throttle count them as
/// failures.
pub fn mark_unusable(inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let inner = inner.clone();
        async move {
            let mut answer = inner.exchange(request).await?;
            if answer.status().is_success() && token(&answer).is_err() {
                answer.extensions_mut().insert(UnusableToken);
            }
            Ok(answer)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn token_lifetimes_have_several_formats() {
        let day = Some(Duration::from_hours(24));
        for value in [json!(86_400), json!("86400"), json!(86_400.5), json!(" 86400.5 ")] {
            assert_eq!(lifetime(&value), day, "{value}");
        }
        assert_eq!(lifetime(&Value::Null), Some(DEFAULT_LIFETIME));
        for value in [json!(u64::MAX), json!(1e300), json!("inf")] {
            assert_eq!(lifetime(&value), Some(MAX_LIFETIME), "{value}");
        }
        let dead = [json!(0), json!(-5), json!(0.5), json!("soon"), json!(""), json!("NaN")];
        for value in dead.into_iter().chain([json!(true), json!([300]), json!({})]) {
            assert_eq!(lifetime(&value), None, "{value}");
        }
    }
}
