//! The simulator over HTTP: one entry for all paths outside `/__sim`. A request is followed from
//! arrival to answer, with the fault that hits it.
//!
//! Each access to the state is one locked step that never waits. A client that hangs up leaves the
//! state as it was before or after its request, never half way.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    http::HeaderName,
    response::Response,
};

use super::{
    Simulator,
    action::FaultAction,
    control,
    faults::RequestKind,
    journal::{CallRecord, RequestOutcome, headers_of_interest},
    patch,
    reply::{self, SimulatedReply},
    scripted,
    target::RequestTarget,
    world::{DelayedPatch, MAX_BODY_BYTES, RequestAdmission, RequestArrival},
};

impl Simulator {
    /// Everything the simulator serves: the platform API, the token endpoint and `/__sim`.
    pub fn router(&self) -> Router {
        Router::new().nest("/__sim", control::routes()).fallback(platform).with_state(self.clone())
    }

    fn receive(
        &self,
        arrival: &RequestArrival,
        method: &str,
        path: &str,
    ) -> (RequestExchange<'_>, Option<FaultAction>) {
        let (mut guard, at) = self.world();
        // One borrow of the whole, so that its parts can be borrowed separately.
        let world = &mut *guard;
        let presented =
            arrival.bearer().and_then(|token| world.tokens.present(token, &world.settings, at.now));
        let correlation = uuid::Builder::from_random_bytes(world.random.u128(..).to_be_bytes())
            .into_uuid()
            .to_string();
        let target = &arrival.target;
        let record = CallRecord {
            seq: 0,
            at: at.now,
            handled: None,
            method: method.to_owned(),
            path: path.to_owned(),
            kind: target.kind(),
            conversation: target.conversation().map(ToOwned::to_owned),
            participant: target.participant().map(ToOwned::to_owned),
            answer: RequestOutcome::Pending,
            // The token request is a form, so its body never gets in here.
            body: serde_json::from_slice(arrival.bytes()).ok(),
            headers: headers_of_interest(&arrival.headers),
            token: presented.map(|presented| presented.serial),
            correlation_id: correlation.clone(),
        };
        let seq = world.journal.arrive(record, world.settings.keep_records);
        let action = world.script.strike(target.kind(), target.conversation());
        let admission = RequestAdmission { correlation, presented };
        (RequestExchange { simulator: self, seq, admission }, action)
    }
}

async fn platform(State(simulator): State<Simulator>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let arrival = RequestArrival {
        target: RequestTarget::parse(&parts.method, path),
        headers: parts.headers,
        body: axum::body::to_bytes(body, MAX_BODY_BYTES).await.ok(),
    };
    let (exchange, action) = simulator.receive(&arrival, parts.method.as_str(), path);
    match action {
        None => exchange.send(&arrival, exchange.handle(&arrival)).await,
        Some(action) => exchange.suffer(&arrival, action).await,
    }
}

/// One request under way.
struct RequestExchange<'a> {
    simulator: &'a Simulator,
    seq: u64,
    admission: RequestAdmission,
}

