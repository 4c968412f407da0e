//! Gives every attempt a live token, and answers a 401 with one renewal and one more try.
//!
//! It stands outside the rate limit: fetching a token spends none of the API's budget.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::{RequestTemplate, call};
use crate::genesys::error::UpstreamError;
use crate::genesys::token::{AccessToken, TokenCache};
use crate::genesys::transport::HttpTransport;
use crate::ports::{RequestContext, RequestPhase};

/// Authorises requests with tokens of `cache`.
pub fn layer(cache: TokenCache, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, cache) = (inner.clone(), cache.clone());
        async move { authorised(&cache, inner, request).await }
    })
}

async fn authorised(
    cache: &TokenCache,
    inner: HttpTransport,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let context = call(&request).context.clone();
    let token = match cache.current() {
        Some(token) => token,
        None => waited(&context, cache.get(context.deadline())).await?,
    };
    let again = RequestTemplate::from_request(&request);
    let answer = inner.exchange(with(&token, request)).await?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        cache.mark_accepted();
        return Ok(answer);
    }
    // Tokens can die early: an idle time-out of the organisation, a client that was disabled.
    let renewal = cache.renewed(token.generation(), context.deadline());
    let answer = match waited(&context, renewal).await? {
        Some(token) => inner.exchange(with(&token, again.request())).await?,
        None => answer,
    };
    if answer.status() == StatusCode::UNAUTHORIZED {
        cache.mark_rejected();
    } else {
        cache.mark_accepted();
    }
    Ok(answer)
}

async fn waited<T>(
    context: &RequestContext,
    token: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let start = Instant::now();
    let result = token.await;
    let wait: Duration = start.elapsed();
    context.spend(RequestPhase::Token, wait);
    result
}

fn with(token: &AccessToken, mut request: Request<Bytes>) -> Request<Bytes> {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
    request
}
