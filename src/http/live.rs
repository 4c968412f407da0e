//! The live view for operators: the page `/live`, and the events that it shows.

mod feed;
mod status;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderName;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::mpsc::Receiver;

use super::extract::OperatorIdentity;
use super::openapi_files::response_headers;
use super::paths;
use super::problem::Problem;
use super::query::StrictQuery;
use super::state::AppState;

pub use self::feed::LiveFeed;
pub use self::status::{
    LiveBudget, LiveClient, LiveLag, LiveOperation, LiveStatus, LiveToken, LiveUpstream, LiveWrites,
};

const PAGE: &str = include_str!("live/page.html");

/// A comment is sent after so much silence, so that proxies keep the connection.
const PING_AFTER: Duration = Duration::from_secs(15);

/// Asks nginx not to buffer the events.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Show the live view
///
/// A page that shows the events of `watchLive`. A browser asks for name and key of a client (HTTP Basic).
#[utoipa::path(get, path = paths::LIVE, operation_id = "getLivePage", tag = "operations",
    responses((status = 200, body = String, content_type = "text/html", description = "The page",
        headers(("Content-Security-Policy" = String, description = "Restricts the page to this origin")))))]
pub(super) async fn page(_: OperatorIdentity) -> Response {
    (response_headers("no-cache"), Html(PAGE)).into_response()
}

/// Watch the gateway
///
/// Server-sent events, one a second: the state of this gateway process, without attribute keys, values
/// and phone numbers. Needs a client with `operate = true`, or a program on the same machine if no client
/// is configured. At most 64 viewers; one that stops reading is dropped. The stream ends with a drain.
#[utoipa::path(get, path = paths::LIVE_EVENTS, operation_id = "watchLive", tag = "operations",
    responses((status = 200, body = String, content_type = "text/event-stream",
        description = "The events. The `data` of each is a JSON object with `at`, `ready`, `budget`, `upstream`, `token`, `writes`, `visibilityLag` and the last 20 `operations`. Members may be added")))]
pub(super) async fn events(
    _: OperatorIdentity,
    State(AppState { ops, .. }): State<AppState>,
    StrictQuery(()): StrictQuery<()>,
) -> Result<Response, Problem> {
    let frames = ops.live.join()?;
    Ok(([UNBUFFERED], stream(frames)).into_response())
}

fn stream(frames: Receiver<Arc<str>>) -> impl IntoResponse {
    Sse::new(EventStream(frames)).keep_alive(KeepAlive::new().interval(PING_AFTER).text("ping"))
}

struct EventStream(Receiver<Arc<str>>);

impl Stream for EventStream {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|frame| frame.map(|frame| Ok(Event::default().data(&*frame))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_sends_a_ping_every_fifteen_seconds() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut body = stream(receiver).into_response().into_body();
        let start = Instant::now();
        for seconds in [15, 30] {
            let ping = body.frame().await.expect("goes on").expect("no error");
            assert_eq!(ping.into_data().expect("bytes"), ": ping\n\n");
            assert_eq!(start.elapsed(), Duration::from_secs(seconds));
        }
        sender.send("{}".into()).await.expect("read");
        let event = body.frame().await.expect("goes on").expect("no error");
        assert_eq!(event.into_data().expect("bytes"), "data: {}\n\n");
    }
}
