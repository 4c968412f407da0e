//! `Idempotency-Key`: a repeated write gets the answer of the first one.
//!
//! The middleware opens an [`AnswerTicket`] and stores the answer. The handler asks the store, because only
//! it knows the body. A write with a key runs on when the client hangs up, so that a repeat finds its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::IntoParams;
use uuid::Uuid;

use super::hidden;
use super::paths;
use super::prefer::PREFERENCE_APPLIED;
use super::problem::LoggedResult;
use super::problem::Problem;
use super::state::AppState;
use crate::clock;
use crate::domain::{Client, ClientRights, Patch, Violation};
use crate::error::{Effect, Error, ErrorCode, RequestFailure};
use crate::ports::store::{
    AnswerClaim, ContentDigest, IdempotencyScope, IdempotencyState, IdempotencyStore, PrivateBytes,
    StoreError,
};
use crate::ports::{BoxFuture, WriteNotes, patch_digest};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY: usize = 255;

/// The pauses between two looks at a request that is still running.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Time that is left for the answer when the wait for the first request ends.
const ANSWER_TIME: Duration = Duration::from_millis(50);
const VERSION: u8 = 1;

/// The key of a write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `key_of` reads")]
pub(super) struct IdempotencyHeader {
    /// A name that the client gives to this write, such as a UUID. A repeat with the same key gets the
    /// stored answer of the first request, for 24 hours, and writes nothing
    #[param(rename = "Idempotency-Key", required = false, value_type = String, pattern = "^[!-~]{1,257}$")]
    key: String,
}

/// An answer as it is stored, or the state before a PATCH that has no answer yet.
#[derive(Clone, Default, Serialize, Deserialize)]
struct StoredAnswer {
    version: u8,
    record: String,
    owner: [u8; 16],
    status: u16,
    code: Option<String>,
    content_type: Option<String>,
    etag: Option<String>,
    location: Option<String>,
    body: String,
    /// Whether a repeat has to read what became of the write.
    is_open: bool,
    before: Option<ContentDigest>,
    /// Until this time, in milliseconds since 1970, the first request may still be running.
    runs_until: i64,
}

/// The key of a request: 1 to 255 visible ASCII characters, in quotes or not.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(unquoted),
        _ => None,
    };
    let is_valid = |key: &String| {
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    key.filter(is_valid).ok_or_else(|| {
        let detail = "must appear once, with 1 to 255 visible ASCII characters and no space";
        Problem::listing(ErrorCode::InvalidHeader, Violation::new("Idempotency-Key", detail))
    })
}

/// The content of a string in quotes (RFC 9651), or the text itself.
fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let mut characters = rest.strip_suffix('"')?.chars();
    let mut key = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => key.push(characters.next().filter(|next| ['"', '\\'].contains(next))?),
            other => key.push(other),
        }
    }
    Some(key)
}

/// What connects the handler of a write with the layer that stores its answer.
#[derive(Clone, Default)]
pub(super) struct AnswerTicket(Arc<Mutex<Option<Arc<AnswerNotes>>>>);

impl AnswerTicket {
    /// The notes of the write, once the store was asked.
    pub(super) fn notes(&self) -> Option<Arc<AnswerNotes>> {
        self.0.lock().clone()
    }
}

