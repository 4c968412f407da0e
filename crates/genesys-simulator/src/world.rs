//! The state of one simulator, and what each operation of the platform does to it. Each function
//! gets the current time; none waits, so a lock around the state is short.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    AttributeChanges, SimulatorSettings, analytics,
    budget::BudgetStanding,
    faults::{FaultScript, RequestKind},
    journal::RequestJournal,
    oauth::{PresentedToken, TokenRequest, TokenStore},
    patch,
    reply::SimulatedReply,
    settings::{AfterEnd, PatchSemantics},
    shapes::DocumentShape,
    state::{PendingWrite, PlatformState, WriteRefusal, WriteSource},
    target::RequestTarget,
};

/// Largest request body that the platform takes.
pub(super) const MAX_BODY_BYTES: usize = 512_000;

/// The current time: on the clock that measures waits, and on the wall clock that answers show.
#[derive(Clone, Copy)]
pub(super) struct ClockReading {
    pub(super) now: Instant,
    pub(super) wall: OffsetDateTime,
}

/// The parts of a request that operations need.
pub(super) struct RequestArrival {
    pub(super) target: RequestTarget,
    pub(super) headers: HeaderMap,
    /// Absent if it was larger than [`MAX_BODY_BYTES`].
    pub(super) body: Option<Bytes>,
}

impl RequestArrival {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.header("x-request-id").map(ToOwned::to_owned)
    }

    pub(super) fn user_agent(&self) -> Option<String> {
        self.header("user-agent").map(ToOwned::to_owned)
    }
}

/// What the simulator learns of a request on its arrival.
pub(super) struct RequestAdmission {
    pub(super) correlation: String,
    pub(super) presented: Option<PresentedToken>,
}

/// A PATCH that was accepted, and that the simulator applies later.
pub(super) struct DelayedPatch {
    pub(super) due: Instant,
    pub(super) conversation: String,
    pub(super) participant: String,
    pub(super) changes: AttributeChanges,
    pub(super) request_id: Option<String>,
    pub(super) user_agent: Option<String>,
}

pub(super) struct SimulatedWorld {
    pub(super) settings: SimulatorSettings,
    pub(super) state: PlatformState,
    pub(super) script: FaultScript,
    pub(super) journal: RequestJournal,
    pub(super) tokens: TokenStore,
    pub(super) random: fastrand::Rng,
    pub(super) late: Vec<DelayedPatch>,
}

impl SimulatedWorld {
    pub(super) fn new(settings: SimulatorSettings, now: Instant) -> Self {
        Self {
            random: fastrand::Rng::with_seed(settings.seed),
            settings,
            state: PlatformState::default(),
            script: FaultScript::default(),
            journal: RequestJournal::default(),
            tokens: TokenStore::new(now),
            late: Vec::new(),
        }
    }

