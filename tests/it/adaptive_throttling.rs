//! Adaptive throttling: an upstream that fails gets few calls, one that fails now and then gets all
//! of them, and service is full again soon after it is back.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use genesys_simulator::{FaultAction, FaultScope, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

/// A failure that is answered at once, because it asks for a wait that fits no deadline.
fn lasting() -> FaultAction {
    FaultAction::Status { code: 503, body: None, retry_after: Some(60) }
}

fn id(number: u64) -> String {
    format!("5eed0000-0000-4000-8000-{number:012}")
}

/// A service over this many calls, numbered from 1, with calls enough for everything.
fn with_calls(calls: u64) -> Builder {
    let mut app = TestApp::new().without_calls().with_budget(1_000_000).allowing_leftovers();
    for number in 1..=calls {
        app =
            app.with_call(SimulatedCall::new(id(number)).customer(CUSTOMER, [("tier", "silver")]));
    }
    app.with_env("RUST_LOG", "info").with_lag(ms(10))
}

fn read(router: Router, conversation: &str) -> tokio::task::JoinHandle<Answer> {
    let request = request("GET", &attributes_of(conversation)).body(Body::empty());
    tokio::spawn(send(router, request.expect("a request")))
}

fn write(router: Router, conversation: &str, value: u64) -> tokio::task::JoinHandle<Answer> {
    let body = json!({"attributes": {"tier": value.to_string()}}).to_string();
    let request = request("PUT", &attributes_of(conversation));
    let request = request.header("content-type", "application/json").body(Body::from(body));
    tokio::spawn(send(router, request.expect("a request")))
}

/// Sends a read of the conversation that `choose` names every so often, and gathers the answers.
async fn reads_every(
    app: &TestApp,
    (every, times): (Duration, u64),
    choose: impl Fn(u64) -> u64,
) -> Vec<Answer> {
    let mut tasks = Vec::new();
    for number in 0..times {
        tasks.push(read(app.router(), &id(choose(number))));
        tokio::time::sleep(every).await;
    }
    all(tasks).await
}

async fn all(tasks: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a client does not panic"));
    }
    answers
}

fn served(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status < 300).count()
}