/// Stores the answer to a write with an idempotency key.
pub(super) async fn keep_answer(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let is_write = route.is_some_and(|route| paths::is_of_attributes(route.as_str()))
        && !request.method().is_safe();
    if !is_write || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    let ticket = AnswerTicket::default();
    request.extensions_mut().insert(ticket.clone());
    let answer = async move {
        let response = next.run(request).await;
        match ticket.notes() {
            Some(notes) => notes.keep(response).await,
            None => response,
        }
    };
    let ended = state.ops.in_flight.spawn(answer).await;
    ended.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

pub(super) enum AnswerLookup {
    New(Arc<AnswerNotes>),
    Known(Response),
}

pub(super) struct KeyedRequest {
    ticket: AnswerTicket,
    request: String,
}

impl KeyedRequest {
    pub(super) fn new(parts: &Parts) -> Result<Option<Self>, Problem> {
        let Some(ticket) = parts.extensions.get::<AnswerTicket>() else { return Ok(None) };
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let request = format!("{} {target} {}", parts.method, key_of(&parts.headers)?);
        Ok(Some(Self { ticket: ticket.clone(), request }))
    }

    /// Looks the key up, and waits until `deadline` for a request that is still running.
    pub(super) async fn look_up(
        &self,
        store: &Arc<dyn IdempotencyStore>,
        client: &Client,
        patch: &Patch,
        deadline: Instant,
    ) -> Result<AnswerLookup, RequestFailure> {
        let name = client.name.as_str().to_owned();
        let scope = IdempotencyScope { client: name, request: self.request.clone() };
        let fingerprint = patch_digest(patch);
        let mut pause = FIRST_LOOK;
        loop {
            let state = store.begin(scope.clone(), fingerprint).await.map_err(Error::from)?;
            match state {
                IdempotencyState::Mismatch => return Err(Error::IdempotencyKeyReused.into()),
                IdempotencyState::New { claim, .. } => {
                    return Ok(self.open(store, claim, None, deadline));
                }
                IdempotencyState::Finished(bytes) => {
                    let answer = StoredAnswer::read(&bytes).map_err(Error::from)?;
                    if !answer.is_open {
                        return Ok(AnswerLookup::Known(answer.replay(&client.rights)));
                    }
                    if answer.runs_until <= millis() {
                        let claim = AnswerClaim {
                            record: answer.record,
                            owner: Uuid::from_bytes(answer.owner),
                        };
                        return Ok(self.open(store, claim, answer.before, deadline));
                    }
                }
                IdempotencyState::InProgress => {}
            }
            let next = Instant::now() + pause;
            if next + ANSWER_TIME >= deadline {
                let detail = "a request with this idempotency key is still being carried out";
                // The write of the first request may be made already.
                let (error, effect) = (Error::OperationInProgress(detail), Effect::Unknown);
                return Err(RequestFailure { error, effect });
            }
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    fn open(
        &self,
        store: &Arc<dyn IdempotencyStore>,
        claim: AnswerClaim,
        earlier: Option<ContentDigest>,
        deadline: Instant,
    ) -> AnswerLookup {
        let notes = Arc::new(AnswerNotes {
            store: Arc::clone(store),
            claim,
            earlier,
            noted: Mutex::new(earlier),
            deadline,
        });
        *self.ticket.0.lock() = Some(Arc::clone(&notes));
        AnswerLookup::New(notes)
    }
}

pub(super) struct AnswerNotes {
    store: Arc<dyn IdempotencyStore>,
    claim: AnswerClaim,
    earlier: Option<ContentDigest>,
    /// The state before the last PATCH.
    noted: Mutex<Option<ContentDigest>>,
    deadline: Instant,
}

impl std::fmt::Debug for AnswerNotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerNotes").finish_non_exhaustive()
    }
}

impl WriteNotes for AnswerNotes {
    fn earlier(&self) -> Option<ContentDigest> {
        self.earlier
    }

    fn before_sending(&self, state: ContentDigest) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX / 4);
            let note = StoredAnswer {
                is_open: true,
                before: Some(state),
                runs_until: millis() + left + 1_000,
                ..self.empty()
            };
            self.store.complete(self.claim.clone(), note.bytes()).await.map_err(Error::from)?;
            *self.noted.lock() = Some(state);
            Ok(())
        })
    }
}

impl AnswerNotes {
    /// The id of the operation that this request becomes: the same one after a crash.
    pub(super) fn operation_id(&self) -> Uuid {
        let digits = self.claim.record.get(..32).unwrap_or_default();
        Uuid::try_parse(digits).unwrap_or(self.claim.owner)
    }

