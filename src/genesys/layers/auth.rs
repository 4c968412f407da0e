//! Gives every attempt a live token, and answers a 401 with one renewal and one more try.
//!
//! It stands outside the rate limit: fetching a token spends none of the API's budget.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::{Again, call};
use crate::genesys::error::UpstreamError;
use crate::genesys::token::{Token, TokenCache};
use crate::genesys::transport::Transport;
use crate::ports::{Cycle, Phase};

/// Authorises requests with tokens of `cache`.
pub fn layer(cache: TokenCache, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let (inner, cache) = (inner.clone(), cache.clone());
        async move { authorised(&cache, inner, request).await }
    })
}

async fn authorised(
    cache: &TokenCache,
    inner: Transport,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let cycle = call(&request).cycle.clone();
    let token = match cache.current() {
        Some(token) => token,
        None => waited(&cycle, cache.get(cycle.deadline())).await?,
    };
    let again = Again::of(&request);
    let answer = inner.exchange(with(&token, request)).await?;
    if answer.status() != StatusCode::UNAUTHORIZED {
        cache.taken_by_api();
        return Ok(answer);
    }
    // Tokens can die early: an idle time-out of the organisation, a client that was disabled.
    let renewal = cache.renewed(token.generation(), cycle.deadline());
    let answer = match waited(&cycle, renewal).await? {
        Some(token) => inner.exchange(with(&token, again.request())).await?,
        None => answer,
    };
    if answer.status() == StatusCode::UNAUTHORIZED {
        cache.refused_by_api();
    } else {
        cache.taken_by_api();
    }
    Ok(answer)
}

async fn waited<T>(
    cycle: &Cycle,
    token: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let start = Instant::now();
    let result = token.await;
    let wait: Duration = start.elapsed();
    cycle.spend(Phase::Token, wait);
    result
}

fn with(token: &Token, mut request: Request<Bytes>) -> Request<Bytes> {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
    request
}
