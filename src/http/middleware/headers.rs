//! Response headers that depend on the request.

use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONNECTION, VARY};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::paths;
use crate::http::prefer::PREFERENCE_APPLIED;
use crate::http::request_context::HttpRequestContext;
use crate::http::responses::not_to_be_stored;
use crate::http::state::AppState;
use crate::ports::RequestPhase;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds `Vary` to negotiated responses, and `Connection: close` if the connection cannot be reused.
/// API responses also get `Cache-Control`, `Preference-Applied` and `Server-Timing`.
pub(super) async fn add(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(request_context) = HttpRequestContext::of(&request).cloned() else {
        return next.run(request).await;
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let is_negotiated = paths::is_negotiated(route, request.method());
    let mut response = next.run(request).await;
    let is_minimal = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if request_context.leaves_body_unread() || state.ops.readiness.draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_negotiated {
        // Also on a 304 and on an error: the next response depends on `Accept` as well.
        headers.append(VARY, ACCEPT.into());
    }
    if paths::is_api(route) {
        not_to_be_stored(headers);
        if let Some(applied) = request_context.prefer.applied(is_minimal) {
            headers.entry(PREFERENCE_APPLIED).or_insert(applied);
        }
        if let Ok(timing) = HeaderValue::try_from(timing(&request_context)) {
            headers.insert(SERVER_TIMING, timing);
        }
    }
    response
}

fn timing(request_context: &HttpRequestContext) -> String {
    let spent =
        RequestPhase::ALL.map(|phase| (phase.as_str(), request_context.context.spent(phase)));
    server_timing(spent.into_iter().chain([("total", request_context.arrived.elapsed())]))
}

/// `Server-Timing` (<https://www.w3.org/TR/server-timing/>): durations in milliseconds with three decimals.
fn server_timing(spent: impl Iterator<Item = (&'static str, Duration)>) -> String {
    let mut text = String::with_capacity(128);
    for (name, time) in spent {
        let comma = if text.is_empty() { "" } else { ", " };
        let (whole, micros) = (time.as_millis(), time.subsec_micros() % 1000);
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{name};dur={whole}.{micros:03}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_with_three_decimals() {
        let text = |micros: &[u64]| {
            let times = micros.iter().map(|micros| ("read", Duration::from_micros(*micros)));
            server_timing(times)
        };
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[0]), "read;dur=0.000");
        assert_eq!(text(&[7, 1_050]), "read;dur=0.007, read;dur=1.050");
        assert_eq!(text(&[60_000_000]), "read;dur=60000.000");
        assert_eq!(text(&[123_456_789]), "read;dur=123456.789");
    }
}
