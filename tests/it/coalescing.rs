//! Reads are shared, writes to somebody seen moments ago go without one, and nothing old is served.

use std::collections::BTreeSet;

use axum::body::Body;
use genesys_simulator::{FaultAction, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Answer, CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

fn reading(app: &TestApp, conversation: &str, query: &str) -> tokio::task::JoinHandle<Answer> {
    let path = format!("{}{query}", attributes_of(conversation));
    let request = request("GET", &path).body(Body::empty()).expect("a request");
    tokio::spawn(send(app.router(), request))
}

fn reading_within(app: &TestApp, seconds: u64) -> tokio::task::JoinHandle<Answer> {
    let request = request("GET", &attributes_of(CALL)).header("prefer", format!("wait={seconds}"));
    tokio::spawn(send(app.router(), request.body(Body::empty()).expect("a request")))
}

#[tokio::test(start_paused = true)]
async fn five_hundred_readers_of_a_conversation_cost_three_reads() {
    let app = TestApp::new().start().await;
    let mut readers = Vec::new();
    for number in 0..500 {
        if number % 100 == 0 {
            tokio::time::sleep(ms(1)).await;
        }
        readers.push(reading(&app, CALL, if number % 2 == 0 { "" } else { "?participant=agent" }));
    }
    for reader in readers {
        let answer = reader.await.expect("no panic");
        assert_ne!(answer.assert_status(200).header("etag"), "");
    }
    assert!(app.upstream_calls() <= 3, "{}", app.order());
}

#[tokio::test(start_paused = true)]
async fn a_reader_after_a_verified_write_never_sees_an_older_value() {
    let app = TestApp::new().with_lag(ms(30)).start().await;
    // A slow read leaves, then a write is made and proved meanwhile.
    app.simulator
        .inject(ScriptedFault::on_read(FaultAction::Delay { by: ms(800), after_apply: true }));
    let slow = reading(&app, CALL, "");
    tokio::time::sleep(ms(1)).await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    let fresh = app.read(CALL, "").await;
    assert_eq!(fresh.at("/attributes/tier"), "gold", "not joined to the read from before");
    assert_eq!(slow.await.expect("no panic").at("/attributes/tier"), "silver");
    // And so does everybody who comes after any proof of a stream of writes.
    for number in 0..20 {
        let value = format!("v{number}");
        let early = reading(&app, CALL, "");
        app.write(CALL, "", json!({"tier": value})).await.assert_status(200);
        assert_eq!(app.read(CALL, "").await.at("/attributes/tier"), value);
        early.await.expect("no panic").assert_status(200);
    }
}

#[tokio::test(start_paused = true)]
async fn one_read_back_serves_writes_to_different_participants() {
    let app = TestApp::new().with_lag(ms(30)).start().await;
    let writes = async |query| app.write(CALL, query, json!({"note": "1"})).await;
    let (customer, agent) = tokio::join!(writes(""), writes("?participant=agent"));
    customer.assert_outcomes(&[("note", "verified")]);
    agent.assert_outcomes(&[("note", "verified")]);
    // One read for both, a PATCH each, and the read-backs of both together.
    assert_eq!(app.order(), "RPPRR");
    assert_eq!((customer.at("/upstreamCalls"), agent.at("/upstreamCalls")), (json!(4), json!(4)));
}

#[tokio::test(start_paused = true)]
async fn a_recent_snapshot_saves_the_read_before_a_write() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    app.read(CALL, "").await.assert_status(200);
    app.simulator.clear_calls();
    tokio::time::sleep(ms(9_900)).await;
    let warm = app.write(CALL, "", json!({"tier": "gold", "language": "en"})).await;
    warm.assert_outcomes(&[("language", "unchanged"), ("tier", "verified")]);
    assert_eq!((warm.at("/upstreamCalls"), app.order().as_str()), (json!(2), "PR"));
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
    app.simulator.clear_calls();
    tokio::time::sleep(ms(10_000)).await;
    app.write(CALL, "", json!({"tier": "platinum"})).await.assert_status(200);
    assert_eq!(app.order(), "RPR");
}

#[tokio::test(start_paused = true)]
async fn a_warm_write_to_somebody_who_was_not_there_reads_first() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    app.read(CALL, "").await.assert_status(200);
    let nobody = app.write(CALL, "?participant=supervisor", json!({"a": "1"})).await;
    nobody.assert_problem(404, "participant-not-found", "notApplied");
    assert_eq!(app.order(), "RR", "the memory cannot tell that somebody is not there");
}

#[tokio::test(start_paused = true)]
async fn a_warm_write_over_the_limit_is_refused_after_a_fresh_read() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let large = "x".repeat(6_000);
    app.write(CALL, "", json!({"one": large})).await.assert_status(200);
    app.simulator.clear_calls();
    let over = app.write(CALL, "", json!({"two": large})).await;
    over.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!(app.order(), "R");
}

