//! The edge: the one layer around everything.
//!
//! It opens the exchange, refuses requests while the service drains, catches panics, writes
//! problems out, adds the headers that every answer has, and logs and counts each request exactly
//! once, also those whose caller hung up.

mod record;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONNECTION, USER_AGENT, VARY};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::answer::{ChosenView, not_to_be_stored};
use super::auth::Recognition;
use super::exchange::{Exchange, X_REQUEST_ID, request_id, traceparent};
use super::flat::{self, RealStatus};
use super::host;
use super::negotiate::PATCHES;
use super::paths;
use super::peer::{Member, Peer, peer_of};
use super::prefer::PREFERENCE_APPLIED;
use super::problem::{About, Problem};
use super::state::AppState;
use super::timing::server_timing;
use crate::domain::{Client, ConversationId};
use crate::error::{Code, Effect, Error, Failure};
use crate::ports::{Phase, Span};
use crate::telemetry::{
    AccessRecord, Arrival, HttpFigures, RecentRequest, RecentRequests, SpanExport,
};

/// Tells a caller not to send another request on this connection.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Longer names of methods are cut where they are kept or logged.
const LONGEST_METHOD: usize = 32;

/// What logs and figures show for a caller who hung up before the answer; nginx's number.
const HUNG_UP: u16 = 499;

pub(super) async fn edge(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let (passage, refusal) = Passage::begin(state, &request);
    request.extensions_mut().insert(passage.exchange.clone());
    let response = if let Some(refusal) = refusal {
        refusal.into_response()
    } else {
        let panicked = passage.effect_unless_known();
        caught(next.run(request), panicked).await
    };
    let (response, recorded) = passage.finish(response);
    recorded.await;
    response
}

/// Takes a place for a request of this caller.
fn enter(
    state: &AppState,
    client: &Client,
    peer: Option<&Peer>,
) -> Result<Option<Member>, Problem> {
    let refused = |error| Problem::from(Failure::harmless(error));
    if state.ops.readiness.draining() {
        return Err(refused(Error::ShuttingDown));
    }
    let member = state.ops.crowd.as_ref().map_or(Ok(None), |crowd| crowd.enter(peer));
    let member = member.map_err(|_| refused(Error::Overloaded("from this address")))?;
    state.ops.requests.enter(client).map_err(refused)?;
    Ok(member)
}

/// Runs a handler; a panic becomes a problem. The payload is dropped unseen.
async fn caught(handler: impl Future<Output = Response>, effect: Effect) -> Response {
    let mut handler = pin!(handler);
    poll_fn(|context| {
        // The handler is not polled again after a panic, so nothing half-changed is seen.
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Problem::panicked(effect).into_response()))
    })
    .await
}

/// One request passing the edge. If it is dropped unfinished, the caller hung up.
struct Passage {
    state: AppState,
    exchange: Exchange,
    request_id: String,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    /// Who asked, if it is kept in mind.
    arrival: Option<Arrival>,
    finished: bool,
    /// Whether it has one of the places for requests.
    has_place: bool,
    /// Counts it for where it came from.
    _member: Option<Member>,
    /// Keeps a drain waiting for this request.
    _in_flight: Option<TaskTrackerToken>,
}

