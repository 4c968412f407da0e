//! The three routes upstream: any conversation, voice alone, and an operator's own templates.

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{Builder, CALL, CUSTOMER, TestApp, ms};

const VOICE: &str = "/api/v2/conversations/voice/{conversationId}/participants/{participantId}";

/// The paths of the tutorial that this service grew from, served by a proxy.
fn tutorial() -> Builder {
    TestApp::new()
        .with_settings(|settings| settings.voice_paths = true)
        .with_env("GATEWAY__GENESYS__ROUTE", "custom")
        .with_env("GATEWAY__GENESYS__CUSTOM__PARTICIPANT", VOICE)
        .with_env("GATEWAY__GENESYS__CUSTOM__ATTRIBUTES", VOICE)
}

fn customer(query: &str) -> String {
    format!("?participant={CUSTOMER}{query}")
}

/// Method and path of every API call, in order.
fn requests(app: &TestApp) -> Vec<String> {
    let calls = app.simulator.calls();
    let api = calls.iter().filter(|call| call.kind != RequestKind::Token);
    api.map(|call| format!("{} {}", call.method, call.path)).collect()
}

#[tokio::test(start_paused = true)]
async fn by_default_any_conversation_is_served() {
    let app = TestApp::new().with_lag(ms(1)).start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_outcomes(&[("tier", "verified")]);
    let read = format!("GET /api/v2/conversations/{CALL}");
    let patch = format!("PATCH /api/v2/conversations/{CALL}/participants/{CUSTOMER}/attributes");
    assert_eq!(requests(&app), [read.clone(), patch, read]);
}

#[tokio::test(start_paused = true)]
async fn the_route_for_voice_reads_and_writes_calls() {
    let app =
        TestApp::new().reading_first().with_lag(ms(1)).with_env("GATEWAY__GENESYS__ROUTE", "calls");
    let app = app.start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(answer.at("/participant/state"), "connected");
    let read = format!("GET /api/v2/conversations/calls/{CALL}");
    let patch =
        format!("PATCH /api/v2/conversations/calls/{CALL}/participants/{CUSTOMER}/attributes");
    assert_eq!(requests(&app), [read.clone(), patch, read]);
    // That shape has no end time; it is over when everybody has left.
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "", json!({"tier": "platinum"})).await;
    answer.assert_problem(409, "conversation-ended", "notApplied");
    app.read(CALL, "").await.assert_status(200);
    let unknown = "5eed0000-0000-4000-8000-00000000dead";
    app.read(unknown, "").await.assert_problem(404, "conversation-not-found", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn the_tutorial_paths_work_with_a_proxy_that_serves_them() {
    let app = tutorial().reading_first().start().await;
    let read = app.read(CALL, &customer("")).await;
    read.assert_status(200);
    assert_eq!(
        read.at("/attributes"),
        json!({"language": "en", "source": "web", "tier": "silver"})
    );
    assert_eq!(read.at("/participant/chosenBy"), "id");
    app.simulator.clear_calls();
    let answer = app.write(CALL, &customer(""), json!({"tier": "gold", "language": "en"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("language", "unchanged"), ("tier", "verified")]);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
    let path = format!("/api/v2/conversations/voice/{CALL}/participants/{CUSTOMER}");
    let expected = ["GET", "PATCH", "GET", "GET", "GET"].map(|method| format!("{method} {path}"));
    assert_eq!(requests(&app), expected);
    assert!(app.simulator.calls().iter().all(|call| call.was_answered(200)));
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
}

#[tokio::test(start_paused = true)]
async fn a_route_without_conversations_needs_participant_ids() {
    let app = tutorial().start().await;
    for query in ["", "?participant=agent", "?participant=first", "?participant=agent:last"] {
        app.read(CALL, query).await.assert_problem(400, "invalid-participant", "notApplied");
        let write = app.write(CALL, query, json!({"tier": "gold"})).await;
        write.assert_problem(400, "invalid-participant", "notApplied");
    }
    app.read(CALL, "?participant=all").await.assert_status(400);
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn such_a_route_does_not_know_whether_a_conversation_is_live() {
    let app = tutorial().start().await;
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, &customer(""), json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_a_custom_route_does_not_know_is_not_found() {
    let app = tutorial().start().await;
    let nobody = "?participant=c0000000-0000-4000-8000-00000000dead";
    let answer = app.read(CALL, nobody).await;
    answer.assert_problem(404, "conversation-not-found", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn a_custom_route_with_conversations_allows_selectors() {
    let app = tutorial().reading_first();
    let app = app.with_env(
        "GATEWAY__GENESYS__CUSTOM__CONVERSATION",
        "/api/v2/conversations/{conversationId}",
    );
    let app = app.with_lag(ms(1)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(answer.at("/participant/chosenBy"), "purpose");
    let read = format!("GET /api/v2/conversations/{CALL}");
    let patch = format!("PATCH /api/v2/conversations/voice/{CALL}/participants/{CUSTOMER}");
    assert_eq!(requests(&app), [read.clone(), patch, read]);
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "", json!({"tier": "platinum"})).await;
    answer.assert_problem(409, "conversation-ended", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn on_a_custom_route_any_2xx_is_acceptance() {
    for status in [200, 201, 202, 204] {
        let accepted = FaultAction::Empty { status, applied: true };
        let app = tutorial().with_fault(ScriptedFault::on_patch(accepted)).start().await;
        let answer = app.write(CALL, &customer(""), json!({"tier": "gold"})).await;
        answer.assert_outcomes(&[("tier", "verified")]);
        assert_eq!(app.simulator.count(RequestKind::Patch), 1);
    }
}
