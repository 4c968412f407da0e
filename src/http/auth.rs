//! Authenticates the client of a request before the body is read.
//!
//! Without a valid credential, every path except the open ones gets 401, even an unknown path. The
//! response therefore reveals no paths, and a client that forgot its key learns this at once.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::operations::OperationRun;
use super::peer::peer_of;
use super::problem::Problem;
use super::state::AppState;
use super::{health, paths};
use crate::app::{AuthFailure, ClientRegistry, PresentedCredentials, key_digest};
use crate::domain::{Client, KeyDigest};
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
        let presented = match keys_in(request.headers()) {
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

pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum MalformedCredentials {
    #[error("the scheme of the Authorization header is neither Bearer nor Basic")]
    Scheme,
    #[error("the key is empty")]
    Empty,
    #[error("the text after Basic is not the base64 encoding of `name:key`")]
    Basic,
}

/// The digest of a key, and the name that came with it.
type HeaderKey = (KeyDigest, Option<String>);

/// Every key in the headers, as a digest. A header without the key that it should have is an error even
/// next to a valid one, since it is unclear which one the client meant.
fn keys_in(headers: &HeaderMap) -> Result<Vec<HeaderKey>, MalformedCredentials> {
    let authorized = headers.get_all(AUTHORIZATION).iter().map(|value| scheme(value.as_bytes()));
    let plain = headers.get_all(X_API_KEY).iter().map(|value| key(value.as_bytes()));
    authorized.chain(plain).collect()
}

/// `Bearer KEY` or `Basic base64(name:KEY)`; the scheme is compared without case (RFC 9110,
/// section 11.1).
fn scheme(value: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if scheme.eq_ignore_ascii_case(b"bearer") {
        key(rest)
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        basic(rest.trim_ascii())
    } else {
        Err(MalformedCredentials::Scheme)
    }
}

fn key(text: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    match text.trim_ascii() {
        [] => Err(MalformedCredentials::Empty),
        key => Ok((key_digest(key), None)),
    }
}

fn basic(encoded: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    let pair = STANDARD.decode(encoded).map_err(|_| MalformedCredentials::Basic)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(MalformedCredentials::Basic)?;
    let (name, key) = (&pair[..colon], &pair[colon + 1..]);
    if key.is_empty() {
        return Err(MalformedCredentials::Empty);
    }
    // A name that is not UTF-8 matches no client, like any other wrong name.
    Ok((key_digest(key), Some(String::from_utf8_lossy(name).into_owned())))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn names(
        lines: &[(HeaderName, &str)],
        key: &str,
    ) -> Result<Vec<Option<String>>, MalformedCredentials> {
        let given = keys_in(&headers(lines))?;
        assert!(given.iter().all(|(digest, _)| digest.is(&key_digest(key.as_bytes()))));
        Ok(given.into_iter().map(|(_, name)| name).collect())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_key_is_found_in_three_places_and_schemes_ignore_case() {
        let (crm, colon) = (basic("crm:k"), basic("crm:k:1"));
        assert_eq!(names(&[], "k"), Ok(vec![]));
        assert_eq!(names(&[(AUTHORIZATION, "Bearer k")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(AUTHORIZATION, "bEARER   k ")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(X_API_KEY, "k")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(AUTHORIZATION, &crm)], "k"), Ok(vec![Some("crm".into())]));
        assert_eq!(names(&[(AUTHORIZATION, &colon)], "k:1"), Ok(vec![Some("crm".into())]));
        let both = [(AUTHORIZATION, crm.as_str()), (X_API_KEY, "k")];
        assert_eq!(names(&both, "k"), Ok(vec![Some("crm".into()), None]));
        let twice = [(X_API_KEY, "k"), (X_API_KEY, "k")];
        assert_eq!(names(&twice, "k"), Ok(vec![None, None]));
    }

    #[test]
    fn a_header_without_a_key_is_not_ignored() {
        let bad = |name: HeaderName, value: &str| names(&[(X_API_KEY, "k"), (name, value)], "k");
        for value in ["Digest k", "k", "", "Bearerk"] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Scheme), "{value}");
        }
        for value in ["Bearer", "Bearer  ", &basic("crm:")] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Empty), "{value}");
        }
        for value in ["Basic", "Basic !", "Basic Y3Jt"] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Basic), "{value}");
        }
        assert_eq!(bad(X_API_KEY, " "), Err(MalformedCredentials::Empty));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_and_a_key_is_found_again(
            value in proptest::collection::vec(any::<u8>(), 0..60),
            prefix in "(?i)(bearer|basic|)[ :]{0,2}",
            name in "[a-z]{0,4}", key in "[!-~]{1,20}",
        ) {
            let bytes = [prefix.as_bytes(), &value].concat();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for header in [AUTHORIZATION, X_API_KEY] {
                    let _ = keys_in(&HeaderMap::from_iter([(header, value.clone())]));
                }
            }
            let given = names(&[(AUTHORIZATION, &basic(&format!("{name}:{key}")))], &key);
            prop_assert_eq!(given, Ok(vec![Some(name)]));
        }
    }
}
