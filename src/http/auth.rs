//! Authenticates the client of a request before the body is read.
//!
//! Without a valid credential, every path except the open ones gets 401, even an unknown path. The
//! response therefore reveals no paths, and a client that forgot its key learns this at once.

mod credentials;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Uri;

pub(super) use self::credentials::X_API_KEY;
use super::operations::OperationRun;
use super::peer::peer_of;
use super::problem::Problem;
use super::state::AppState;
use super::{health, paths};
use crate::app::{AuthFailure, ClientRegistry, PresentedCredentials};
use crate::domain::Client;
use crate::error::{Error, ErrorCode};

/// Paths that need no credential. For `/readyz` this covers only the response without checks.
const OPEN_PATHS: [&str; 9] = [
    paths::ROOT,
    paths::LIVEZ,
    paths::READYZ,
    paths::OPENAPI_YAML,
    paths::OPENAPI_JSON,
    paths::DOCS,
    paths::DOCS_FILE,
    paths::PROBLEM,
    paths::RUNBOOK,
];

/// The client of a request, and the refusal if the request is not allowed. An extension of the request.
#[derive(Clone, Debug)]
pub(super) struct RequestAuthentication {
    pub client: Arc<Client>,
    pub refusal: Option<Problem>,
}

/// The fallback for a request that was not authenticated: anonymous and refused.
impl Default for RequestAuthentication {
    fn default() -> Self {
        Self::refused("the request was not authenticated")
    }
}

/// Identifies the client and adds a [`RequestAuthentication`] to the extensions of the request.
pub(super) async fn identify(State(state): State<AppState>, mut request: Request) -> Request {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let pattern = route.as_ref().map(MatchedPath::as_str);
    let authentication =
        RequestAuthentication::from_request(state.app.callers(), &request, pattern);
    request.extensions_mut().insert(authentication);
    request
}

/// Refuses a request if [`identify`] found no client, or if the client exceeds its rate limit.
pub(super) async fn require(request: Request) -> Result<Request, Problem> {
    match request.extensions().get::<RequestAuthentication>().cloned().unwrap_or_default().refusal {
        Some(refusal) => Err(refusal),
        None => Ok(request),
    }
}

impl RequestAuthentication {
    pub(super) fn from_request(
        client_registry: &ClientRegistry,
        request: &Request,
        route: Option<&str>,
    ) -> Self {
        if let Some(run) = request.extensions().get::<OperationRun>()
            && let Some(client) = &run.client
        {
            return Self::granted(Arc::clone(client));
        }
        let Some(client_table) = client_registry.table() else {
            return Self::granted(Client::anonymous());
        };
        if is_open(route, request.uri()) {
            return Self::granted(Client::anonymous());
        }
        let presented = match credentials::from_headers(request.headers()) {
            Ok(keys) => {
                let peer = peer_of(request).and_then(|peer| peer.certificate.as_ref());
                PresentedCredentials { keys, certificate: peer.map(|subject| &**subject) }
            }
            Err(malformed) => return Self::refused(&malformed.to_string()),
        };
        let known = match client_table.authenticate(&presented) {
            Ok(known) => known,
            Err(auth_failure) => return Self::refused(&describe(auth_failure, &presented)),
        };
        let client = known.client();
        let counts = paths::is_api(request.uri().path());
        let wait = if counts { client_registry.check_rate(known).err() } else { None };
        let refusal = wait.zip(client.requests_per_minute).map(|(retry_after, number)| {
            let per_minute = number.get();
            Error::ClientRateLimited { per_minute, retry_after }.into()
        });
        Self { client, refusal }
    }

    fn granted(client: Arc<Client>) -> Self {
        Self { client, refusal: None }
    }

    fn refused(why: &str) -> Self {
        let refusal = Some(Problem::new(ErrorCode::Unauthenticated, why));
        Self { client: Client::anonymous(), refusal }
    }
}

fn is_open(route: Option<&str>, uri: &Uri) -> bool {
    route.is_some_and(|route| {
        is_open_path(route) && !(is_half_open(route) && health::wants_checks(uri.query()))
    })
}

pub(super) fn is_open_path(route: &str) -> bool {
    OPEN_PATHS.contains(&route)
}

/// Whether this open route needs a credential for details that are meant for operators.
pub(super) fn is_half_open(route: &str) -> bool {
    route == paths::READYZ
}

/// Explains an authentication failure. The text shows a certificate subject in the form that the
/// configuration needs, since every program prints subjects differently. The client knows its subject.
fn describe(failure: AuthFailure, presented: &PresentedCredentials<'_>) -> Cow<'static, str> {
    let text = match (failure, presented.certificate) {
        (AuthFailure::Unknown, Some(subject)) if presented.keys.is_empty() => {
            return format!("no client is configured with the certificate subject {subject:?}")
                .into();
        }
        (AuthFailure::Nothing, _) => "the request shows no credential",
        (AuthFailure::Unknown, _) => "the credential does not belong to a known client",
        (AuthFailure::Contradicting, _) => "the credentials contradict each other; send one",
        (AuthFailure::WithoutCertificate, _) => {
            "this client must present its certificate as well as its key"
        }
        (AuthFailure::WithoutKey, _) => "this client must present a key as well as its certificate",
    };
    text.into()
}
