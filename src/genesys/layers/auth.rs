//! Adds a valid token to every attempt. After a 401 it renews the token and tries once more.
//!
//! This layer is outside the rate limit: fetching a token does not use the call budget.

use http::StatusCode;
use tokio::time::Instant;

use super::{ApiRequest, ApiService};
use crate::genesys::error::UpstreamError;
use crate::genesys::token::TokenCache;
use crate::genesys::transport::ExchangeResult;
use crate::ports::{RequestContext, RequestPhase};

pub async fn authorise(
    cache: TokenCache,
    mut request: ApiRequest,
    next: ApiService,
) -> ExchangeResult {
    let context = request.call.context.clone();
    let token = match cache.current() {
        Some(token) => token,
        None => record_wait(&context, cache.get(context.deadline())).await?,
    };
    request.authorization = Some(token.header);
    let mut answer = next.exchange(request.clone()).await?;
    if answer.status() == StatusCode::UNAUTHORIZED {
        // A token can end early: the organisation has an idle timeout, or the OAuth client was
        // disabled.
        let renewal = cache.renewed(token.generation, context.deadline());
        if let Some(token) = record_wait(&context, renewal).await? {
            request.authorization = Some(token.header);
            answer = next.exchange(request).await?;
        }
    }
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
    context.spend(RequestPhase::Token, start.elapsed());
    result
}
