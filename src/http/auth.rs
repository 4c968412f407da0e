//! Who makes a request: found out in front of everything but the open paths, before a body is read.
//!
//! Without a credential every path that is not open is a 401, also one that there is not: so nobody
//! learns which there are, and whoever forgot the key is told that, and not sent looking for a typo.

mod credentials;

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::Response;

use self::credentials::MalformedCredentials;
pub(super) use self::credentials::X_API_KEY;
use super::peer::{CertificateSubject, peer_of};
use super::problem::Problem;
use super::state::AppState;
use super::{health, paths};
use crate::app::{AuthFailure, ClientRegistry, PresentedCredentials};
use crate::domain::Client;
use crate::error::{Error, ErrorCode, RequestFailure};

/// Paths that need no credential; of readiness, the plain answer alone.
const OPEN: [&str; 8] = [
    paths::ROOT,
    paths::LIVEZ,
    paths::READYZ,
    paths::OPENAPI_YAML,
    paths::OPENAPI_JSON,
    paths::DOCS,
    paths::DOCS_FILE,
    paths::PROBLEM,
];

/// Which client makes a request, and why the request is refused, if it is. An extension of the request.
#[derive(Clone, Debug)]
pub(super) struct RequestAuthentication {
    pub client: Arc<Client>,
    pub refusal: Option<Problem>,
}

/// Without a judgement, the client is anonymous and refused.
impl Default for RequestAuthentication {
    fn default() -> Self {
        Self::refused("the request was not authenticated")
    }
}

/// Identifies the client, and puts the [`RequestAuthentication`] into the extensions of the request.
pub(super) async fn identify(State(state): State<AppState>, mut request: Request) -> Request {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let pattern = route.as_ref().map(MatchedPath::as_str);
    let recognition = RequestAuthentication::from_request(state.app.callers(), &request, pattern);
    request.extensions_mut().insert(recognition);
    request
}

/// Refuses a request that [`identify`] found no client for, or whose client is over its own rate.
pub(super) async fn require(request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<RequestAuthentication>().cloned().unwrap_or_default().refusal {
        Some(refusal) => Err(refusal),
        None => Ok(next.run(request).await),
    }
}

impl RequestAuthentication {
    /// Judges a request that matches this pattern. Costs nothing where anybody may call.
    pub(super) fn from_request(
        client_registry: &ClientRegistry,
        request: &Request,
        route: Option<&str>,
    ) -> Self {
        let Some(client_table) = client_registry.table() else {
            return Self::granted(Client::anonymous());
        };
        if is_open(route, request.uri()) {
            return Self::granted(Client::anonymous());
        }
        let shown = match credentials::from_headers(request.headers()) {
            Ok(keys) => {
                let peer = peer_of(request).and_then(|peer| peer.certificate.as_ref());
                PresentedCredentials { keys, certificate: peer.map(CertificateSubject::as_str) }
            }
            Err(unusable) => return Self::refused(unusable.describe()),
        };
        let known = match client_table.authenticate(&shown) {
            Ok(known) => known,
            Err(auth_failure) => return Self::refused(&describe(auth_failure, &shown)),
        };
        let client = known.client();
        let counts = paths::is_api(request.uri().path());
        let wait = if counts { client_registry.check_rate(known).err() } else { None };
        let refusal = wait.zip(client.requests_per_minute).map(|(retry_after, number)| {
            let per_minute = number.get();
            RequestFailure::harmless(Error::ClientRateLimited { per_minute, retry_after }).into()
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

/// Whether this pattern needs no credential.
pub(super) fn is_open_path(route: &str) -> bool {
    OPEN.contains(&route)
}

/// Whether it needs one for what only operators should know.
pub(super) fn is_half_open(route: &str) -> bool {
    route == paths::READYZ
}

/// Why nobody is known by what was shown. A subject is told as it would have to stand in the
/// configuration, since every program prints it in another form; its bearer knows it anyway.
fn describe(auth_failure: AuthFailure, shown: &PresentedCredentials<'_>) -> Cow<'static, str> {
    match (auth_failure, shown.certificate) {
        (AuthFailure::Nothing, _) => "the request shows no credential".into(),
        (AuthFailure::Unknown, Some(subject)) if shown.keys.is_empty() => {
            format!("no caller is known by a certificate of the subject {subject:?}").into()
        }
        (AuthFailure::Unknown, _) => "the credential is none of a known caller".into(),
        (AuthFailure::Contradicting, _) => "the credentials contradict each other; send one".into(),
        (AuthFailure::WithoutCertificate, _) => {
            "this caller has to show its client certificate as well as its key".into()
        }
        (AuthFailure::WithoutKey, _) => {
            "this caller has to show a key as well as its client certificate".into()
        }
    }
}

impl MalformedCredentials {
    const fn describe(self) -> &'static str {
        match self {
            Self::Scheme => "the scheme of the Authorization header is neither Bearer nor Basic",
            Self::Empty => "the key is empty",
            Self::Basic => "what follows Basic is not the base64 of `name:key`",
        }
    }
}
