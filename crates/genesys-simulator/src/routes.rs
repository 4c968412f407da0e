//! The simulator over HTTP: one way in for everything that is not `/__sim`, and the course of a
//! request from arrival to answer, with the fault that hits it.
//!
//! The state is touched in single locked steps that never wait, so a caller that leaves in between
//! finds it either before or after its request, never half way.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    http::HeaderName,
    response::Response,
};

use super::{
    Simulator,
    action::Action,
    control,
    faults::Kind,
    journal::{Answer, CallRecord, headers_of_interest},
    patch,
    reply::{self, Reply},
    scripted,
    target::Target,
    world::{Admission, Arrival, Late, MOST_BYTES},
};

impl Simulator {
    /// Everything the simulator serves: the platform API, the token endpoint and `/__sim`.
    pub fn router(&self) -> Router {
        Router::new().nest("/__sim", control::routes()).fallback(platform).with_state(self.clone())
    }

    fn receive(
        &self,
        arrival: &Arrival,
        method: &str,
        path: &str,
    ) -> (Exchange<'_>, Option<Action>) {
        let (mut guard, at) = self.world();
        // One borrow of the whole, so that the parts can be borrowed side by side.
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
            answer: Answer::Pending,
            // The token request is a form, so its body never gets in here.
            body: serde_json::from_slice(arrival.bytes()).ok(),
            headers: headers_of_interest(&arrival.headers),
            token: presented.map(|presented| presented.serial),
            correlation_id: correlation.clone(),
        };
        let seq = world.journal.arrive(record, world.settings.keep_records);
        let action = world.script.strike(target.kind(), target.conversation());
        let admission = Admission { correlation, presented };
        (Exchange { simulator: self, seq, admission }, action)
    }
}

async fn platform(State(simulator): State<Simulator>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let arrival = Arrival {
        target: Target::of(&parts.method, path),
        headers: parts.headers,
        body: axum::body::to_bytes(body, MOST_BYTES).await.ok(),
    };
    let (exchange, action) = simulator.receive(&arrival, parts.method.as_str(), path);
    match action {
        None => exchange.send(&arrival, exchange.handle(&arrival)).await,
        Some(action) => exchange.suffer(&arrival, action).await,
    }
}

/// One request under way.
struct Exchange<'a> {
    simulator: &'a Simulator,
    seq: u64,
    admission: Admission,
}

impl Exchange<'_> {
    fn handle(&self, arrival: &Arrival) -> Reply {
        let (mut world, at) = self.simulator.world();
        world.journal.handle(self.seq, at.now);
        world.handle(arrival, &self.admission, at)
    }

    /// The course of a request that a fault has hit.
    async fn suffer(&self, arrival: &Arrival, action: Action) -> Response {
        self.before(arrival, &action).await;
        if let Some(reply) = scripted::instead(arrival, &action, &self.admission.correlation) {
            return self.send(arrival, reply).await;
        }
        match action {
            Action::ResetBefore => return self.reset(),
            // A proxy's page has none of the platform's headers.
            Action::Html => {
                return self.deliver(arrival, scripted::html(), Reply::respond).await;
            }
            _ => {}
        }
        let mut reply = self.handle(arrival);
        self.after(arrival, &action).await;
        match action {
            Action::ResetAfter => return self.reset(),
            Action::WrongLength => {
                return self.deliver(arrival, self.signed(reply), Reply::cut_short).await;
            }
            Action::Truncated => reply = reply.halved(),
            Action::Empty { status, .. } => reply = Reply::empty(scripted::status_of(status)),
            Action::TokenExpiresIn { value } => reply = scripted::expiring_in(&reply, value),
            _ => {}
        }
        self.send(arrival, reply).await
    }

    /// What an action does ahead of the request; does not return if there will be no answer.
    async fn before(&self, arrival: &Arrival, action: &Action) {
        match action {
            Action::Hang => self.hang().await,
            Action::ApplyLate { after } => {
                self.apply_late(arrival, *after);
                self.hang().await;
            }
            Action::Delay { by, after_apply: false } => tokio::time::sleep(*by).await,
            Action::Unauthorized => {
                if let Some(token) = arrival.bearer() {
                    self.simulator.world().0.tokens.kill(token);
                }
            }
            Action::ForeignWrite { participant, map } => {
                self.foreign_write(arrival, participant.as_deref(), map.clone());
            }
            Action::EndConversation => {
                if let Some(conversation) = arrival.target.conversation() {
                    self.simulator.end_conversation(conversation);
                }
            }
            _ => {}
        }
    }

    /// What an action does once the request was handled.
    async fn after(&self, arrival: &Arrival, action: &Action) {
        match action {
            Action::HangAfterApply => self.hang().await,
            Action::Delay { by, after_apply: true } => tokio::time::sleep(*by).await,
            Action::ForeignWriteAfter { participant, map } => {
                self.foreign_write(arrival, participant.as_deref(), map.clone());
            }
            _ => {}
        }
    }

    fn foreign_write(&self, arrival: &Arrival, named: Option<&str>, changes: super::Changes) {
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

    fn apply_late(&self, arrival: &Arrival, after: Duration) {
        let target = &arrival.target;
        let (Some(conversation), Some(participant)) = (target.conversation(), target.participant())
        else {
            return;
        };
        let (mut world, at) = self.simulator.world();
        if let Ok(changes) = patch::read(arrival.bytes(), &world.settings) {
            world.late.push(Late {
                due: at.now + after,
                conversation: conversation.to_owned(),
                participant: participant.to_owned(),
                changes,
                request_id: arrival.request_id(),
            });
        }
    }

    async fn hang(&self) {
        self.record(Answer::Hang);
        std::future::pending::<()>().await;
    }

    fn reset(&self) -> Response {
        self.record(Answer::Reset);
        reply::reset()
    }

    async fn send(&self, arrival: &Arrival, reply: Reply) -> Response {
        self.deliver(arrival, self.signed(reply), Reply::respond).await
    }

    /// An answer with the headers that all of the platform's own carry.
    fn signed(&self, mut reply: Reply) -> Reply {
        if let Ok(correlation) = self.admission.correlation.parse() {
            let name = HeaderName::from_static("inin-correlation-id");
            reply.headers.insert(name, correlation);
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
        arrival: &Arrival,
        reply: Reply,
        form: fn(Reply) -> Response,
    ) -> Response {
        let latency = self.simulator.world().0.settings.latency;
        // A sleep of nothing would still let other tasks in.
        if !latency.is_zero() && arrival.target.kind() != Kind::Token {
            tokio::time::sleep(latency).await;
        }
        self.record(Answer::Status(reply.status.as_u16()));
        form(reply)
    }

    fn record(&self, answer: Answer) {
        self.simulator.world().0.journal.answer(self.seq, answer);
    }
}

#[cfg(test)]
mod tests;
