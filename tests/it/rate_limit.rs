//! The budget of calls: never more than upstream grants, hardly less while work waits, and who is
//! refused is told a time that holds.
//!
//! Every answer of upstream takes 20 ms. Where upstream enforces a budget, it is 50 calls in 10 s.

use axum::body::Body;
use genesys_simulator::{FaultAction, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Builder, CALL, TestApp, attributes_of, ms, request, send};

/// A conversation of its own for each number.
fn conversation(number: usize) -> String {
    format!("5eed0000-0000-4000-8000-1{number:011}")
}

/// A platform with so many calls that grants 50 requests in any 10 s.
fn scarce(calls: usize) -> Builder {
    let app = generous(calls).with_env("GATEWAY__GENESYS__RATE_WINDOW", "10s");
    app.with_settings(|settings| {
        settings.requests_per_minute = Some(300);
        settings.rate_window = ms(10_000);
    })
}

/// A platform with so many calls that knows no limit. Reads of one call would share.
fn generous(calls: usize) -> Builder {
    let app = TestApp::new();
    (0..calls).fold(app, |app, number| {
        let customer = format!("c0000000-0000-4000-8000-1{number:011}");
        app.with_call(
            SimulatedCall::new(conversation(number)).customer(&customer, [("tier", "gold")]),
        )
    })
}

/// A read under way, with so many seconds to wait.
fn reading(app: &TestApp, conversation: &str, wait: u64) -> JoinHandle<Answer> {
    let read =
        request("GET", &attributes_of(conversation)).header("prefer", format!("wait={wait}"));
    tokio::spawn(send(app.router(), read.body(Body::empty()).expect("a request")))
}

async fn all(reads: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for read in reads {
        answers.push(read.await.expect("it does not panic"));
    }
    answers
}

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("whole seconds")
}

