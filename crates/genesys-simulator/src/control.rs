//! The control API under `/__sim`, for programs outside the process. It accepts loopback peers only
//! and always answers in JSON.

use std::net::SocketAddr;
use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    AttributeChanges, LedgerEntry, ScriptedFault, Simulator, WriteSource,
    journal::{micros, millis},
};

/// An answer, or a status with the reason of the refusal.
type ControlResult = Result<Json<Value>, (StatusCode, Json<Value>)>;
/// The same for requests that create something.
type CreateResult = Result<(StatusCode, Json<Value>), (StatusCode, Json<Value>)>;

pub(super) fn routes() -> Router<Simulator> {
    Router::new()
        .route("/faults", get(faults).post(inject).delete(clear_faults))
        .route("/calls", get(calls).delete(clear_calls))
        .route("/clock", get(clock))
        .route("/ledger", get(ledger))
        .route("/conversations", get(conversations).post(load))
        .route("/conversations/{id}/end", post(end))
        .route("/write", post(write))
        .route("/settings", patch(change_settings).get(settings))
        .route("/tokens/kill", post(kill_tokens))
        .layer(middleware::from_fn(loopback_only))
}

/// A request without a peer came from inside the process.
async fn loopback_only(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if peer.is_none_or(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback()) {
        return next.run(request).await;
    }
    refuse(StatusCode::FORBIDDEN, "the control API answers loopback peers only").into_response()
}

fn refuse(status: StatusCode, text: impl Into<String>) -> (StatusCode, Json<Value>) {
    (status, Json(json!({"error": text.into()})))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, Json<Value>)> {
    serde_json::from_slice(body)
        .map_err(|problem| refuse(StatusCode::BAD_REQUEST, problem.to_string()))
}

async fn faults(State(simulator): State<Simulator>) -> Json<Value> {
    Json(json!(simulator.faults()))
}

/// Adds one fault or a list of faults. A list with a mistake adds none.
async fn inject(State(simulator): State<Simulator>, body: Bytes) -> CreateResult {
    let faults: Vec<ScriptedFault> = match parse::<Value>(&body)? {
        list @ Value::Array(_) => parse(list.to_string().as_bytes())?,
        one => vec![parse(one.to_string().as_bytes())?],
    };
    for fault in faults {
        simulator.inject(fault);
    }
    Ok((StatusCode::CREATED, Json(json!({"faults_left": simulator.faults_left()}))))
}

async fn clear_faults(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.clear_faults();
    Json(json!({"faults_left": 0}))
}

async fn calls(State(simulator): State<Simulator>) -> Json<Value> {
    let start = simulator.shared.start;
    let calls: Vec<Value> = simulator.calls().iter().map(|call| call.to_json(start)).collect();
    Json(json!(calls))
}

async fn clear_calls(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.clear_calls();
    Json(json!({"calls": 0}))
}

/// The clock of the calls and the ledger. A program outside can compare its own clock with it.
async fn clock(State(simulator): State<Simulator>) -> Json<Value> {
    let now = simulator.world().1.now;
    Json(json!({"at_us": micros(simulator.shared.start, now)}))
}

async fn ledger(State(simulator): State<Simulator>) -> Json<Value> {
    let start = simulator.shared.start;
    let entry = |entry: &LedgerEntry| {
        json!({
            "seq": entry.seq,
            "at_ms": millis(start, entry.at),
            "at_us": micros(start, entry.at),
            "conversation": entry.conversation,
            "participant": entry.participant,
            "writer": if entry.writer == WriteSource::Gateway { "gateway" } else { "other" },
            "changes": entry.changes,
            "before": entry.before,
            "after": entry.after,
            "visible_at_ms": millis(start, entry.visible_at),
            "visible_at_us": micros(start, entry.visible_at),
            "request_id": entry.request_id,
            "user_agent": entry.user_agent,
        })
    };
    Json(simulator.ledger().iter().map(entry).collect())
}

async fn conversations(State(simulator): State<Simulator>) -> Json<Value> {
    let (world, _) = simulator.world();
    let listed = world.state.all().map(|(id, conversation)| {
        json!({
            "id": id,
            "description": conversation.description,
            "live": !conversation.ended,
        })
    });
    Json(listed.collect())
}

async fn load(State(simulator): State<Simulator>, body: Bytes) -> CreateResult {
    let document: Value = parse(&body)?;
    let id = simulator
        .add_conversation(&document)
        .map_err(|problem| refuse(StatusCode::BAD_REQUEST, problem.to_string()))?;
    Ok((StatusCode::CREATED, Json(json!({"id": id}))))
}