#[tokio::test(start_paused = true)]
async fn a_warm_write_includes_unseen_accepted_values() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    let large = "x".repeat(6_000);
    app.write(CALL, "?verify=none", json!({"one": large})).await.assert_status(202);
    let over = app.write(CALL, "?verify=none", json!({"two": large})).await;
    over.assert_problem(422, "attributes-too-large", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn a_warm_write_to_a_call_that_is_over_says_so() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    app.read(CALL, "").await.assert_status(200);
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    let warning = "the conversation has ended: analytics will not keep this write";
    assert_eq!(answer.assert_status(200).at("/warnings"), json!([warning]));
    let next = app.write(CALL, "", json!({"tier": "platinum"})).await;
    next.assert_problem(409, "conversation-ended", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded_and_forgotten_after_a_while() {
    let mut app = TestApp::new().with_budget(100_000);
    app = app.with_env("GATEWAY__WRITES__REMEMBER_BYTES", "64 KiB");
    let id = |number: usize| format!("5eed0000-0000-4000-8000-1{number:011}");
    for number in 0..500 {
        app = app.with_call(SimulatedCall::new(id(number)).customer(CUSTOMER, [("a", "1")]));
    }
    let app = app.start().await;
    for number in 0..500 {
        app.read(&id(number), "").await.assert_status(200);
    }
    let (kept, bytes) = (
        app.figure("snapshot_cache_conversations").await,
        app.figure("snapshot_cache_bytes").await,
    );
    assert!(kept > 10.0 && kept < 200.0 && bytes <= 65_536.0, "{kept} in {bytes}");
    // The latest is among them.
    app.simulator.clear_calls();
    app.write(&id(499), "", json!({"a": "2"})).await.assert_status(200);
    assert!(app.order().starts_with('P'), "{}", app.order());
    tokio::time::sleep(ms(21_000)).await;
    assert!(app.figure("snapshot_cache_conversations").await < 1.0);
    assert!(app.figure("pending_write_participants").await < 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_too_large_to_cache_evicts_no_other() {
    let large = "5eed0000-0000-4000-8000-000000000002";
    let app = TestApp::new().with_env("GATEWAY__WRITES__REMEMBER_BYTES", "64 KiB");
    let app =
        app.with_call(SimulatedCall::new(large).customer(CUSTOMER, [("a", "x".repeat(70_000))]));
    let app = app.with_lag(ms(1)).start().await;
    app.read(CALL, "").await.assert_status(200);
    app.read(large, "").await.assert_status(200);
    app.simulator.clear_calls();
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    assert_eq!(app.order(), "PR", "it is warm");
}

#[tokio::test(start_paused = true)]
async fn no_cache_serves_a_read_unless_it_is_asked_for() {
    let app = TestApp::new().start().await;
    for _ in 0..3 {
        app.read(CALL, "").await.assert_status(200);
    }
    assert_eq!(app.order(), "RRR");
    let app =
        TestApp::new().with_env("GATEWAY__READS__MAX_AGE", "3s").with_lag(ms(1)).start().await;
    let first = app.read(CALL, "").await;
    let cached = app.read(CALL, "").await;
    assert_eq!((cached.took, cached.header("etag")), (ms(0), ""), "no tag out of a memory");
    assert_ne!(first.header("etag"), "");
    let path = attributes_of(CALL);
    let passing = request("GET", &path).header("cache-control", "no-cache");
    app.send(passing.body(Body::empty()).expect("a request")).await.assert_status(200);
    assert_eq!(app.order(), "RR");
    // A write of ours ends it, seen or not.
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    tokio::time::sleep(ms(5)).await;
    assert_eq!(app.read(CALL, "").await.at("/attributes/tier"), "gold");
    tokio::time::sleep(ms(3_000)).await;
    let before = app.upstream_calls();
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(app.upstream_calls(), before + 1, "and so does time");
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_leaves_takes_nobody_along() {
    let app = TestApp::new().start().await;
    let first = reading(&app, CALL, "");
    tokio::time::sleep(ms(1)).await;
    let second = reading(&app, CALL, "");
    tokio::time::sleep(ms(1)).await;
    first.abort();
    second.await.expect("no panic").assert_status(200);
    assert_eq!(app.order(), "R");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_holds_up_nobody_who_may_not_join_it() {
    let app = TestApp::new()
        .with_lag(ms(1))
        .with_fault(ScriptedFault::on_read(FaultAction::Hang))
        .start()
        .await;
    let stuck = reading(&app, CALL, "");
    tokio::time::sleep(ms(1)).await;
    let start = Instant::now();
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    assert!(start.elapsed() < ms(300), "{:?}", start.elapsed());
    stuck.await.expect("no panic").assert_status(200);
    let reads: BTreeSet<_> = app.sent(RequestKind::Read).into_iter().collect();
    assert_eq!(reads.len(), 4, "{reads:?}");
}

#[tokio::test(start_paused = true)]
async fn readers_with_different_deadlines_share_a_read() {
    for action in [
        FaultAction::Throttle { retry_after: Some(3) },
        FaultAction::Status { code: 503, body: None, retry_after: Some(3) },
    ] {
        let app = TestApp::new().with_fault(ScriptedFault::on_read(action)).start().await;
        let patient = reading_within(&app, 20);
        let impatient = reading_within(&app, 2);
        tokio::time::sleep(ms(1)).await;
        let late = reading_within(&app, 2);
        for answer in [impatient.await.expect("no panic"), late.await.expect("no panic")] {
            // The wait does not fit: known as soon as upstream has said so.
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (503, "3"),
                "{}",
                answer.text
            );
            assert!(answer.took <= ms(45), "{:?}", answer.took);
        }
        let patient = patient.await.expect("no panic");
        patient.assert_status(200);
        assert!(patient.took >= ms(3_000) && patient.took <= ms(3_300), "{:?}", patient.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_does_not_join_a_read_with_retries() {
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(3) });
    let app = TestApp::new().with_fault(throttled).start().await;
    let patient = reading_within(&app, 20);
    tokio::time::sleep(ms(1)).await;
    let impatient = reading_within(&app, 2).await.expect("no panic");
    impatient.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert!(impatient.took <= ms(115), "{:?}", impatient.took);
    patient.await.expect("no panic").assert_status(200);
}