    fn empty(&self) -> StoredAnswer {
        let (record, owner) = (self.claim.record.clone(), self.claim.owner.into_bytes());
        StoredAnswer { version: VERSION, record, owner, ..StoredAnswer::default() }
    }

    /// Stores the answer, or forgets the key if nothing was changed.
    async fn keep(&self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let logged = parts.extensions.get::<LoggedResult>().copied().unwrap_or(LoggedResult {
            status: parts.status,
            effect: Effect::NotApplied,
            code: None,
        });
        let header = |name: &HeaderName| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        let location = header(&LOCATION);
        let is_settled = logged.code == Some(ErrorCode::WriteSuperseded)
            || logged.effect == Effect::Applied && logged.status != StatusCode::ACCEPTED;
        let is_success = logged.code.is_none() && logged.status != StatusCode::ACCEPTED;
        let answer = StoredAnswer {
            status: parts.status.as_u16(),
            code: logged.code.map(|code| code.as_str().to_owned()),
            content_type: header(&CONTENT_TYPE),
            etag: header(&ETAG),
            is_open: !(is_settled || is_success || location.is_some()),
            location,
            body: String::from_utf8_lossy(&body).into_owned(),
            before: *self.noted.lock(),
            ..self.empty()
        };
        let is_kept = logged.code.is_none() || logged.effect != Effect::NotApplied;
        let stored = if is_kept {
            self.store.complete(self.claim.clone(), answer.bytes()).await
        } else {
            self.store.abandon(self.claim.clone()).await
        };
        if let Err(error) = stored {
            tracing::warn!(%error, "the answer of an idempotency key cannot be stored");
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl StoredAnswer {
    fn read(bytes: &PrivateBytes) -> Result<Self, StoreError> {
        let answer: Option<Self> = serde_json::from_slice(&bytes.0).ok();
        let answer = answer.filter(|answer| answer.version == VERSION);
        answer.ok_or_else(|| StoreError::Unreadable("another version wrote it".to_owned()))
    }

    fn bytes(&self) -> PrivateBytes {
        // Texts and numbers have a form in JSON.
        PrivateBytes(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The answer, without keys that were hidden from the client since.
    fn replay(mut self, rights: &ClientRights) -> Response {
        if !rights.sees_all()
            && let Ok(mut body) = serde_json::from_str(&self.body)
            && hidden::hide(&mut body, rights)
        {
            self.body = body.to_string();
        }
        let mut response = Response::new(Body::from(self.body));
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        *response.status_mut() = status;
        let applied = self.location.as_ref().map(|_| "respond-async".to_owned());
        let replayed = Some("true".to_owned());
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (ETAG, self.etag),
            (LOCATION, self.location),
            (PREFERENCE_APPLIED, applied),
            (IDEMPOTENCY_REPLAYED, replayed),
        ] {
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            response.headers_mut().extend(value.map(|value| (name, value)));
        }
        let code = self.code.as_deref().and_then(ErrorCode::parse);
        response.extensions_mut().insert(LoggedResult { status, effect: Effect::NotApplied, code });
        response
    }
}

fn millis() -> i64 {
    i64::try_from(clock::now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Option<String> {
        let values = values.iter().map(|value| value.parse().expect("a value"));
        key_of(&values.map(|value| (IDEMPOTENCY_KEY, value)).collect()).ok()
    }

    #[test]
    fn quoted_and_bare_keys_are_the_same() {
        assert_eq!(key(&["crm-1"]), key(&["\"crm-1\""]));
        assert_eq!(key(&[r#""a\"b\\""#]).as_deref(), Some(r#"a"b\"#));
        assert_eq!(key(&[&"x".repeat(255)]).map(|key| key.len()), Some(255));
        let long = "x".repeat(256);
        for bad in ["", "\"\"", "a b", "\"a", "\"a\"b\"", "\"a\\n\"", "é", long.as_str()] {
            assert_eq!(key(&[bad]), None, "{bad}");
        }
        assert_eq!(key(&["a", "a"]), None);
    }
}