async fn end(State(simulator): State<Simulator>, Path(id): Path<String>) -> ControlResult {
    if simulator.end_conversation(&id) {
        return Ok(Json(json!({"id": id, "live": false})));
    }
    Err(refuse(StatusCode::NOT_FOUND, format!("there is no conversation `{id}`")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForeignWrite {
    conversation: String,
    participant: String,
    /// `null` removes a key.
    attributes: AttributeChanges,
    /// Reads show it only after this time, such as `"300ms"`.
    #[serde(default, with = "super::settings::duration_text")]
    lag: Duration,
}

async fn write(State(simulator): State<Simulator>, body: Bytes) -> ControlResult {
    let write: ForeignWrite = parse(&body)?;
    let (conversation, participant) = (&write.conversation, &write.participant);
    if simulator.change_as_other_late(conversation, participant, write.attributes, write.lag) {
        let attributes = simulator.attributes(conversation, participant);
        return Ok(Json(json!({"attributes": attributes})));
    }
    let text =
        format!("there is no participant `{participant}` in a conversation `{conversation}`");
    Err(refuse(StatusCode::NOT_FOUND, text))
}

async fn settings(State(simulator): State<Simulator>) -> Json<Value> {
    Json(simulator.settings().shown())
}

async fn change_settings(State(simulator): State<Simulator>, body: Bytes) -> ControlResult {
    let changes: Map<String, Value> = parse(&body)?;
    let (mut world, _) = simulator.world();
    world.settings = world
        .settings
        .changed(changes)
        .map_err(|problem| refuse(StatusCode::BAD_REQUEST, problem.to_string()))?;
    Ok(Json(world.settings.shown()))
}

async fn kill_tokens(State(simulator): State<Simulator>) -> Json<Value> {
    Json(json!({"killed": simulator.kill_tokens()}))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::{FaultAction, FaultScope, SimulatedCall, SimulatorSettings};

    async fn ask(simulator: &Simulator, line: &str, body: &Value) -> (u16, Value) {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).body(body).expect("well formed");
        let response = simulator.router().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("whole");
        (status, serde_json::from_slice(&bytes).expect("it is JSON"))
    }

    fn simulator() -> Simulator {
        let simulator = Simulator::new(SimulatorSettings::default());
        let call = SimulatedCall::new("c").described("one").customer("p", [("a", "1")]);
        simulator.add_call(call).expect("the first");
        simulator
    }

    #[tokio::test]
    async fn faults_are_added_singly_or_as_a_list_and_removed() {
        let simulator = simulator();
        let one =
            json!({"on": {"kind": "patch"}, "times": 2, "action": "throttle", "retry_after": 3});
        let answer = ask(&simulator, "POST /__sim/faults", &one).await;
        assert_eq!(answer, (201, json!({"faults_left": 2})));
        let throttle = FaultAction::Throttle { retry_after: Some(3) };
        assert_eq!(
            simulator.faults(),
            [ScriptedFault::new(throttle).on(FaultScope::Patch).times(2)]
        );
        let list = json!([{"action": "hang"}, {"action": "no_such"}]);
        assert_eq!(ask(&simulator, "POST /__sim/faults", &list).await.0, 400);
        assert_eq!(simulator.faults_left(), 2);
        assert_eq!(ask(&simulator, "DELETE /__sim/faults", &Value::Null).await.0, 200);
        assert_eq!(ask(&simulator, "GET /__sim/faults", &Value::Null).await, (200, json!([])));
    }

    #[tokio::test]
    async fn conversations_are_listed_written_and_ended() {
        let simulator = simulator();
        let write =
            json!({"conversation": "c", "participant": "p", "attributes": {"a": null, "b": "2"}});
        let answer = ask(&simulator, "POST /__sim/write", &write).await;
        assert_eq!(answer, (200, json!({"attributes": {"b": "2"}})));
        assert_eq!(ask(&simulator, "POST /__sim/conversations/c/end", &Value::Null).await.0, 200);
        assert_eq!(ask(&simulator, "POST /__sim/conversations/x/end", &Value::Null).await.0, 404);
        let list = ask(&simulator, "GET /__sim/conversations", &Value::Null).await;
        assert_eq!(list, (200, json!([{"id": "c", "description": "one", "live": false}])));
        let (_, ledger) = ask(&simulator, "GET /__sim/ledger", &Value::Null).await;
        assert_eq!(
            (&ledger[0]["writer"], &ledger[0]["before"]),
            (&json!("other"), &json!({"a": "1"}))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_write_can_become_visible_late() {
        let simulator = simulator();
        let write = json!({"conversation": "c", "participant": "p", "attributes": {"a": "2"}, "lag": "300ms"});
        assert_eq!(ask(&simulator, "POST /__sim/write", &write).await.0, 200);
        let seen = || {
            let (world, at) = simulator.world();
            let view = world.state.view("c", crate::shapes::DocumentShape::Generic, at.now);
            view.expect("it exists")["participants"][0]["attributes"]["a"].clone()
        };
        assert_eq!(seen(), "1");
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(seen(), "2");
        let (_, clock) = ask(&simulator, "GET /__sim/clock", &Value::Null).await;
        let (_, ledger) = ask(&simulator, "GET /__sim/ledger", &Value::Null).await;
        assert_eq!(ledger[0]["at_us"], 0);
        assert_eq!(ledger[0]["visible_at_us"], clock["at_us"]);
    }

    #[tokio::test]
    async fn bad_input_is_refused_with_a_reason() {
        let simulator = simulator();
        let (status, body) = ask(&simulator, "PATCH /__sim/settings", &json!({"lagg": "1s"})).await;
        assert_eq!(status, 400);
        assert!(body["error"].as_str().is_some_and(|text| text.contains("`lagg`")), "{body}");
        let (status, body) =
            ask(&simulator, "POST /__sim/conversations", &json!({"id": "x"})).await;
        assert_eq!(
            (status, body),
            (400, json!({"error": "the conversation has no `participants`"}))
        );
        let (status, body) =
            ask(&simulator, "PATCH /__sim/settings", &json!({"lag": "300ms"})).await;
        assert_eq!(
            (status, &body["lag"], &body["client_secret"]),
            (200, &json!("300ms"), &json!("***"))
        );
    }

    #[tokio::test]
    async fn peers_that_are_not_loopback_are_refused() {
        let status = async |peer: &str| {
            let peer: SocketAddr = peer.parse().expect("an address");
            let mut request =
                Request::get("/__sim/calls").body(Body::empty()).expect("well formed");
            request.extensions_mut().insert(ConnectInfo(peer));
            simulator().router().oneshot(request).await.expect("infallible").status().as_u16()
        };
        assert_eq!(status("192.0.2.7:1").await, 403);
        assert_eq!(status("127.0.0.1:1").await, 200);
        assert_eq!(status("[::ffff:127.0.0.1]:1").await, 200);
    }
}
