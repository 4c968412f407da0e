//! Fetches a token, and classifies failures.
//!
//! The endpoint answers with the error format of OAuth, and not with that of the API. The status of
//! `invalid_client` is not documented: both 400 and 401 occur. So the JSON decides.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{ClientCredentials, TokenSettings};
use crate::genesys::error::{ResultTraits, TokenFailure, UpstreamError, retry_after};
use crate::genesys::layers::{ApiRequest, ApiService, CallMetadata};
use crate::genesys::transport::ExchangeResult;
use crate::genesys::wire::{code, without_secrets};
use crate::ports::{PlatformOperation, RequestContext};

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

/// The body of a successful answer. Source: `AuthResponse` of the SDK templates.
#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    access_token: Value,
    /// Lifetime in seconds: 300 to 172,800, a setting of the OAuth client. Some hosts send a string,
    /// a fraction, or nothing.
    #[serde(default)]
    expires_in: Value,
}

/// The body of an error: the format of OAuth, with a second name for the text.
#[derive(Default, Deserialize)]
struct TokenErrorBody {
    error: Option<Value>,
    error_description: Option<String>,
    description: Option<String>,
}

pub struct TokenFetcher {
    pub credentials: ClientCredentials,
    pub settings: TokenSettings,
    pub stack: ApiService,
}

/// A token as a header, and its lifetime.
pub type TokenGrant = (HeaderValue, Duration);

/// Why a fetch failed, and the `Retry-After` of the answer.
pub type FetchFailure = (TokenFailure, Option<Duration>);

impl TokenFetcher {
    pub async fn run(&self) -> Result<TokenGrant, FetchFailure> {
        let answer = self.stack.exchange(self.request()).await;
        let is_transient = ResultTraits::of(&answer).is_transient;
        Err(match answer {
            Ok(answer) => match token(&answer) {
                Ok(grant) if answer.status().is_success() => return Ok(grant),
                _ => (self.refusal(&answer), retry_after(answer.headers())),
            },
            Err(UpstreamError::UnusableAnswer(what)) => {
                let (host, what) = (&self.settings.login_host, self.clean(&what));
                (TokenFailure::Invalid(format!("`{host}` answered {what}")), None)
            }
            Err(UpstreamError::InTrouble { retry_after }) => {
                let error = UpstreamError::InTrouble { retry_after };
                (TokenFailure::Unavailable(error.to_string()), Some(retry_after))
            }
            Err(error) if is_transient => (TokenFailure::Unavailable(error.to_string()), None),
            Err(error) => (TokenFailure::Invalid(error.to_string()), None),
        })
    }

    /// A text of the endpoint without the credentials that we sent. Clients see the text.
    fn clean(&self, text: &str) -> String {
        let secrets = [self.credentials.client_secret.expose_secret(), &self.basic()];
        without_secrets(text, &secrets)
    }

    /// Reads the secret again, if it came from a file. The next fetch uses a rotated secret.
    pub async fn reload_secret(&mut self) {
        let Some(source) = self.credentials.secret_source.clone() else { return };
        // An error means that the runtime shuts down.
        let Ok(secret) = tokio::task::spawn_blocking(move || source()).await else { return };
        let current = &mut self.credentials.client_secret;
        match secret {
            Ok(secret) if secret.expose_secret() == current.expose_secret() => {}
            Ok(secret) => {
                tracing::info!("the file of the client secret has changed: the new secret is used");
                *current = secret;
            }
            Err(reason) => tracing::warn!(
                reason,
                "the file of the client secret cannot be used: the previous secret stays in force"
            ),
        }
    }

    fn basic(&self) -> String {
        let ClientCredentials { client_id, client_secret, .. } = &self.credentials;
        STANDARD.encode(format!("{client_id}:{}", client_secret.expose_secret()))
    }

    fn refusal(&self, answer: &Response<Bytes>) -> TokenFailure {
        let status = answer.status();
        let body: TokenErrorBody = serde_json::from_slice(answer.body()).unwrap_or_default();
        let text = body.error_description.or(body.description);
        let text = self.clean(&text.unwrap_or_default());
        let throttled = status.as_u16() == 429
            || (status.as_u16() == 400 && text.to_ascii_lowercase().starts_with(THROTTLED));
        if throttled {
            TokenFailure::Throttled
        } else if status.is_server_error() || status.as_u16() == 408 {
            TokenFailure::Unavailable(format!("it answered {}", status.as_u16()))
        } else if let Some(error) = body.error {
            let code = error.as_str().and_then(code).map(|code| format!(" `{}`", self.clean(code)));
            let text = if text.is_empty() { text } else { format!(": {text}") };
            TokenFailure::Refused(format!(
                "the token endpoint answered {}{}{text}",
                status.as_u16(),
                code.unwrap_or_default()
            ))
        } else {
            // A page of a proxy or another host says nothing about the credentials.
            TokenFailure::Invalid(format!(
                "`{}` answered {}, which is not an answer of a token endpoint: check \
                 genesys.environment, genesys.login_url and any proxy",
                self.settings.login_host,
                self.clean(&described(answer))
            ))
        }
    }

    fn request(&self) -> ApiRequest {
        let mut basic = HeaderValue::try_from(format!("Basic {}", self.basic()))
            .expect("base64 consists of header characters");
        basic.set_sensitive(true);
        let context = RequestContext::new(Instant::now() + self.settings.attempt_timeout);
        ApiRequest {
            method: Method::POST,
            path: TOKEN_PATH.into(),
            content_type: HeaderValue::from_static("application/x-www-form-urlencoded"),
            authorization: Some(basic),
            body: Bytes::from_static(b"grant_type=client_credentials"),
            call: CallMetadata::new(PlatformOperation::Token, context),
        }
    }
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
    Ok((header, lifetime))
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

/// Refuses successful answers without a usable token, so that metrics and throttle count them as
/// failures.
pub async fn check((): (), request: ApiRequest, next: ApiService) -> ExchangeResult {
    let answer = next.exchange(request).await?;
    if answer.status().is_success() {
        token(&answer).map_err(UpstreamError::UnusableAnswer)?;
    }
    Ok(answer)
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
