//! Checks the credentials online, with one harmless call of each kind.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::upstream::{UpstreamParts, UpstreamSide};
use crate::config::{self, Config};
use crate::domain::ConversationFilter;
use crate::error::{Error, ErrorCode};
use crate::genesys::{HttpTransport, JitterSource, UpstreamError};
use crate::http::paths;
use crate::ports::{
    ConversationsPort as _, MetricsRecorder, PriorityClass, RequestContext, UpstreamQuery,
    UpstreamRead,
};
use crate::telemetry::ServiceMetrics;

/// An id that no conversation has.
const NO_CONVERSATION: &str = "00000000-0000-4000-8000-000000000000";

/// The results of the calls.
pub struct OnlineCheck {
    /// Whether conversations can be read. The call asks for one that does not exist.
    pub read: Result<(), CheckFailure>,
    /// Whether live conversations can be listed by the analytics details query.
    pub list: Result<(), CheckFailure>,
}

/// Why a call failed, and what the operator can do. `Display` shows both.
#[derive(Debug)]
pub struct CheckFailure {
    error: Error,
    hint: String,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of Genesys Cloud mostly end with a full stop of their own.
        let error = self.error.to_string();
        write!(f, "{}. {}", error.trim_end_matches('.'), self.hint)
    }
}

impl std::error::Error for CheckFailure {}

/// Fetches a token, reads a conversation that does not exist, and fetches the first page of the list.
///
/// # Panics
/// Never: the id of that conversation is a UUID.
pub async fn online_check(
    config: &Config,
    credentials: &config::OauthCredentials,
) -> anyhow::Result<OnlineCheck> {
    let transport = platform_only(super::transport(config)?);
    let (jitter, stop) = (JitterSource::random(), CancellationToken::new());
    let recorder: Arc<dyn MetricsRecorder> = Arc::new(ServiceMetrics::new(paths::ALL));
    let _ends = stop.clone().drop_guard();
    let parts = UpstreamParts { transport, jitter, recorder, stop };
    let upstream = UpstreamSide::connect(config, credentials, None, parts);
    let context = || RequestContext::new(Instant::now() + config.server.deadline);
    let token = upstream.tokens.get(context().deadline()).await;
    let (api, login) = (config.genesys.api_base(), config.genesys.login_base());
    token.map_err(|error| failure(error.into_error(false), login.as_str()))?;
    let call = UpstreamRead {
        conversation: NO_CONVERSATION.parse().expect("a UUID"),
        participant: NO_CONVERSATION.parse().ok(),
        retries: true,
        permit: None,
        class: PriorityClass::Read,
    };
    let read = match upstream.client.read(call, &context()).await {
        Ok(_) | Err(Error::ConversationNotFound(_)) => Ok(()),
        Err(error) => Err(failure(error, api.as_str())),
    };
    let filter = ConversationFilter::default();
    let list = upstream.client.find(UpstreamQuery { filter: &filter, page: 1 }, &context()).await;
    Ok(OnlineCheck { read, list: list.map(drop).map_err(|error| failure(error, api.as_str())) })
}

/// A transport that takes a 404 for unusable, unless the platform API itself sent it. The server of a
/// wrong address answers 404, too.
fn platform_only(transport: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request| {
        let answer = transport.exchange(request);
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::NOT_FOUND && !is_platform_error(answer.body()) {
                return Err(UpstreamError::UnusableAnswer(
                    "a 404 without an error code: the address does not look like the platform API"
                        .to_owned(),
                ));
            }
            Ok(answer)
        }
    })
}

/// Whether the body is an error of Genesys Cloud, which has a code such as `not.found`.
fn is_platform_error(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["code"].as_str().is_some_and(|code| code.contains('.'))
}

fn failure(error: Error, host: &str) -> CheckFailure {
    let hint = match error.code() {
        ErrorCode::UpstreamAuthFailed => format!(
            "Check the client id and the client secret, and that the OAuth client belongs to the \
             organisation behind {host}. GENESYS_ENVIRONMENT selects that host"
        ),
        ErrorCode::UpstreamForbidden => {
            "Add the permission to a role of the OAuth client (Admin > \
             Integrations > OAuth > Roles), in all divisions of the conversations"
                .to_owned()
        }
        ErrorCode::UpstreamUnavailable | ErrorCode::DeadlineExceeded => format!(
            "Check that this machine reaches {host}: name resolution, firewall, genesys.proxy and \
             genesys.ca_file. Then see the status page of Genesys Cloud"
        ),
        ErrorCode::UpstreamRateLimited => {
            "Other programs use up the calls of this OAuth client. Wait a \
             minute, or create an OAuth client for the gateway only"
                .to_owned()
        }
        ErrorCode::UpstreamInvalidResponse => format!(
            "Check that Genesys Cloud itself answers at {host}: see genesys.api_url, \
             genesys.login_url and the proxies in between"
        ),
        _ => format!("Check genesys.route and genesys.api_url; the call went to {host}"),
    };
    CheckFailure { error, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_error_of_the_platform_proves_an_address() {
        assert!(is_platform_error(br#"{"message":"no","code":"not.found","status":404}"#));
        for other in ["<html>404</html>", "", "{}", "[]", r#"{"code":404}"#, r#"{"code":"none"}"#] {
            assert!(!is_platform_error(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_message_that_ends_with_a_full_stop_gets_no_second_one() {
        for message in ["no such thing.", "no such thing"] {
            let error = Error::UpstreamAuthFailed(message.to_owned());
            let shown = failure(error, "https://api.example").to_string();
            assert!(shown.contains("no such thing. Check the client id"), "{shown}");
        }
    }
}
