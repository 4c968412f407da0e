//! Reads the body of a request within a size limit and a deadline.

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;
use crate::error::ErrorCode;

/// Reads the whole body, which has at most `limit` bytes and arrives by `until`. `declared` is its length
/// from the head, which is checked before the read.
pub(super) async fn read(
    body: Body,
    declared: Option<u64>,
    limit: usize,
    until: Instant,
) -> Result<Vec<u8>, Problem> {
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match timeout_at(until, gather(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(ErrorCode::RequestTimeout, "the body did not arrive in time")),
    }
}

async fn gather(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(ErrorCode::InvalidJson, "the body ended before it was complete")
        })?;
        // The other frames are trailers, which the gateway ignores.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if gathered.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        gathered.extend_from_slice(&data);
    }
    Ok(gathered)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::BodyTooLarge, format!("the body is longer than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use axum::http::HeaderMap;
    use http_body_util::Full;

    use super::*;

    /// A body that gives its data and then never ends.
    fn endless(data: &'static str) -> Body {
        let end = std::future::pending::<Option<Result<HeaderMap, Infallible>>>();
        Body::new(Full::from(data).with_trailers(end))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(2)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
        let whole = read(Body::from("12345"), None, 5, soon()).await;
        assert_eq!(whole.expect("fits"), b"12345");
        let over = read(Body::from("123456"), None, 5, soon()).await;
        assert_eq!(over.expect_err("too long").code(), ErrorCode::BodyTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let refused = read(endless(""), Some(6), 5, soon()).await;
        assert_eq!(refused.expect_err("too long").code(), ErrorCode::BodyTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_times_out() {
        let (start, until) = (Instant::now(), soon());
        let refused = read(endless("{"), Some(5), 5, until).await;
        assert_eq!(refused.expect_err("never ends").code(), ErrorCode::RequestTimeout);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