impl RequestExchange<'_> {
    fn handle(&self, arrival: &RequestArrival) -> SimulatedReply {
        let (mut world, at) = self.simulator.world();
        world.journal.handle(self.seq, at.now);
        world.handle(arrival, &self.admission, at)
    }

    /// The course of a request that a fault has hit.
    async fn suffer(&self, arrival: &RequestArrival, action: FaultAction) -> Response {
        self.before(arrival, &action).await;
        if let Some(reply) = scripted::instead(arrival, &action, &self.admission.correlation) {
            return self.send(arrival, reply).await;
        }
        match action {
            FaultAction::ResetBefore => return self.reset(),
            // A proxy's page has none of the platform's headers.
            FaultAction::Html => {
                return self.deliver(arrival, scripted::html(), SimulatedReply::respond).await;
            }
            _ => {}
        }
        let mut reply = self.handle(arrival);
        self.after(arrival, &action).await;
        match action {
            FaultAction::ResetAfter => return self.reset(),
            FaultAction::WrongLength => {
                return self.deliver(arrival, self.signed(reply), SimulatedReply::cut_short).await;
            }
            FaultAction::Truncated => reply = reply.halved(),
            FaultAction::Empty { status, .. } => {
                reply = SimulatedReply::empty(scripted::status_of(status));
            }
            FaultAction::TokenExpiresIn { value } => reply = scripted::expiring_in(&reply, value),
            _ => {}
        }
        self.send(arrival, reply).await
    }

    /// What an action does ahead of the request; does not return if there will be no answer.
    async fn before(&self, arrival: &RequestArrival, action: &FaultAction) {
        match action {
            FaultAction::Hang => self.hang().await,
            FaultAction::ApplyLate { after } => {
                self.apply_late(arrival, *after);
                self.hang().await;
            }
            FaultAction::Delay { by, after_apply: false } => tokio::time::sleep(*by).await,
            FaultAction::Unauthorized => {
                if let Some(token) = arrival.bearer() {
                    self.simulator.world().0.tokens.kill(token);
                }
            }
            FaultAction::ForeignWrite { participant, map } => {
                self.foreign_write(arrival, participant.as_deref(), map.clone());
            }
            FaultAction::EndConversation => {
                if let Some(conversation) = arrival.target.conversation() {
                    self.simulator.end_conversation(conversation);
                }
            }
            _ => {}
        }
    }

    /// What an action does once the request was handled.
    async fn after(&self, arrival: &RequestArrival, action: &FaultAction) {
        match action {
            FaultAction::HangAfterApply => self.hang().await,
            FaultAction::Delay { by, after_apply: true } => tokio::time::sleep(*by).await,
            FaultAction::ForeignWriteAfter { participant, map } => {
                self.foreign_write(arrival, participant.as_deref(), map.clone());
            }
            _ => {}
        }
    }

    fn foreign_write(
        &self,
        arrival: &RequestArrival,
        named: Option<&str>,
        changes: super::AttributeChanges,
    ) {
        let Some(conversation) = arrival.target.conversation() else {
            return;
        };
        let (mut world, at) = self.simulator.world();
        let participant = named
            .or(arrival.target.participant())
            .map(ToOwned::to_owned)
            .or_else(|| world.state.first_participant(conversation));
        if let Some(participant) = participant {
            world.write_as_other(conversation, &participant, changes, (at.now, Duration::ZERO));
        }
    }

    fn apply_late(&self, arrival: &RequestArrival, after: Duration) {
        let target = &arrival.target;
        let (Some(conversation), Some(participant)) = (target.conversation(), target.participant())
        else {
            return;
        };
        let (mut world, at) = self.simulator.world();
        if let Ok(changes) = patch::read(arrival.bytes(), &world.settings) {
            world.late.push(DelayedPatch {
                due: at.now + after,
                conversation: conversation.to_owned(),
                participant: participant.to_owned(),
                changes,
                request_id: arrival.request_id(),
                user_agent: arrival.user_agent(),
            });
        }
    }

    async fn hang(&self) {
        self.record(RequestOutcome::Hang);
        std::future::pending::<()>().await;
    }

    fn reset(&self) -> Response {
        self.record(RequestOutcome::Reset);
        reply::reset()
    }

    async fn send(&self, arrival: &RequestArrival, reply: SimulatedReply) -> Response {
        self.deliver(arrival, self.signed(reply), SimulatedReply::respond).await
    }

    /// An answer with the headers that all of the platform's own carry.
    fn signed(&self, mut reply: SimulatedReply) -> SimulatedReply {
        if let Ok(correlation) = self.admission.correlation.parse() {
            let name = HeaderName::from_static("inin-correlation-id");
            reply.headers.insert(name, correlation);
        }
        let (date, skew) = {
            let (world, at) = self.simulator.world();
            let skew = world.settings.clock_skew_seconds;
            (at.wall.saturating_add(time::Duration::seconds(skew)), skew)
        };
        // A server over sockets adds the true date itself.
        if skew != 0
            && let Ok(date) = httpdate::fmt_http_date(date.into()).parse()
        {
            reply.headers.insert(axum::http::header::DATE, date);
        }
        let Some(standing) = self.admission.presented.and_then(|token| token.standing) else {
            return reply;
        };
        reply
            .with_header(HeaderName::from_static("inin-ratelimit-count"), standing.count)
            .with_header(HeaderName::from_static("inin-ratelimit-allowed"), standing.allowed)
            .with_header(HeaderName::from_static("inin-ratelimit-reset"), standing.reset)
    }

    async fn deliver(
        &self,
        arrival: &RequestArrival,
        reply: SimulatedReply,
        form: fn(SimulatedReply) -> Response,
    ) -> Response {
        let latency = self.simulator.world().0.settings.latency;
        // Even a sleep of zero would let other tasks run.
        if !latency.is_zero() && arrival.target.kind() != RequestKind::Token {
            tokio::time::sleep(latency).await;
        }
        self.record(RequestOutcome::Status(reply.status.as_u16()));
        form(reply)
    }

    fn record(&self, answer: RequestOutcome) {
        self.simulator.world().0.journal.answer(self.seq, answer);
    }
}

#[cfg(test)]
mod tests;
