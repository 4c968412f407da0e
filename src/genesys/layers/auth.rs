//! Adds a valid token to every attempt. After a 401 it renews the token and tries once more.
//!
//! This layer is outside the rate limit: fetching a token does not use the call budget.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::{RequestTemplate, call};
use crate::genesys::error::UpstreamError;
use crate::genesys::token::{AccessToken, TokenCache};
use crate::genesys::transport::HttpTransport;
use crate::ports::{RequestContext, RequestPhase};

/// Authorises requests with the tokens of `cache`.
pub fn layer(cache: TokenCache, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, cache) = (inner.clone(), cache.clone());
        async move { authorise(&cache, inner, request).await }
    })
}

async fn authorise(
    cache: &TokenCache,
    inner: HttpTransport,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let context = call(&request).context.clone();
    let token = match cache.current() {
        Some(token) => token,
        None => record_wait(&context, cache.get(context.deadline())).await?,
    };
    let again = RequestTemplate::from_request(&request);
    let answer = inner.exchange(with_token(&token, request)).await?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        cache.mark_accepted();
        return Ok(answer);
    }
    // A token can end early: the organisation has an idle timeout, or the OAuth client was disabled.
    let renewal = cache.renewed(token.generation(), context.deadline());
    let answer = match record_wait(&context, renewal).await? {
        Some(token) => inner.exchange(with_token(&token, again.request())).await?,
        None => answer,
    };
    if answer.status() == StatusCode::UNAUTHORIZED {
        cache.mark_rejected();
    } else {
        cache.mark_accepted();
    }
    Ok(answer)
}

async fn record_wait<T>(
    context: &RequestContext,
    token: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let start = Instant::now();
    let result = token.await;
    let wait: Duration = start.elapsed();
    context.spend(RequestPhase::Token, wait);
    result
}

fn with_token(token: &AccessToken, mut request: Request<Bytes>) -> Request<Bytes> {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
    request
}