async fn refused(app: &TestApp) -> f64 {
    app.figure(r#"adaptive_throttle_refused_total{upstream="conversations"}"#).await
}

#[tokio::test(start_paused = true)]
async fn with_a_quarter_of_the_calls_failing_nothing_is_refused() {
    for seed in 0..8 {
        let among = vec![status(500), status(502), status(503), FaultAction::ResetBefore];
        let fault = ScriptedFault::new(FaultAction::Random { percent: 25, seed, among }).always();
        let mut app = with_calls(20).with_seed(seed);
        for on in [FaultScope::Read, FaultScope::Patch] {
            app = app.with_fault(fault.clone().on(on));
        }
        let app = app.start().await;
        let mut tasks = Vec::new();
        for number in 0..300 {
            let conversation = id(1 + (number * 7 + seed) % 20);
            tasks.push(write(app.router(), &conversation, number));
            tasks.push(read(app.router(), &conversation));
            tokio::time::sleep(ms(if seed % 2 == 0 { 40 } else { 500 })).await;
        }
        let answers = all(tasks).await;
        assert!(refused(&app).await < 0.5, "seed {seed}");
        let good = answers.iter().filter(|answer| answer.status < 300).count();
        assert!(good * 100 >= answers.len() * 95, "seed {seed}: {good} of {}", answers.len());
    }
}

#[tokio::test(start_paused = true)]
async fn one_broken_conversation_does_not_throttle_the_others() {
    for every in [5, 50, 900] {
        for healthy_every in [100, 3000] {
            let fault = ScriptedFault::on_read(status(500)).conversation(id(1)).always();
            let app = with_calls(10).with_fault(fault).start().await;
            let router = app.router();
            let broken = tokio::spawn(async move {
                loop {
                    read(router.clone(), &id(1));
                    tokio::time::sleep(ms(every)).await;
                }
            });
            let choose = |number| 2 + number % 9;
            let times = 30_000 / healthy_every;
            let answers = reads_every(&app, (ms(healthy_every), times), choose).await;
            broken.abort();
            assert_eq!(served(&answers), answers.len(), "every {every} and {healthy_every} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_outage_is_probed_each_second_and_ends_quickly() {
    for action in [status(500), status(503), FaultAction::ResetBefore] {
        for conversations in [1, 3, 50] {
            let app = with_calls(50).start().await;
            reads_every(&app, (ms(20), 100), |number| 1 + number % conversations).await;
            app.simulator.clear_calls();
            app.simulator.inject(ScriptedFault::on_read(action.clone()).always());
            let start = Instant::now();
            reads_every(&app, (ms(20), 350), |number| 1 + number % conversations).await;
            // Reads of one conversation share their calls, so it takes longer until many have failed.
            let from = if conversations == 1 { ms(5000) } else { ms(2000) };
            let late = calls_since(&app, start + from);
            let text = format!("{action:?} of {conversations}: {}", late.len());
            assert!((1..=5).contains(&late.len()), "{text}");
            let apart = late.windows(2).all(|pair| pair[1] - pair[0] >= ms(990));
            assert!(apart, "{text}");
            app.simulator.clear_faults();
            let mut tasks = Vec::new();
            for number in 0..200 {
                tasks.push((Instant::now(), read(app.router(), &id(1 + number % conversations))));
                tokio::time::sleep(ms(20)).await;
            }
            let back = Instant::now() - ms(4000);
            for (sent, task) in tasks {
                let answer = task.await.expect("no panic");
                let late = sent - back > ms(2000);
                assert!(!late || answer.status == 200, "{text}: {:?}", sent - back);
            }
        }
    }
}

fn calls_since(app: &TestApp, since: Instant) -> Vec<Instant> {
    let calls = app.simulator.calls();
    let reads = calls.iter().filter(|call| call.kind == RequestKind::Read);
    reads.map(|call| call.at).filter(|at| *at >= since).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_clients_that_honour_retry_after_are_served() {
    let app = with_calls(100).with_fault(ScriptedFault::on_read(lasting()).always()).start().await;
    reads_every(&app, (ms(10), 100), |number| 1 + number % 100).await;
    let refusals: Vec<_> = (1..=100).map(|number| read(app.router(), &id(number))).collect();
    let refusals = all(refusals).await;
    let waits: Vec<u64> = refusals
        .iter()
        .map(|answer| {
            answer.assert_problem(503, "upstream-unavailable", "notApplied");
            answer.header("retry-after").parse().expect("seconds")
        })
        .collect();
    assert!(waits.iter().all(|wait| (1..=60).contains(wait)), "{waits:?}");
    let short = waits.iter().filter(|wait| **wait == 1).count();
    assert!(short >= 99, "{waits:?}");
    app.simulator.clear_faults();
    let router = app.router();
    let back: Vec<_> = (1..=100)
        .zip(waits)
        .map(|(number, wait)| {
            let router = router.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(wait)).await;
                read(router, &id(number)).await.expect("no panic")
            })
        })
        .collect();
    let answers = all(back).await;
    assert!(served(&answers) >= 99, "{}", served(&answers));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_next_probe_and_makes_no_call() {
    let app = with_calls(30).with_fault(ScriptedFault::on_read(lasting()).always()).start().await;
    reads_every(&app, (ms(1), 20), |number| 1 + number % 30).await;
    tokio::time::sleep(ms(400)).await;
    let calls = app.order().len();
    let answer = app.write(&id(25), "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("1", ms(0)));
    assert_eq!((answer.at("/retryAfterSeconds").as_u64(), app.order().len()), (Some(1), calls));
    assert!(answer.at("/detail").to_string().contains("too many calls failed lately"));
}

#[tokio::test(start_paused = true)]
async fn throttling_is_shown_and_the_service_stays_ready() {
    let app = with_calls(30).with_fault(ScriptedFault::on_read(lasting()).always()).start().await;
    let readiness = app.readiness().await.text;
    let idle =
        "upstream.conversations: ok: 0 requests, 0 accepts in the last ten seconds; no calls";
    assert!(readiness.contains(idle), "{readiness}");
    reads_every(&app, (ms(25), 25), |number| 1 + number % 30).await;
    let readiness = app.readiness().await;
    assert_eq!(readiness.status, 200);
    let line = "upstream.conversations: failed: 20 requests, 0 accepts in the last ten seconds; \
                only one probing call a second is made";
    assert!(readiness.text.contains(line), "{}", readiness.text);
    assert!(readiness.text.contains("upstream.token: ok"), "each upstream has its own");
    assert!((refused(&app).await - 5.0).abs() < 0.1);
    assert!(!app.get("/metrics").await.text.contains("breaker"));
    app.simulator.clear_faults();
    tokio::time::sleep(ms(1000)).await;
    app.read(&id(1), "").await.assert_status(200);
    let readiness = app.readiness().await.text;
    assert!(readiness.contains("upstream.conversations: ok: 1 requests, 1 accepts"), "{readiness}");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_logged_once_a_minute_and_at_its_end() {
    const WARNING: &str = "upstream is in trouble";
    const END: &str = "upstream answers again";
    let app = with_calls(30).with_fault(ScriptedFault::on_read(lasting()).always()).start().await;
    let lines = |text: &str| app.logs.text().lines().filter(|line| line.contains(text)).count();
    reads_every(&app, (ms(100), 500), |number| 1 + number % 30).await;
    assert_eq!((lines(WARNING), lines(END)), (1, 0));
    reads_every(&app, (ms(100), 500), |number| 1 + number % 30).await;
    assert_eq!((lines(WARNING), lines(END)), (2, 0), "a minute later");
    let logs = app.logs.text();
    let second = logs.lines().filter(|line| line.contains(WARNING)).nth(1).expect("two lines");
    assert!(second.contains("WARN") && second.contains("conversations"), "{second}");
    assert!(second.contains("calls.refused") && second.contains("calls.counted"), "{second}");
    app.simulator.clear_faults();
    reads_every(&app, (ms(100), 500), |number| 1 + number % 30).await;
    assert_eq!((lines(WARNING), lines(END)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_and_calls_cut_short_are_no_failures() {
    let refused = FaultAction::Status { code: 403, body: None, retry_after: None };
    for action in [refused, FaultAction::Throttle { retry_after: Some(60) }] {
        let app = with_calls(50).with_fault(ScriptedFault::on_read(action).times(40)).start().await;
        let tasks = (1..=40).map(|number| read(app.router(), &id(number))).collect();
        assert_eq!(served(&all(tasks).await), 0);
        tokio::time::sleep(ms(60_000)).await;
        app.read(&id(1), "").await.assert_status(200);
    }
    let app = with_calls(50)
        .with_fault(ScriptedFault::on_read(FaultAction::Hang).times(40))
        .start()
        .await;
    let impatient = |number| {
        let request = request("GET", &attributes_of(&id(number))).header("prefer", "wait=1");
        tokio::spawn(send(app.router(), request.body(Body::empty()).expect("a request")))
    };
    for answer in all((1..=40).map(impatient).collect()).await {
        answer.assert_problem(504, "deadline-exceeded", "notApplied");
    }
    app.read(&id(1), "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_are_failures_from_the_moment_they_were_made() {
    let app =
        with_calls(50).with_fault(ScriptedFault::on_read(FaultAction::Hang).always()).start().await;
    let start = Instant::now();
    reads_every(&app, (ms(20), 300), |number| 1 + number % 50).await;
    let late = calls_since(&app, start + ms(2300));
    assert!((3..=12).contains(&late.len()), "{}", late.len());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_reached_upstream_proves_nothing() {
    let app = with_calls(30).with_fault(ScriptedFault::on_read(lasting()).always()).start().await;
    reads_every(&app, (ms(1), 20), |number| 1 + number % 30).await;
    tokio::time::sleep(ms(2000)).await;
    // The token is refused, and there is no other one.
    app.simulator.clear_faults();
    app.simulator.inject(ScriptedFault::on_read(FaultAction::Unauthorized));
    app.simulator.inject(ScriptedFault::on_token(FaultAction::Hang));
    let request = request("GET", &attributes_of(&id(30))).header("prefer", "wait=1");
    let answer = app.send(request.body(Body::empty()).expect("a request")).await;
    answer.assert_problem(504, "deadline-exceeded", "notApplied");
    let readiness = app.readiness().await;
    assert!(readiness.text.contains("only one probing call a second"), "{}", readiness.text);
    assert_eq!(readiness.status, 200, "a token that is being replaced is no reason to be unready");
}

#[tokio::test(start_paused = true)]
async fn a_sent_patch_stays_unknown_if_its_read_is_refused() {
    let app = TestApp::new().with_budget(1_000_000).allowing_leftovers().reading_first();
    let app = app.with_fault(ScriptedFault::on_patch(FaultAction::HangAfterApply)).start().await;
    let router = app.router();
    let patched = write(router, CALL, 1);
    tokio::time::sleep(ms(500)).await;
    // By the time its attempt is over, nothing works any more.
    app.simulator.inject(ScriptedFault::on_read(status(503)).always());
    let tasks: Vec<_> = (100..160).map(|number| read(app.router(), &id(number))).collect();
    let _ = all(tasks).await;
    let answer = patched.await.expect("no panic");
    assert_eq!(answer.at("/effect"), "unknown", "{}", answer.text);
    assert!(refused(&app).await > 0.5, "the look was not refused by the throttle");
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_query_throttle_no_other_upstream() {
    const LIST: &str = "/v1/conversations";
    let app = TestApp::new().with_fault(ScriptedFault::on_analytics(status(500)).always());
    let app = app.allowing_leftovers().start().await;
    for _ in 0..20 {
        app.get(LIST).await.assert_problem(503, "upstream-unavailable", "notApplied");
    }
    let sent = app.simulator.count(RequestKind::Analytics);
    app.get(LIST).await.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!(app.simulator.count(RequestKind::Analytics), sent, "none is made");
    let readiness = app.readiness().await.text;
    assert!(readiness.contains("upstream.analytics: failed: "), "{readiness}");
    app.read(CALL, "").await.assert_status(200);
}
