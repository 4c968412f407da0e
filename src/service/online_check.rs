//! What a set of credentials is good for, found out by one call of each kind that changes nothing.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::upstream::{Upstream, UpstreamParts};
use crate::config::{self, Config};
use crate::domain::ConversationFilter;
use crate::error::{Code, Error};
use crate::genesys::Jitter;
use crate::http::paths;
use crate::ports::{Class, Conversations as _, Cycle, FindCall, Meter, ReadCall};
use crate::telemetry::Metrics;

/// The id of no conversation.
const NO_CONVERSATION: &str = "00000000-0000-4000-8000-000000000000";

/// What worked, and what did not.
pub struct OnlineCheck {
    /// Whether conversations can be read: asked for one that does not exist.
    pub read: Result<(), CheckFailure>,
    /// Whether live conversations can be listed by the analytics details query.
    pub list: Result<(), CheckFailure>,
}

/// Why a call failed, and what an operator can do. Displayed with both.
#[derive(Debug)]
pub struct CheckFailure {
    error: Error,
    hint: String,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.error, self.hint)
    }
}

impl std::error::Error for CheckFailure {}

/// Fetches a token, reads a conversation that does not exist, and asks for the first page of the list.
///
/// # Errors
/// If TLS cannot be set up, or there is no token.
///
/// # Panics
/// Never: the id of that conversation is a UUID.
pub async fn online_check(
    config: &Config,
    credentials: &config::Credentials,
) -> anyhow::Result<OnlineCheck> {
    let transport = super::transport(config)?;
    let (jitter, stop) = (Jitter::random(), CancellationToken::new());
    let meter: Arc<dyn Meter> = Arc::new(Metrics::new(paths::ALL));
    let _ends = stop.clone().drop_guard();
    let parts = UpstreamParts { transport, jitter, meter, stop };
    let upstream = Upstream::connect(config, credentials, parts);
    let cycle = || Cycle::new(Instant::now() + config.server.deadline);
    let token = upstream.tokens.get(cycle().deadline()).await;
    let (api, login) = (config.genesys.api_base(), config.genesys.login_base());
    token.map_err(|error| failure(error.into_error(false), login.as_str()))?;
    let call = ReadCall {
        conversation: NO_CONVERSATION.parse().expect("a UUID"),
        participant: NO_CONVERSATION.parse().ok(),
        retries: true,
        permit: None,
        class: Class::Read,
    };
    let read = match upstream.client.read(call, &cycle()).await {
        Ok(_) | Err(Error::ConversationNotFound(_)) => Ok(()),
        Err(error) => Err(failure(error, api.as_str())),
    };
    let filter = ConversationFilter::default();
    let list = upstream.client.find(FindCall { filter: &filter, page: 1 }, &cycle()).await;
    Ok(OnlineCheck { read, list: list.map(drop).map_err(|error| failure(error, api.as_str())) })
}

fn failure(error: Error, host: &str) -> CheckFailure {
    let hint = match error.code() {
        Code::UpstreamAuthFailed => format!(
            "Check the client id and the client secret, and that the OAuth client belongs to the \
             organisation behind {host}. GENESYS_ENVIRONMENT selects that host"
        ),
        Code::UpstreamForbidden => "Add the permission to a role of the OAuth client (Admin > \
             Integrations > OAuth > Roles), in all divisions of the conversations"
            .to_owned(),
        Code::UpstreamUnavailable | Code::DeadlineExceeded => format!(
            "Check that this machine reaches {host}: name resolution, firewall, genesys.proxy and \
             genesys.ca_file. Then see the status page of Genesys Cloud"
        ),
        Code::UpstreamRateLimited => {
            "Other programs use up the calls of this OAuth client. Wait a \
             minute, or create an OAuth client for the gateway alone"
                .to_owned()
        }
        Code::UpstreamInvalidResponse => format!(
            "Check that Genesys Cloud itself answers at {host}: look at genesys.api_url, \
             genesys.login_url and the proxies in between"
        ),
        _ => format!("Check genesys.route and genesys.api_url; the call went to {host}"),
    };
    CheckFailure { error, hint }
}
