//! Concurrent writers to one participant share batches: few calls, no lost key, true answers.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault, SimulatedCall, WriteSource};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{
    AGENT, Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, ms, request, send,
};

/// Upstream that answers after 50 ms, and shows writes a little later.
fn far_away() -> Builder {
    let app = TestApp::new().with_lag(ms(5));
    app.with_settings(|settings| {
        settings.latency = ms(50);
        settings.size_limit = None;
    })
}

/// A write that does not wait to be awaited.
fn writing(
    app: &TestApp,
    query: &str,
    wait: u64,
    attributes: &[(&str, &str)],
) -> JoinHandle<Answer> {
    let attributes: BTreeMap<_, _> = attributes.iter().copied().collect();
    let request = request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .header("prefer", format!("wait={wait}"))
        .body(json!({ "attributes": attributes }).to_string().into());
    tokio::spawn(send(app.router(), request.expect("a request")))
}

async fn all(tasks: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a caller does not panic"));
    }
    answers
}

async fn two_hundred_keys(existing: bool) {
    let key = |number: usize| format!("k{number:03}");
    let held: Vec<(String, &str)> = (0..200).map(|number| (key(number), "old")).collect();
    let held = if existing { held } else { Vec::new() };
    let call = SimulatedCall::new(CALL)
        .customer(CUSTOMER, held.iter().map(|(key, old)| (key.as_str(), *old)));
    let app = far_away().without_calls().with_call(call).start().await;
    let start = Instant::now();
    let tasks = (0..200).map(|number| writing(&app, "", 5, &[(&key(number), "new")])).collect();
    for (number, answer) in all(tasks).await.iter().enumerate() {
        answer.assert_status(200).assert_outcomes(&[(&key(number), "verified")]);
    }
    assert!(start.elapsed() <= ms(8 * 50), "{:?}", start.elapsed());
    assert!(app.upstream_calls() <= 10, "{}", app.order());
    let truth = app.truth(CUSTOMER);
    assert_eq!((truth.len(), truth.values().filter(|value| *value == "new").count()), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_writers_of_new_keys_take_at_most_ten_calls() {
    two_hundred_keys(false).await;
}

#[tokio::test(start_paused = true)]
async fn two_hundred_writers_of_existing_keys_take_at_most_ten_calls() {
    two_hundred_keys(true).await;
}

#[tokio::test(start_paused = true)]
async fn two_hundred_writers_of_one_key_are_told_what_became_of_each() {
    let app = far_away().start().await;
    let values: Vec<String> = (0..200).map(|number| format!("v{number}")).collect();
    let mut tasks = Vec::new();
    for value in &values {
        tasks.push(writing(&app, "", 5, &[("tier", value)]));
        // They come one after another, so that more than one batch is needed.
        tokio::time::sleep(ms(1)).await;
    }
    let answers = all(tasks).await;
    let ledger = app.simulator.ledger();
    let applied: Vec<&str> = ledger
        .iter()
        .filter(|entry| entry.writer == WriteSource::Gateway)
        .filter_map(|entry| entry.changes["tier"].as_deref())
        .collect();
    assert!(applied.len() > 3 && applied.len() < 20, "{applied:?}");
    assert_eq!(applied.last(), Some(&"v199"), "the last to arrive is the last to be applied");
    for (value, answer) in values.iter().zip(&answers) {
        let was_applied = applied.contains(&value.as_str());
        if answer.status == 200 {
            assert!(was_applied, "{value} was answered as verified, but was never applied");
            continue;
        }
        let effect = if was_applied { "applied" } else { "notApplied" };
        answer.assert_problem(409, "write-superseded", effect);
        assert_ne!(applied.last(), Some(&value.as_str()), "nothing came after {value}");
    }
    assert_eq!(answers[199].status, 200);
    assert!(app.upstream_calls() <= 30, "{}", app.order());
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_does_not_wait_for_the_read_back() {
    let app = far_away().with_lag(ms(30_000)).start().await;
    let first = writing(&app, "", 60, &[("a", "1")]);
    tokio::time::sleep(ms(60)).await;
    let late = [writing(&app, "", 2, &[("b", "1")]), writing(&app, "", 2, &[("c", "1")])];
    tokio::time::sleep(ms(1_000)).await;
    // The pre-read, then the first alone, and the others together as soon as that was answered.
    assert_eq!(app.sent(RequestKind::Patch), [50, 100]);
    assert_eq!(app.patches()[1], json!({"attributes": {"b": "1", "c": "1"}}));
    for task in late {
        let answer = task.await.expect("no panic");
        answer.assert_status(202);
        assert!(answer.took <= ms(2_010), "{:?}", answer.took);
    }
    let first = first.await.expect("no panic");
    first.assert_status(200).assert_outcomes(&[("a", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_queue_removes_only_that_write() {
    // The first PATCH hangs for the time of an attempt.
    let app = far_away().with_fault(ScriptedFault::on_patch(FaultAction::Hang)).start().await;
    let stuck = writing(&app, "", 10, &[("a", "1")]);
    tokio::time::sleep(ms(60)).await;
    let impatient = writing(&app, "", 1, &[("b", "1")]);
    let patient = writing(&app, "", 10, &[("c", "1")]);
    let impatient = impatient.await.expect("no panic");
    impatient.assert_problem(504, "deadline-exceeded", "notApplied");
    assert!(impatient.took <= ms(1_100), "{:?}", impatient.took);
    for answer in [stuck.await.expect("no panic"), patient.await.expect("no panic")] {
        answer.assert_status(200);
    }
    let truth = app.truth(CUSTOMER);
    assert!(truth.contains_key("a") && truth.contains_key("c"));
    assert!(!app.simulator.ledger().iter().any(|entry| entry.changes.contains_key("b")));
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_for_a_member_that_was_told_that_it_did_not() {
    // Upstream throttles for a while: the batch waits, and its most impatient member leaves.
    let busy = FaultAction::Throttle { retry_after: Some(1) };
    let app = far_away().with_fault(ScriptedFault::on_patch(busy).times(2)).start().await;
    let impatient = writing(&app, "", 2, &[("b", "1")]);
    let patient = writing(&app, "", 10, &[("c", "1")]);
    let impatient = impatient.await.expect("no panic");
    assert_eq!(impatient.at("/effect"), "notApplied", "{}", impatient.text);
    patient.await.expect("no panic").assert_status(200);
    assert!(!app.truth(CUSTOMER).contains_key("b"));
    assert!(!app.simulator.ledger().iter().any(|entry| entry.changes.contains_key("b")));
    let sent = app.sent(RequestKind::Patch);
    assert!(sent.windows(2).all(|pair| pair[1] >= pair[0] + 1_000), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_kept_by_those_that_have_time_for_it() {
    let busy = FaultAction::Throttle { retry_after: Some(5) };
    let app = far_away().with_fault(ScriptedFault::on_patch(busy)).start().await;
    let hasty = [writing(&app, "", 2, &[("b", "1")]), writing(&app, "", 4, &[("c", "1")])];
    let patient = writing(&app, "", 10, &[("d", "1")]);
    for task in hasty {
        let answer = task.await.expect("no panic");
        answer.assert_problem(503, "upstream-rate-limited", "notApplied");
        assert!(answer.took < ms(200), "{:?}", answer.took);
    }
    patient.await.expect("no panic").assert_status(200);
    assert_eq!(app.sent(RequestKind::Patch), [50, 5_100]);
    assert_eq!(app.patches()[1], json!({"attributes": {"d": "1"}}));
}

#[tokio::test(start_paused = true)]
async fn the_change_over_the_limit_is_removed_and_others_go() {
    let app = far_away().start().await;
    let large = "x".repeat(6_000);
    let opener = writing(&app, "", 5, &[("opener", "1")]);
    let fits = writing(&app, "", 5, &[("first", &large)]);
    let crosses = writing(&app, "", 5, &[("second", &large)]);
    let small = writing(&app, "", 5, &[("third", "1")]);
    for task in [opener, fits, small] {
        task.await.expect("no panic").assert_status(200);
    }
    let crosses = crosses.await.expect("no panic");
    crosses.assert_problem(422, "attributes-too-large", "notApplied");
    assert!(!crosses.text.contains("Genesys Cloud refused"), "{}", crosses.text);
    assert_eq!(app.simulator.count(RequestKind::Patch), 1, "{}", app.order());
    assert!(!app.truth(CUSTOMER).contains_key("second"));
}

#[tokio::test(start_paused = true)]
async fn writes_of_a_rejected_batch_are_sent_singly_in_order() {
    for status in [400, 413, 422] {
        let rejection = FaultAction::Status { code: status, body: None, retry_after: None };
        let app = far_away().with_fault(ScriptedFault::on_patch(rejection).times(2)).start().await;
        let tasks: Vec<_> = ["a", "b", "c"].map(|key| writing(&app, "", 5, &[(key, "1")])).into();
        let answers = all(tasks).await;
        // The batch was rejected, and then the first of its members alone.
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let refused = if status == 413 { 422 } else { 502 };
        assert_eq!(statuses, [refused, 200, 200]);
        assert_eq!(answers[0].at("/effect"), "notApplied");
        let single = |key: &str| json!({"attributes": {key: "1"}});
        assert_eq!(app.patches()[1..], [single("a"), single("b"), single("c")]);
        assert!(!app.truth(CUSTOMER).contains_key("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attribute_of_another_participant_does_not_wait() {
    // It is the customer's PATCH that hangs.
    let app = far_away().with_fault(ScriptedFault::on_patch(FaultAction::Hang)).start().await;
    let customer = writing(&app, "", 10, &[("a", "1")]);
    tokio::time::sleep(ms(60)).await;
    let agent = writing(&app, "?participant=agent", 10, &[("desk", "8")]).await.expect("no panic");
    agent.assert_outcomes(&[("desk", "verified")]);
    assert!(agent.took < ms(1_000), "{:?}", agent.took);
    customer.await.expect("no panic").assert_status(200);
    assert_eq!(app.simulator.attributes(CALL, AGENT).expect("there")["desk"], "8");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_batch_outcome_is_settled_for_all_members() {
    let app =
        far_away().with_fault(ScriptedFault::on_patch(FaultAction::ResetBefore)).start().await;
    let tasks: Vec<_> = ["a", "b", "c"].map(|key| writing(&app, "", 5, &[(key, "1")])).into();
    for answer in all(tasks).await {
        answer.assert_status(200);
    }
    assert_eq!(app.simulator.count(RequestKind::Patch), 2, "{}", app.order());
    assert_eq!(app.patches()[1], json!({"attributes": {"a": "1", "b": "1", "c": "1"}}));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_merged_and_sent_again_for_all_members() {
    let conflict = FaultAction::Status { code: 409, body: None, retry_after: None };
    let app = far_away().with_fault(ScriptedFault::on_patch(conflict)).start().await;
    let tasks: Vec<_> = ["a", "b", "c"].map(|key| writing(&app, "", 5, &[(key, "1")])).into();
    for answer in all(tasks).await {
        answer.assert_status(200);
    }
    assert_eq!(app.order(), "RPRPR");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_never_enters_a_batch() {
    let app = far_away().start().await;
    let real = writing(&app, "", 5, &[("a", "1")]);
    let dry = writing(&app, "?dryRun=true", 5, &[("b", "1")]).await.expect("no panic");
    dry.assert_outcomes(&[("b", "wouldSend")]);
    real.await.expect("no panic").assert_status(200);
    assert_eq!(app.patches(), [json!({"attributes": {"a": "1"}})]);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_conflict_is_retried_a_few_times() {
    let conflict = FaultAction::Status { code: 409, body: None, retry_after: None };
    let app =
        far_away().with_fault(ScriptedFault::on_patch(conflict).always()).allowing_leftovers();
    let app = app.start().await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        // Everybody comes at another moment, and so has another deadline.
        tasks.push(writing(&app, "", 9, &[(&format!("k{number}"), "1")]));
        tokio::time::sleep(ms(3)).await;
    }
    for answer in all(tasks).await {
        answer.assert_problem(409, "upstream-conflict", "notApplied");
    }
    assert!(app.simulator.count(RequestKind::Patch) <= 12, "{}", app.order());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_queue_is_no_defect() {
    let hang = ScriptedFault::on_patch(FaultAction::Hang).always();
    let app = far_away().with_fault(hang).allowing_leftovers().start().await;
    let start = Instant::now();
    let mut tasks = vec![writing(&app, "", 9, &[("a", "1")])];
    tokio::time::sleep(ms(60)).await;
    for number in 0..40 {
        tasks.push(writing(&app, "", 1 + number % 5, &[(&format!("k{number}"), "1")]));
        tokio::time::sleep(ms(7)).await;
    }
    // The deadline of these is the very moment at which the turn is free again: 50 ms of the first
    // read, and 2 s of its PATCH.
    tokio::time::sleep_until(start + ms(1_050)).await;
    tasks.extend(["x", "y", "z"].map(|key| writing(&app, "", 1, &[(key, "1")])));
    for answer in all(tasks).await {
        assert!(matches!(answer.status, 503 | 504), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_the_writes_that_still_wait() {
    let app = far_away().with_fault(ScriptedFault::on_patch(FaultAction::Hang)).start().await;
    let sent = writing(&app, "", 30, &[("a", "1")]);
    tokio::time::sleep(ms(60)).await;
    let waiting = [writing(&app, "", 30, &[("b", "1")]), writing(&app, "", 30, &[("c", "1")])];
    tokio::time::sleep(ms(10)).await;
    app.service().shutdown().begin(ms(500));
    sent.await.expect("no panic").assert_problem(504, "deadline-exceeded", "unknown");
    for task in waiting {
        let answer = task.await.expect("no panic");
        answer.assert_problem(503, "shutting-down", "notApplied");
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_write_never_undoes_a_later_one_when_it_tries_again() {
    let mut overtaken = 0;
    for seed in 0..8 {
        let conflict = FaultAction::Status { code: 409, body: None, retry_after: None };
        let app = far_away()
            .with_seed(seed)
            .with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1s")
            .with_fault(ScriptedFault::on_patch(conflict))
            .start()
            .await;
        let first = writing(&app, "", 5, &[("tier", "first")]);
        // The PATCH of the first has met its conflict by then, and waits before it tries again.
        tokio::time::sleep(ms(120)).await;
        let second = writing(&app, "", 5, &[("tier", "second")]);
        second.await.expect("no panic").assert_status(200);
        let first = first.await.expect("no panic");
        assert_eq!(app.truth(CUSTOMER)["tier"], "second", "seed {seed}: {}", first.text);
        overtaken += usize::from(first.text.contains("write-superseded"));
    }
    assert!(overtaken > 0, "no write tried again after the later one");
}
