//! Answers of upstream that cannot be used: pages, nothing, halves, too much, other JSON.

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::{Value, json};

use crate::harness::{Answer, Builder, CALL, TestApp, ms};

fn failing_patch(action: FaultAction) -> Builder {
    TestApp::new().with_fault(ScriptedFault::on_patch(action))
}

async fn gold(app: &TestApp) -> Answer {
    app.write(CALL, "", json!({"tier": "gold"})).await
}

#[tokio::test(start_paused = true)]
async fn an_unusable_answer_to_a_read_is_an_invalid_response() {
    let no_conversation =
        |body: Value| FaultAction::Status { code: 200, body: Some(body), retry_after: None };
    let answers = [
        FaultAction::Html,
        FaultAction::Empty { status: 204, applied: false },
        FaultAction::Empty { status: 200, applied: false },
        FaultAction::Truncated,
        FaultAction::GarbageJson,
        FaultAction::Oversized { bytes: 3 << 20 },
        FaultAction::Status { code: 302, body: None, retry_after: None },
        no_conversation(json!({})),
        no_conversation(json!([])),
        no_conversation(json!("text")),
        no_conversation(json!({"id": 7, "participants": {}})),
        no_conversation(json!({"id": CALL, "participants": [{"attributes": 1}]})),
    ];
    for action in answers {
        let app = TestApp::new()
            .with_fault(ScriptedFault::on_read(action.clone()).times(2))
            .start()
            .await;
        let read = app.read(CALL, "").await;
        read.assert_problem(502, "upstream-invalid-response", "notApplied");
        assert_eq!(read.took, ms(20), "{action:?}");
        gold(&app).await.assert_problem(502, "upstream-invalid-response", "notApplied");
        assert_eq!(app.order(), "RR", "{action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_read_that_breaks_off_is_asked_for_again() {
    let app =
        TestApp::new().with_fault(ScriptedFault::on_read(FaultAction::WrongLength)).start().await;
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(app.order(), "RR");
}

#[tokio::test(start_paused = true)]
async fn how_large_an_answer_may_be_is_a_setting() {
    let larger = FaultAction::Oversized { bytes: 3 << 20 };
    let app = TestApp::new().with_env("GATEWAY__GENESYS__MAX_RESPONSE_BYTES", "4 MiB");
    let app = app.with_fault(ScriptedFault::on_read(larger)).start().await;
    // It is read, and has no participants.
    app.read(CALL, "").await.assert_problem(404, "participant-not-found", "notApplied");
    let app =
        TestApp::new().with_env("GATEWAY__GENESYS__MAX_RESPONSE_BYTES", "1 KiB").start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(502, "upstream-invalid-response", "notApplied");
    assert!(answer.at("/detail").to_string().contains("larger than 1024 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_patch_answered_with_2xx_is_accepted_whatever_its_body() {
    let bodies = [
        FaultAction::Empty { status: 200, applied: true },
        FaultAction::Empty { status: 204, applied: true },
        FaultAction::Truncated,
    ];
    for action in bodies {
        let app = failing_patch(action).start().await;
        let answer = gold(&app).await;
        answer.assert_outcomes(&[("tier", "verified")]);
        assert_eq!(app.simulator.count(RequestKind::Patch), 1);
    }
    // Not applied, which cannot be known: accepted, and never seen.
    for action in [FaultAction::GarbageJson, FaultAction::Empty { status: 200, applied: false }] {
        let app = failing_patch(action).start().await;
        let answer = gold(&app).await;
        answer.assert_status(202);
        answer.assert_outcomes(&[("tier", "unverified")]);
        assert!(answer.took < ms(5000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_with_an_unusable_answer_is_read_before_a_retry() {
    for action in [FaultAction::Html, FaultAction::Oversized { bytes: 3 << 20 }] {
        let app = failing_patch(action.clone()).with_lag(ms(1)).start().await;
        gold(&app).await.assert_outcomes(&[("tier", "verified")]);
        assert_eq!(app.order(), "RPRPR", "{action:?}");
    }
}