/// The most calls in any ten seconds, and how many upstream refused.
fn seen(app: &TestApp) -> (usize, usize) {
    let mut sent: Vec<_> =
        [RequestKind::Read, RequestKind::Patch].map(|kind| app.sent(kind)).concat();
    sent.sort_unstable();
    let within = |(index, first): (usize, &u128)| {
        sent[index..].iter().take_while(|at| **at < first + 10_000).count()
    };
    let refused = app.simulator.calls().iter().filter(|call| call.was_answered(429)).count();
    (sent.iter().enumerate().map(within).max().unwrap_or_default(), refused)
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_used_and_never_exceeded() {
    let app = scarce(201).start().await;
    // So that it is known how long a call takes.
    app.read(&conversation(200), "").await.assert_status(200);
    let reads = (0..200).map(|number| reading(&app, &conversation(number), 30)).collect();
    let (mut waits, mut late) = (Vec::new(), 0);
    for answer in all(reads).await.iter().filter(|answer| answer.status != 200) {
        answer.assert_problem(503, "upstream-rate-limited", "notApplied");
        assert!(answer.text.contains("budget of calls"), "{}", answer.text);
        late += usize::from(answer.took > ms(0));
        waits.push(seconds(answer));
    }
    assert!(late <= 20, "{late} of {} were not known at once", waits.len());
    let served = app.sent(RequestKind::Read).len();
    assert!(served >= 100, "{served} of 37 in each ten seconds");
    assert!(waits.iter().all(|wait| *wait <= 10), "never beyond the window: {waits:?}");
    let (most, refused) = seen(&app);
    assert!(most <= 50 && refused == 0, "{most}, {refused}");
}

#[tokio::test(start_paused = true)]
async fn writes_and_reads_together_stay_within_it() {
    let app = scarce(60).start().await;
    let reads = (0..60).map(|number| reading(&app, &conversation(number), 20)).collect();
    let writes = (0..20).map(|number| {
        let path = attributes_of(&conversation(number));
        let write = request("PUT", &path).header("prefer", "wait=20");
        let body = json!({"attributes": {"tier": number.to_string()}}).to_string();
        let write = write.header("content-type", "application/json").body(Body::from(body));
        tokio::spawn(send(app.router(), write.expect("a request")))
    });
    let writes = all(writes.collect()).await;
    let reads = all(reads).await;
    assert!(reads.iter().filter(|answer| answer.status == 200).count() >= 20);
    assert!(writes.iter().any(|answer| answer.status < 300));
    for answer in writes {
        assert!(matches!(answer.status, 200 | 202 | 503), "{}", answer.text);
    }
    let (most, refused) = seen(&app);
    assert!(most <= 50 && refused == 0, "{most}, {refused}");
}

#[tokio::test(start_paused = true)]
async fn after_a_429_nobody_calls_until_its_time_and_then_one_by_one() {
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(3) });
    let app = generous(4).with_fault(throttled).start().await;
    let read = |number, wait| reading(&app, &conversation(number), wait);
    let first = read(0, 10);
    tokio::time::sleep(ms(30)).await;
    let others = vec![first, read(1, 10), read(2, 10)];
    let refused = read(3, 2).await.expect("it does not panic");
    refused.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert!(refused.text.contains("throttles") && seconds(&refused) >= 3, "{}", refused.text);
    let readiness = app.readiness().await;
    assert!(readiness.text.contains("upstream.rate_limit: failed: throttled for 3 s more"));
    assert!((app.figure("rate_limit_throttled").await - 1.0).abs() < 0.1);
    for answer in all(others).await {
        answer.assert_status(200);
    }
    // A minute holds 300 calls: one every 200 ms.
    assert_eq!(app.sent(RequestKind::Read), [0, 3020, 3220, 3420]);
    assert!(app.figure("rate_limit_throttled").await < 0.1);
    assert!((app.figure(r#"upstream_throttled_total{operation="read"}"#).await - 1.0).abs() < 0.1);
    assert!((app.figure("rate_limit_refused_total").await - 1.0).abs() < 0.1);
    assert!(app.readiness().await.text.contains("upstream.rate_limit: ok: room for 281 calls"));
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_waits_out_what_another_call_was_told() {
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(3) }).skip(1);
    let app = TestApp::new().with_fault(throttled).start().await;
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let write = request("PUT", &attributes_of(CALL)).header("prefer", "wait=10");
    let write = write.header("content-type", "application/json").body(Body::from(body));
    let write = tokio::spawn(send(app.router(), write.expect("a request")));
    // Its PATCH left at 20 ms, so its read-back and this read meet at 40 ms.
    tokio::time::sleep(ms(25)).await;
    let read = reading(&app, CALL, 10);
    write.await.expect("it does not panic").assert_status(200);
    read.await.expect("it does not panic").assert_status(200);
    let sent = app.sent(RequestKind::Read);
    assert!(sent.iter().filter(|at| (46..3045).contains(*at)).count() == 0, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_long_throttle_one_call_a_minute_probes() {
    let daily = || ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(7200) });
    let app = TestApp::new().with_fault(daily().times(2)).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!((seconds(&answer), app.order().as_str()), (60, "R"), "the next probe");
    for minute in ["R", "RR"] {
        for _ in 0..59 {
            tokio::time::sleep(ms(1000)).await;
            let refused = app.read_within(60).await;
            refused.assert_problem(503, "upstream-rate-limited", "notApplied");
            assert!(refused.took == ms(0) && seconds(&refused) <= 60, "{}", refused.text);
        }
        assert_eq!(app.order(), minute);
        tokio::time::sleep(ms(1000)).await;
        // The one of this minute: upstream refuses the first, and takes the second.
        let _ = app.read(CALL, "").await;
    }
    assert_eq!(app.order(), "RRR");
    let readiness = app.readiness().await;
    assert!(readiness.text.contains("upstream.rate_limit: ok"), "{}", readiness.text);
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_does_not_begin_a_new_budget() {
    let app = scarce(80).start().await;
    for number in 0..40 {
        app.read(&conversation(number), "").await.assert_status(200);
    }
    app.simulator.kill_tokens();
    let reads = (40..80).map(|number| reading(&app, &conversation(number), 20)).collect();
    for answer in all(reads).await {
        answer.assert_status(200);
    }
    assert!(
        app.simulator.count(RequestKind::Token) >= 2,
        "upstream would grant the new one 50 more"
    );
    let (most, refused) = seen(&app);
    assert!(most <= 50 && refused == 0, "{most}, {refused}");
}

/// A write of its own value, with half a minute to wait.
fn writing(app: &TestApp, number: usize) -> JoinHandle<Answer> {
    let path = attributes_of(&conversation(number));
    let write = request("PUT", &path).header("prefer", "wait=30");
    let body = json!({"attributes": {"tier": format!("w{number}")}}).to_string();
    let write = write.header("content-type", "application/json").body(Body::from(body));
    tokio::spawn(send(app.router(), write.expect("a request")))
}

#[tokio::test(start_paused = true)]
async fn sixty_writes_are_verified_with_three_calls_or_refused() {
    // Without lag beyond what the way takes, so that a read-back is never too early.
    let app = scarce(60).with_lag(ms(1)).start().await;
    let mut writes = Vec::new();
    for number in 0..60 {
        writes.push(writing(&app, number));
        tokio::time::sleep(ms(10_000 / 60)).await;
    }
    let (mut verified, mut refused) = (0, Vec::new());
    for (number, answer) in all(writes).await.iter().enumerate() {
        if answer.status == 200 {
            answer.assert_outcomes(&[("tier", "verified")]);
            assert_eq!(answer.at("/upstreamCalls"), 3);
            verified += 1;
        } else {
            answer.assert_problem(503, "upstream-rate-limited", "notApplied");
            assert_eq!(answer.took, ms(0), "known at once");
            refused.push((number, seconds(answer)));
        }
    }
    assert!(verified >= 50, "{verified} verified, refused: {refused:?}");
    let (most, too_many) = seen(&app);
    assert!(most <= 50 && too_many == 0, "{most} in ten seconds, {too_many} times 429");
    assert_eq!(app.upstream_calls(), 3 * verified);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_reads_leaves_room_for_writes_and_is_logged() {
    let app = scarce(200).with_lag(ms(1)).start().await;
    let reads = (0..150).map(|number| reading(&app, &conversation(number), 1)).collect();
    tokio::time::sleep(ms(100)).await;
    for number in 150..153 {
        writing(&app, number).await.expect("no panic").assert_status(200);
    }
    let refused: Vec<_> = all(reads).await.into_iter().filter(|one| one.status == 503).collect();
    assert!(refused.len() > 100, "{}", refused.len());
    let mut waits = std::collections::BTreeMap::<_, usize>::new();
    for one in &refused {
        *waits.entry(seconds(one)).or_default() += 1;
    }
    assert!(waits.len() >= 5 && waits.keys().all(|wait| *wait <= 10), "{waits:?}");
    let warnings = || app.logs.text().matches("the call budget is spent").count();
    assert_eq!(warnings(), 1);
    app.until(ms(61_000)).await;
    all((0..150).map(|number| reading(&app, &conversation(number), 1)).collect()).await;
    assert_eq!(warnings(), 2, "one a minute at most");
    assert_eq!(seen(&app).1, 0);
}

#[tokio::test(start_paused = true)]
async fn writers_who_share_a_turn_share_its_calls_as_well() {
    // Ten calls a minute: enough for two batches, and not for two hundred writes.
    let app = TestApp::new().with_budget(12).with_lag(ms(1)).start().await;
    let write = |number: usize| {
        let request = request("PUT", &attributes_of(CALL)).header("prefer", "wait=30");
        let body = json!({"attributes": {format!("k{number}"): "1"}}).to_string();
        let request = request.header("content-type", "application/json").body(Body::from(body));
        tokio::spawn(send(app.router(), request.expect("a request")))
    };
    for answer in all((0..200).map(write).collect()).await {
        answer.assert_status(200);
    }
    assert!(app.upstream_calls() <= 10, "{}", app.order());
}

/// A write under a deadline of five seconds, while a budget of five calls in ten seconds lasts.
async fn proof_beside(app: &TestApp, other: impl FnOnce() -> JoinHandle<Answer>) -> Answer {
    // Two of the five; the write books the other three.
    app.read(&conversation(0), "").await.assert_status(200);
    app.read(&conversation(1), "").await.assert_status(200);
    let write = request("PUT", &attributes_of(CALL)).header("prefer", "wait=5");
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let write = write.header("content-type", "application/json").body(Body::from(body));
    let write = tokio::spawn(send(app.router(), write.expect("a request")));
    tokio::time::sleep(ms(25)).await;
    // Its PATCH is out now, so what comes waits for a read of its own, and for the budget.
    let other = other();
    let written = write.await.expect("no panic");
    written.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(written.took, ms(60));
    other.await.expect("no panic")
}

/// A platform that grants five calls in ten seconds on top of the reserve.
fn five_in_ten_seconds() -> Builder {
    let app = generous(2).with_lag(ms(1)).with_budget(36);
    app.with_env("GATEWAY__GENESYS__RATE_WINDOW", "10s")
}

#[tokio::test(start_paused = true)]
async fn a_reserved_read_back_is_not_delayed_by_waiting_reads() {
    let app = five_in_ten_seconds().start().await;
    let read = proof_beside(&app, || reading(&app, CALL, 30)).await;
    // The read shares what has been booked for the proof.
    assert_eq!(read.assert_status(200).took, ms(35));
    assert_eq!(app.upstream_calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn nor_by_a_write_that_waits_for_all_of_its_calls() {
    let app = five_in_ten_seconds().reading_first().start().await;
    let write = || {
        let path = format!("{}?participant=agent", attributes_of(CALL));
        let write = request("PUT", &path).header("prefer", "wait=30");
        let body = json!({"attributes": {"desk": "8"}}).to_string();
        let write = write.header("content-type", "application/json").body(Body::from(body));
        tokio::spawn(send(app.router(), write.expect("a request")))
    };
    let other = proof_beside(&app, write).await;
    other.assert_status(200).assert_outcomes(&[("desk", "verified")]);
    assert_eq!(app.upstream_calls(), 7, "the read was shared");
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_a_429_held_back_goes_before_the_reads_that_wait() {
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(3) }).skip(1);
    let app = generous(60).with_fault(throttled).with_lag(ms(1)).start().await;
    let write = request("PUT", &attributes_of(CALL)).header("prefer", "wait=10");
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let write = write.header("content-type", "application/json").body(Body::from(body));
    let write = tokio::spawn(send(app.router(), write.expect("a request")));
    tokio::time::sleep(ms(15)).await;
    // Upstream asks it at 35 ms to wait; the PATCH is out until 40.
    let mut reads = vec![reading(&app, &conversation(0), 10)];
    tokio::time::sleep(ms(22)).await;
    reads.extend((1..60).map(|number| reading(&app, &conversation(number), 10)));
    let written = write.await.expect("no panic");
    written.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert!(written.took <= ms(3_300), "{:?}", written.took);
    assert!(all(reads).await.iter().filter(|answer| answer.status == 200).count() >= 30);
}