    /// Applies the late writes that are due, each at its own time. Must be called before any
    /// other access, so that late writes need no task.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.late.is_empty() {
            return;
        }
        self.late.sort_by_key(|late| late.due);
        let due = self.late.partition_point(|late| late.due <= now);
        for late in self.late.drain(..due).collect::<Vec<_>>() {
            // No request waits for the outcome; a write that is refused is dropped.
            let _ = self.write_as_gateway(late);
        }
    }

    pub(super) fn write_as_gateway(&mut self, write: DelayedPatch) -> Result<(), WriteRefusal> {
        let replace = self.settings.semantics == PatchSemantics::Replace;
        let visible_at = write.due + self.settings.lag + self.spread();
        let write = PendingWrite {
            conversation: write.conversation,
            participant: write.participant,
            writer: WriteSource::Gateway,
            changes: write.changes,
            replace,
            at: write.due,
            visible_at,
            request_id: write.request_id,
            user_agent: write.user_agent,
        };
        if self.settings.after_end == AfterEnd::Reject
            && self.state.get(&write.conversation).is_some_and(|found| found.ended)
        {
            return Err(WriteRefusal::Ended);
        }
        self.state.write(write, self.settings.size_limit, self.settings.keep_records)
    }

    /// A random part of the spread of lags; draws nothing where there is none.
    fn spread(&mut self) -> Duration {
        let most = u64::try_from(self.settings.lag_spread.as_micros()).unwrap_or(u64::MAX);
        if most == 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(self.random.u64(0..=most))
    }

    /// Writes at once, merging, without the API's limits; reads show it after `lag`. False for
    /// unknown ids.
    pub(super) fn write_as_other(
        &mut self,
        conversation: &str,
        participant: &str,
        changes: AttributeChanges,
        (now, lag): (Instant, Duration),
    ) -> bool {
        let write = PendingWrite {
            conversation: conversation.to_owned(),
            participant: participant.to_owned(),
            writer: WriteSource::Other,
            changes,
            replace: false,
            at: now,
            visible_at: now + lag,
            request_id: None,
            user_agent: None,
        };
        self.state.write(write, None, self.settings.keep_records).is_ok()
    }

    /// The platform's answer to a request without a fault.
    pub(super) fn handle(
        &mut self,
        arrival: &RequestArrival,
        admitted: &RequestAdmission,
        at: ClockReading,
    ) -> SimulatedReply {
        if arrival.target == RequestTarget::Token {
            let request = TokenRequest {
                authorization: arrival.header("authorization"),
                content_type: arrival.header("content-type"),
                body: arrival.bytes(),
            };
            return self.tokens.grant(&request, &self.settings, &mut self.random, at.now);
        }
        let correlation = admitted.correlation.as_str();
        let Some(presented) = admitted.presented else {
            if arrival.bearer().is_some() {
                return SimulatedReply::usual(401, correlation);
            }
            let message = "No authentication bearer token specified in authorization header.";
            return SimulatedReply::error(401, "authentication.required", message, correlation);
        };
        if let Some(standing) = presented.standing.filter(BudgetStanding::is_refused) {
            return SimulatedReply::throttled(Some(standing.reset), correlation);
        }
        if arrival.body.is_none() {
            return SimulatedReply::usual(413, correlation);
        }
        let permission = arrival.target.permission();
        if let Some(missing) = permission
            .filter(|needed| self.settings.missing_permissions.iter().any(|lacks| lacks == needed))
        {
            return SimulatedReply::forbidden(missing, correlation);
        }
        self.operate(arrival, correlation, at.now)
    }

    fn operate(
        &mut self,
        arrival: &RequestArrival,
        correlation: &str,
        now: Instant,
    ) -> SimulatedReply {
        match &arrival.target {
            RequestTarget::Conversation { shape, conversation } => {
                self.read(*shape, conversation, correlation, now)
            }
            RequestTarget::VoiceParticipant { .. } => self.voice(arrival, correlation, now),
            RequestTarget::Attributes { shape, .. } => {
                match self.patch(arrival, correlation, now) {
                    Err(refusal) => *refusal,
                    Ok(_) if *shape == DocumentShape::Generic => {
                        SimulatedReply::empty(StatusCode::ACCEPTED)
                    }
                    // It is unknown whether the platform returns the changes or the merged map.
                    Ok(changes) => {
                        SimulatedReply::json(StatusCode::ACCEPTED, &json!({"attributes": changes}))
                    }
                }
            }
            RequestTarget::Details => self.details(arrival, correlation),
            RequestTarget::OwnConversations(DocumentShape::Calls) => {
                let message = "This request requires a user context. Client credentials cannot be \
                               used for requests to this resource.";
                SimulatedReply::error(400, "not.a.user", message, correlation)
            }
            RequestTarget::OwnConversations(DocumentShape::Generic) => {
                SimulatedReply::json(StatusCode::OK, &json!({"entities": []}))
            }
            RequestTarget::Limits { namespace } => self.limits(namespace),
            RequestTarget::TokenCheck => SimulatedReply::empty(StatusCode::OK),
            RequestTarget::Token | RequestTarget::Unknown => {
                SimulatedReply::usual(404, correlation)
            }
        }
    }

    /// The limits that are in force: lowered and raised ones, too.
    fn limits(&self, namespace: &str) -> SimulatedReply {
        let of_a_token = self.settings.requests_per_minute.unwrap_or(300);
        let limits = [
            ("client.credentials.token.rate.per.minute", of_a_token),
            ("org.app.user.rate.per.minute", 3_000),
            ("request.bytes.max", 512_000),
        ];
        let of_the_platform = limits.iter().filter(|_| namespace == "platform.api");
        let entities: Vec<Value> = of_the_platform
            .map(|(key, value)| json!({"key": key, "namespace": namespace, "value": value}))
            .collect();
        SimulatedReply::json(StatusCode::OK, &json!({"entities": entities}))
    }

    fn read(
        &self,
        shape: DocumentShape,
        id: &str,
        correlation: &str,
        now: Instant,
    ) -> SimulatedReply {
        match (self.state.view(id, shape, now), shape) {
            (Some(document), _) => SimulatedReply::json(StatusCode::OK, &document),
            (None, DocumentShape::Generic) => SimulatedReply::usual(404, correlation),
            (None, DocumentShape::Calls) => {
                let code = "conversation.error.conversation.not.found";
                SimulatedReply::error(
                    404,
                    code,
                    "The requested conversation was not found.",
                    correlation,
                )
            }
        }
    }

    /// The voice participant of some descriptions, which the platform does not have; off by default.
    fn voice(
        &mut self,
        arrival: &RequestArrival,
        correlation: &str,
        now: Instant,
    ) -> SimulatedReply {
        if !self.settings.voice_paths {
            return SimulatedReply::usual(404, correlation);
        }
        if arrival.target.kind() == RequestKind::Patch
            && let Err(refusal) = self.patch(arrival, correlation, now)
        {
            return *refusal;
        }
        match self.participant(&arrival.target, now) {
            Some(found) => SimulatedReply::json(StatusCode::OK, &found),
            None => SimulatedReply::usual(404, correlation),
        }
    }

    fn participant(&self, target: &RequestTarget, now: Instant) -> Option<Value> {
        let id = target.participant()?;
        let document = self.state.view(target.conversation()?, DocumentShape::Calls, now)?;
        document["participants"].as_array()?.iter().find(|person| person["id"] == id).cloned()
    }

    /// Applies a PATCH; returns its changes, or the refusal to send.
    fn patch(
        &mut self,
        arrival: &RequestArrival,
        correlation: &str,
        now: Instant,
    ) -> Result<AttributeChanges, Box<SimulatedReply>> {
        let json =
            arrival.header("content-type").is_some_and(|t| t.starts_with("application/json"));
        if !json {
            return Err(Box::new(SimulatedReply::usual(415, correlation)));
        }
        let changes = patch::read(arrival.bytes(), &self.settings)
            .map_err(|(code, message)| SimulatedReply::error(400, code, &message, correlation))?;
        let write = DelayedPatch {
            due: now,
            conversation: arrival.target.conversation().unwrap_or_default().to_owned(),
            participant: arrival.target.participant().unwrap_or_default().to_owned(),
            changes: changes.clone(),
            request_id: arrival.request_id(),
            user_agent: arrival.user_agent(),
        };
        self.write_as_gateway(write).map_err(|refused| match refused {
            WriteRefusal::NoConversation | WriteRefusal::NoParticipant => {
                SimulatedReply::usual(404, correlation)
            }
            WriteRefusal::TooLarge => SimulatedReply::too_large(correlation),
            WriteRefusal::Ended => {
                let message = "The conversation is no longer active.";
                SimulatedReply::error(400, "bad.request", message, correlation)
            }
        })?;
        Ok(changes)
    }

    fn details(&self, arrival: &RequestArrival, correlation: &str) -> SimulatedReply {
        let documents = self.state.all().map(|(_, conversation)| &conversation.generic);
        match analytics::query(arrival.bytes(), documents) {
            Ok(answer) => SimulatedReply::json(StatusCode::OK, &answer),
            Err(message) => SimulatedReply::error(400, "bad.request", &message, correlation),
        }
    }
}