impl Passage {
    /// Its beginning, and why it goes no further, if it does not.
    fn begin(state: AppState, request: &Request) -> (Self, Option<Problem>) {
        let headers = request.headers();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let (pattern, query) = (route.as_ref().map(MatchedPath::as_str), request.uri().query());
        let flat = flat::Ask::of(pattern, query, request.method().is_safe());
        let asks = Recognition::of(state.app.callers(), request, pattern);
        let counts = pattern.is_some_and(paths::is_api);
        let span = span_of(headers, state.ops.spans.as_ref().filter(|_| counts));
        let request_id = request_id(headers);
        let dossier = record::open(&state, request, &asks, &request_id);
        let Recognition { client, refusal } = asks;
        let mut exchange = Exchange::open(headers, &state.settings, client, span);
        exchange.flat = flat;
        // Nobody who has no right to anything pushes out what is kept in mind.
        let kept = state.ops.recent.is_some() && refusal.is_none();
        let exported = exchange.cycle.span().is_some_and(|span| span.spans().is_some());
        exchange.cycle = exchange.cycle.recorded(kept || exported).audited(dossier);
        let entered = match refusal {
            Some(refusal) => Err(refusal),
            None if peer_of(request).is_some() && !host::is_sound(request) => Err(host::refusal()),
            None if counts => enter(&state, &exchange.client, peer_of(request)),
            None => Ok(None),
        };
        let (member, refusal) = match entered {
            Ok(member) => (member, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let passage = Self {
            exchange,
            _member: member,
            arrival: kept.then(|| arrival(request)),
            request_id,
            method: request.method().clone(),
            uri: request.uri().clone(),
            route,
            finished: false,
            has_place: counts && refusal.is_none(),
            _in_flight: counts.then(|| state.ops.in_flight.token()),
            state,
        };
        (passage, refusal)
    }

    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }

    fn conversation(&self) -> Option<ConversationId> {
        paths::conversation_of(self.uri.path())
    }

    /// The method, as far as it is written down: callers can make up long ones. All are ASCII.
    fn method_told(&self) -> &str {
        let method = self.method.as_str();
        &method[..method.len().min(LONGEST_METHOD)]
    }

    fn is_api(&self) -> bool {
        self.route().is_some_and(paths::is_api)
    }

    /// What to assume of a request that ended without saying what it did.
    fn effect_unless_known(&self) -> Effect {
        if self.is_api() && !self.method.is_safe() { Effect::Unknown } else { Effect::NotApplied }
    }

    /// The answer as it leaves, once the future has ended: then it is on record, where it has to be.
    fn finish(mut self, response: Response) -> (Response, impl Future<Output = ()> + use<>) {
        let (mut parts, mut body) = response.into_parts();
        let found = self.exchange.cycle.participant().map(ChosenView::from);
        let problem = parts.extensions.remove::<Problem>();
        let problem = problem.map(|problem| problem.about_participant(found));
        let correlation = self.exchange.cycle.correlation_id();
        if let Some(problem) = &problem {
            let about = About {
                instance: self.uri.path(),
                public_url: self.state.ops.documents.public_url(),
                request_id: &self.request_id,
                correlation_id: correlation.as_deref(),
                upstream_calls: self.exchange.cycle.calls(),
                total_bytes: self.state.settings.total_bytes,
            };
            let conversation = self.conversation();
            let flat = self.exchange.flat.as_deref();
            let flat = flat.and_then(|ask| ask.problem(problem, conversation, &mut parts));
            body = flat.unwrap_or_else(|| problem.write(&about, &mut parts));
            self.add_accept_patch(problem, &mut parts);
        }
        self.add_headers(&mut parts);
        let effect = match &problem {
            Some(problem) => problem.effect(),
            None => parts.extensions.remove().unwrap_or(Effect::NotApplied),
        };
        let code = problem.as_ref().map(Problem::code);
        let told = parts.extensions.remove().map_or(parts.status, |RealStatus(status)| status);
        let status = problem.as_ref().map_or(told, Problem::status);
        self.report(status.as_u16(), effect, code, correlation.as_deref());
        self.finished = true;
        let recorded = record::answered(&self.exchange.cycle, (status.as_u16(), effect, code));
        (Response::from_parts(parts, body), recorded)
    }

    fn add_headers(&self, parts: &mut Parts) {
        let headers = &mut parts.headers;
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        if self.exchange.leaves_body_unread() || self.state.ops.readiness.draining() {
            headers.insert(CONNECTION, CLOSE);
        }
        if self.route().is_some_and(|route| paths::is_negotiated(route, &self.method)) {
            // Also of a 304 and of a refusal: what comes next time depends on it as well.
            headers.append(VARY, ACCEPT.into());
        }
        if !self.is_api() {
            return;
        }
        not_to_be_stored(headers);
        let minimal = parts.status == StatusCode::NO_CONTENT;
        if let Some(applied) = self.exchange.prefer.applied(minimal) {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
        if let Ok(timing) = HeaderValue::try_from(self.timing()) {
            headers.insert(SERVER_TIMING, timing);
        }
    }

    /// Tells what a PATCH may be: whoever sent something else, or asks for the methods of the path.
    fn add_accept_patch(&self, problem: &Problem, parts: &mut Parts) {
        let asks = match problem.code() {
            Code::UnsupportedMediaType => self.method == Method::PATCH,
            Code::MethodNotAllowed => self.route() == Some(paths::ATTRIBUTES),
            _ => false,
        };
        if asks {
            parts.headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
        }
    }

    /// Where the time went.
    fn timing(&self) -> String {
        let spent = Phase::ALL.map(|phase| (phase.as_str(), self.exchange.cycle.spent(phase)));
        server_timing(spent.into_iter().chain([("total", self.exchange.arrived.elapsed())]))
    }

    fn report(&self, status: u16, effect: Effect, code: Option<Code>, correlation: Option<&str>) {
        let took = self.exchange.arrived.elapsed();
        let ops = &self.state.ops;
        ops.metrics.http(HttpFigures {
            method: self.method.as_str(),
            route: self.route(),
            client: self.exchange.client.known_name(),
            status,
            took,
        });
        let record = AccessRecord {
            method: self.method_told(),
            route: self.route().unwrap_or("-"),
            status,
            took,
            request_id: &self.request_id,
            client: self.exchange.client.known_name(),
            conversation: self.conversation(),
            upstream_calls: self.exchange.cycle.calls(),
            effect: self.is_api().then_some(effect),
            correlation_id: correlation,
            trace_id: self.exchange.trace_id(),
            code,
        };
        ops.access.write(&record);
        if let Some(spans) = &ops.spans {
            spans.request(&record, &self.exchange.cycle);
        }
        if let (Some(recent), Some(arrival)) = (&ops.recent, &self.arrival) {
            self.keep(recent, arrival, &Ending { status, effect, code, took });
        }
    }

    /// Keeps it in mind, if it was about a conversation, and not itself a look at what is kept.
    fn keep(&self, recent: &RecentRequests, arrival: &Arrival, ending: &Ending) {
        let conversation = self.conversation();
        let route = self.route().filter(|route| *route != paths::TRACE);
        let (Some(conversation), Some(route)) = (conversation, route) else { return };
        recent.add(RecentRequest {
            arrival: arrival.clone(),
            arrived: self.exchange.arrived,
            conversation,
            method: self.method_told().to_owned(),
            route: route.to_owned(),
            status: ending.status,
            code: ending.code,
            effect: ending.effect,
            took: ending.took,
            request_id: self.request_id.clone(),
            cycle: self.exchange.cycle.clone(),
        });
    }
}

/// The request's place in a trace: below the caller's span, or where spans are not exported that one.
fn span_of(headers: &HeaderMap, spans: Option<&SpanExport>) -> Option<Span> {
    let given = traceparent(headers);
    match spans {
        Some(spans) => Some(spans.open(given)),
        None => given.map(Span::passed_on),
    }
}

/// How a request ended.
struct Ending {
    status: u16,
    effect: Effect,
    code: Option<Code>,
    took: Duration,
}

fn arrival(request: &Request) -> Arrival {
    let address = peer_of(request).map(|peer| peer.address);
    let agent = request.headers().get(USER_AGENT).and_then(|name| name.to_str().ok());
    Arrival::now(address, agent)
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.has_place {
            self.state.ops.requests.leave(&self.exchange.client);
        }
        if !self.finished {
            let correlation = self.exchange.cycle.correlation_id();
            let effect = self.effect_unless_known();
            self.report(HUNG_UP, effect, None, correlation.as_deref());
            record::hung_up(&self.exchange.cycle, (HUNG_UP, effect, None));
        }
    }
}

#[cfg(test)]
mod tests;
