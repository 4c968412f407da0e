//! One token for everybody: fetched once, renewed ahead, replaced when the API refuses it; and
//! what clients and operators see when there is none.
//!
//! The token endpoint answers at once, everything else after 20 ms.

use std::time::Duration;

use attribute_gateway::genesys::JitterSource;
use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::{Value, json};

use crate::harness::{Answer, CALL, TestApp, attributes_of, ms, request, send};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// This many reads at once.
async fn crowd(app: &TestApp, readers: usize) -> Vec<Answer> {
    let tasks: Vec<_> = (0..readers)
        .map(|_| {
            let request = request("GET", &attributes_of(CALL)).body(axum::body::Body::empty());
            tokio::spawn(send(app.router(), request.expect("a request")))
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a caller does not panic"));
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_share_one_fetch() {
    let slow = FaultAction::Delay { by: ms(500), after_apply: false };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(slow)).start_without_token();
    let answers = crowd(&app, 100).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.took == ms(520)));
    assert_eq!(app.simulator.count(RequestKind::Token), 1);
    assert!(answers[0].header("server-timing").contains("token;dur=500"), "{:?}", answers[0]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_early_while_the_old_one_is_used() {
    let slow = FaultAction::Delay { by: ms(1500), after_apply: false };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(slow).skip(1));
    let app = app.with_settings(|settings| settings.token_lifetime = secs(300)).start().await;
    // A minute ahead, and up to a quarter of that more.
    let spread = ms(15_000).mul_f64(JitterSource::seeded(7).unit());
    let renewal = secs(240).saturating_sub(spread).as_micros().div_ceil(1000);
    tokio::time::sleep(ms(u64::try_from(renewal).expect("small") + 500)).await;
    let answers = crowd(&app, 20).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.took == ms(20)));
    assert_eq!(app.sent(RequestKind::Token), [0, renewal], "by one task, once");
    tokio::time::sleep(ms(1500)).await;
    app.read(CALL, "").await.assert_status(200);
    let tokens: Vec<_> = app.simulator.calls().iter().filter_map(|call| call.token).collect();
    assert_eq!((tokens[0], *tokens.last().expect("calls")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_renewed_at_half_of_its_life() {
    let app = TestApp::new().with_settings(|settings| settings.token_lifetime = secs(30));
    let app = app.start().await;
    for _ in 0..300 {
        app.read(CALL, "").await.assert_status(200);
        tokio::time::sleep(ms(980)).await;
    }
    assert!(app.simulator.calls().iter().all(|call| !call.was_answered(401)));
    let fetches = app.simulator.count(RequestKind::Token);
    assert!((20..=27).contains(&fetches), "{fetches} in 300 s: every 11 to 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_early_is_replaced_once_for_all_who_saw_it() {
    let app = TestApp::new().start().await;
    app.simulator.kill_tokens();
    let answers = crowd(&app, 100).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.took == ms(40)));
    assert_eq!(app.simulator.count(RequestKind::Token), 2);
    // In the middle of a write, too.
    let app =
        TestApp::new().with_fault(ScriptedFault::on_patch(FaultAction::Unauthorized)).start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    assert_eq!(
        (app.simulator.count(RequestKind::Token), app.simulator.count(RequestKind::Patch)),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn refused_tokens_fail_without_a_flood_of_fetches() {
    let refused = FaultAction::Status { code: 401, body: None, retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_read(refused.clone()).always());
    let app = app.with_fault(ScriptedFault::on_patch(refused)).allowing_leftovers().start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(502, "upstream-auth-failed", "notApplied");
    assert_eq!((app.order().as_str(), app.simulator.count(RequestKind::Token)), ("RR", 2));
    for _ in 0..100 {
        app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(502);
    }
    // 5 in reserve and one more every ten seconds; this took 4 s at most.
    assert_eq!(app.simulator.count(RequestKind::Token), 6);
    tokio::time::sleep(secs(10)).await;
    app.read(CALL, "").await.assert_status(502);
    assert_eq!(app.simulator.count(RequestKind::Token), 7);
}

#[tokio::test(start_paused = true)]
async fn refused_tokens_show_in_readiness_until_one_works() {
    let refused = FaultAction::Status { code: 401, body: None, retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_read(refused).times(2)).start().await;
    app.read(CALL, "").await.assert_problem(502, "upstream-auth-failed", "notApplied");
    let readiness = app.readiness().await;
    readiness.assert_status(200);
    assert!(readiness.text.contains("the API answers 401 even to a fresh token"));
    assert!(app.logs.text().contains("the API answers 401 even to a fresh token"));
    app.read(CALL, "").await.assert_status(200);
    assert!(!app.readiness().await.text.contains("401"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_fails_at_once_and_heals_without_restart() {
    for status in [400, 401] {
        let app = TestApp::new().with_settings(|settings| {
            settings.client_secret = "rotated".to_owned();
            settings.invalid_client_status = status;
        });
        let app = app.start().await;
        let reason =
            format!("the token endpoint answered {status} `invalid_client`: authentication failed");
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        answer.assert_problem(502, "upstream-auth-failed", "notApplied");
        assert!(answer.at("/detail").to_string().contains(&reason), "{}", answer.text);
        assert_eq!((answer.took, app.upstream_calls()), (ms(0), 0));
        let readiness = app.readiness().await;
        assert_eq!(readiness.status, 503);
        assert!(readiness.text.contains(&format!("token: failed: {reason}")), "{}", readiness.text);
        let logs = app.logs.text();
        assert!(logs.contains(&reason));
        for text in [&answer.text, &readiness.text, &logs] {
            assert!(!text.contains("demo-secret") && !text.contains("ZGVtbzpkZW1v"));
        }
        tokio::time::sleep(secs(600)).await;
        let tries = app.sent(RequestKind::Token);
        let longest = tries.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(tries.len() < 25 && longest.is_some_and(|wait| wait <= 60_000), "{tries:?}");
        app.simulator.set_settings(|settings| settings.client_secret = "demo-secret".to_owned());
        tokio::time::sleep(secs(60)).await;
        app.read(CALL, "").await.assert_status(200);
        assert_eq!(app.readiness().await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_retried_within_a_minute() {
    let body = json!({"error": "invalid_client", "error_description": "authentication failed"});
    let refused = FaultAction::Status { code: 400, body: Some(body), retry_after: Some(3600) };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(refused)).start().await;
    app.read(CALL, "").await.assert_problem(502, "upstream-auth-failed", "notApplied");
    tokio::time::sleep(secs(1)).await;
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_token_endpoint_is_no_credential_failure() {
    let app =
        TestApp::new().with_fault(ScriptedFault::on_token(FaultAction::TokenThrottle).times(2));
    let app = app.start().await;
    assert_eq!(app.readiness().await.status, 200);
    let answer = app.read(CALL, "").await;
    answer.assert_status(200);
    // Half of a second and half of two are certain, the rest is chance.
    let twin = JitterSource::seeded(7);
    let wait = [500, 1000].map(|half| ms(half) + ms(half).mul_f64(twin.unit()));
    let expected = (wait[0].as_micros().div_ceil(1000), wait[1].as_micros().div_ceil(1000));
    assert_eq!(answer.took.as_millis(), expected.0 + expected.1 + 20);
    assert_eq!(app.sent(RequestKind::Token), [0, expected.0, expected.0 + expected.1]);
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_is_asked_at_most_once_a_second() {
    let now = FaultAction::Status { code: 429, body: None, retry_after: Some(0) };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(now).always()).allowing_leftovers();
    let app = app.start().await;
    tokio::time::sleep(secs(10)).await;
    let asked = app.simulator.count(RequestKind::Token);
    assert!((9..=11).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn long_token_throttling_sets_retry_after() {
    let later = FaultAction::Status { code: 429, body: None, retry_after: Some(30) };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(later)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("30", ms(0)));
    tokio::time::sleep(secs(30)).await;
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_is_down_is_an_outage_until_it_is_back() {
    for down in [FaultAction::ResetBefore, FaultAction::Hang, status(503)] {
        let app = TestApp::new().with_fault(ScriptedFault::on_token(down).always());
        let app = app.allowing_leftovers().start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        answer.assert_problem(503, "upstream-unavailable", "notApplied");
        assert!(answer.took <= ms(5100) && !answer.header("retry-after").is_empty());
        let readiness = app.readiness().await;
        assert_eq!(readiness.status, 200, "another instance would fare no better");
        assert!(readiness.text.contains("token: failed: the token endpoint fails: "));
        app.simulator.clear_faults();
        tokio::time::sleep(secs(32)).await;
        app.read(CALL, "").await.assert_status(200);
    }
}

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_harmless_while_the_token_is_valid() {
    let app = TestApp::new().with_fault(ScriptedFault::on_token(status(503)).skip(1).times(3));
    let app = app.with_settings(|settings| settings.token_lifetime = secs(300)).start().await;
    for _ in 0..600 {
        let answer = app.read(CALL, "").await;
        assert_eq!((answer.status, answer.took), (200, ms(20)), "nobody waits for the new one");
        tokio::time::sleep(ms(80)).await;
        let _ = app.readiness().await.assert_status(200);
        tokio::time::sleep(ms(900)).await;
    }
    assert_eq!(
        app.simulator.count(RequestKind::Token),
        1 + (3 + 1) + 1,
        "two renewals, one of them hard"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unusable_token_answer_is_invalid_and_retried() {
    let lives = |value: Value| FaultAction::TokenExpiresIn { value };
    let body = |body: Value| FaultAction::Status { code: 200, body: Some(body), retry_after: None };
    let answers = [
        lives(json!(0)),
        lives(json!("soon")),
        lives(json!(-5)),
        lives(json!(0.5)),
        lives(json!([300])),
        body(json!({"expires_in": 300})),
        body(json!({"access_token": "line\nbreak", "expires_in": 300})),
        body(json!({"access_token": 7, "expires_in": 300})),
        FaultAction::Html,
        FaultAction::Empty { status: 200, applied: false },
        FaultAction::Empty { status: 204, applied: false },
        FaultAction::GarbageJson,
        FaultAction::Truncated,
        FaultAction::Oversized { bytes: 3 << 20 },
    ];
    for action in answers {
        let app = TestApp::new().with_fault(ScriptedFault::on_token(action.clone())).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        answer.assert_problem(502, "upstream-invalid-response", "notApplied");
        assert!(answer.took <= ms(5100), "{action:?}");
        assert!(!answer.text.contains("canary") && !app.logs.text().contains("canary"));
        tokio::time::sleep(secs(1)).await;
        app.read(CALL, "").await.assert_status(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_token_lifetime_counts_as_short() {
    let values = [json!("172800"), json!(172_800.5), Value::Null];
    for (value, renewed) in values.into_iter().zip([false, false, true]) {
        let fault = ScriptedFault::on_token(FaultAction::TokenExpiresIn { value: value.clone() });
        let app = TestApp::new().with_fault(fault);
        let app = app.with_settings(|settings| settings.token_lifetime = secs(172_800));
        let app = app.start().await;
        app.read(CALL, "").await.assert_status(200);
        tokio::time::sleep(secs(300)).await;
        assert_eq!(app.simulator.count(RequestKind::Token) == 2, renewed, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_answer_is_named_with_field_and_host() {
    let life = "answered 200 with an `expires_in` that is not a number of seconds above 0";
    let page = |status| format!("answered {status} with `text/html; charset=utf-8`");
    let answers = [
        (FaultAction::TokenExpiresIn { value: json!(0) }, life.to_owned()),
        (FaultAction::Html, page(200)),
        (FaultAction::Page { status: 302 }, page(302)),
        (FaultAction::Page { status: 403 }, page(403)),
        (FaultAction::Page { status: 401 }, page(401)),
        (
            FaultAction::Empty { status: 204, applied: false },
            "answered 204 with no content".to_owned(),
        ),
        (
            FaultAction::Status {
                code: 200,
                body: Some(json!({"expires_in": 300})),
                retry_after: None,
            },
            "answered 200 without a text in `access_token`".to_owned(),
        ),
    ];
    for (action, reason) in answers {
        let app = TestApp::new().with_env("GENESYS_ENVIRONMENT", "mypurecloud.ie");
        let app = app.with_fault(ScriptedFault::on_token(action)).start().await;
        let answer = app.read(CALL, "").await;
        answer.assert_problem(502, "upstream-invalid-response", "notApplied");
        let reason = format!("`login.mypurecloud.ie` {reason}");
        assert!(answer.at("/detail").to_string().contains(&reason), "{}", answer.text);
        let readiness = app.readiness().await;
        assert_eq!(readiness.status, 200, "nothing is known of the credentials");
        let expected = format!("token: failed: no token: {reason}");
        assert!(readiness.text.contains(&expected), "{}", readiness.text);
        let logs = app.logs.text();
        assert!(logs.contains("login.mypurecloud.ie") && logs.contains("no token"), "{logs}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_used_counts_as_a_failure_everywhere() {
    const EXPIRY: &str = "token_expiry_timestamp_seconds";
    const SUCCESS: &str = "token_last_success_timestamp_seconds";
    const FAILURE: &str = "token_last_failure_timestamp_seconds";
    for action in [FaultAction::TokenExpiresIn { value: json!(0) }, FaultAction::Html] {
        let app = TestApp::new().with_fault(ScriptedFault::on_token(action)).start().await;
        let metrics = app.get("/metrics").await.text;
        for name in [EXPIRY, SUCCESS] {
            assert!(!metrics.contains(&format!("\nattribute_gateway_{name}")), "{metrics}");
        }
        assert!(app.figure(FAILURE).await > 1.7e9);
        let attempts = r#"upstream_attempts_total{operation="token",answer="invalid"}"#;
        assert!((app.figure(attempts).await - 1.0).abs() < 0.1, "{metrics}");
        assert!(!metrics.contains(r#"{operation="token",answer="200"}"#), "{metrics}");
        let readiness = app.readiness().await.text;
        assert!(readiness.contains("upstream.token: ok: 1 requests, 0 accepts"), "{readiness}");
        tokio::time::sleep(secs(2)).await;
        let (expiry, success) = (app.figure(EXPIRY).await, app.figure(SUCCESS).await);
        assert!(success > 1.7e9 && (expiry - success - 86_400.0).abs() < 2.0, "{expiry}");
    }
    let app = TestApp::new().start().await;
    assert!(app.figure(FAILURE).await < 0.5);
    let refused = FaultAction::Status { code: 401, body: None, retry_after: None };
    app.simulator.inject(ScriptedFault::on_read(refused).times(2));
    let _ = app.read(CALL, "").await;
    assert!(app.figure(FAILURE).await > 1.7e9, "a token that the API refuses is no use either");
}

#[tokio::test(start_paused = true)]
async fn the_token_endpoint_may_send_retry_after_as_a_date() {
    let until = FaultAction::ThrottleUntil { seconds: 40 };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(until.clone())).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((38..=40).contains(&wait), "{wait}");
    tokio::time::sleep(secs(40)).await;
    app.simulator.inject(ScriptedFault::on_read(until));
    let answer = app.read(CALL, "").await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((38..=40).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_file_is_used_without_a_restart() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "demo-secret\n").expect("written");
    let app = TestApp::new().with_env("GENESYS_CLIENT_SECRET", "");
    let app = app.with_env("GENESYS_CLIENT_SECRET_FILE", file.to_str().expect("text"));
    let app = app.start().await;
    app.read(CALL, "").await.assert_status(200);
    // Rotated, and the old one is refused together with its tokens.
    std::fs::write(&file, "rotated-secret\n").expect("written");
    app.simulator.set_settings(|settings| settings.client_secret = "rotated-secret".to_owned());
    app.simulator.kill_tokens();
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(app.simulator.count(RequestKind::Token), 2, "the old one was not even tried");
    // A file that is away or empty for a moment changes nothing.
    std::fs::write(&file, "").expect("written");
    app.simulator.kill_tokens();
    app.read(CALL, "").await.assert_status(200);
    let logs = app.logs.text();
    assert!(logs.contains("the file of the client secret cannot be used"), "{logs}");
    assert!(!logs.contains("rotated-secret") && !logs.contains("demo-secret"), "{logs}");
    // The platform knows of the rotation before the file does.
    app.simulator.set_settings(|settings| settings.client_secret = "third-secret".to_owned());
    app.simulator.kill_tokens();
    app.read(CALL, "").await.assert_problem(502, "upstream-auth-failed", "notApplied");
    std::fs::write(&file, "third-secret").expect("written");
    tokio::time::sleep(secs(60)).await;
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn an_endless_token_is_renewed_after_two_days() {
    let endless = FaultAction::TokenExpiresIn { value: json!(u64::MAX) };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(endless));
    let app = app.with_settings(|settings| settings.token_lifetime = secs(172_800)).start().await;
    app.read(CALL, "").await.assert_status(200);
    tokio::time::sleep(Duration::from_hours(48)).await;
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(app.simulator.count(RequestKind::Token), 2);
}

#[tokio::test(start_paused = true)]
async fn token_endpoint_messages_are_passed_on_as_short_text() {
    let text = format!("no\u{1b}[2J \u{202e}caf\u{e9} {}", "x".repeat(5_000));
    let body = json!({"error": "what\nis `this`", "error_description": text});
    let refused = FaultAction::Status { code: 400, body: Some(body), retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_token(refused)).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(502, "upstream-auth-failed", "notApplied");
    let detail = answer.at("/detail").as_str().expect("a sentence").to_owned();
    assert!(detail.contains("answered 400: no?[2J ?caf? xxx"), "{detail}");
    assert!(detail.len() < 700 && !detail.contains("this"), "{detail}");
    let readiness = app.readiness().await.text;
    assert!(readiness.is_ascii() && !readiness.contains('\u{1b}'), "{readiness}");
}
