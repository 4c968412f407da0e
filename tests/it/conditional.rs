//! Conditional writes: no update is lost between clients that read before they write.

use axum::Router;
use axum::body::Body;
use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{Answer, CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

async fn put(router: Router, query: &str, header: (&str, &str), body: serde_json::Value) -> Answer {
    let request = request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .header("prefer", "wait=30")
        .header(header.0, header.1);
    let body = json!({ "attributes": body }).to_string();
    send(router, request.body(body.into()).expect("a request")).await
}

async fn get(router: Router, query: &str) -> Answer {
    let request = request("GET", &format!("{}{query}", attributes_of(CALL)));
    send(router, request.body(Body::empty()).expect("a request")).await
}

/// Counts up by reading and writing back, until it has succeeded `times` times.
async fn count(router: Router, times: usize, query: &str) -> usize {
    let mut lost = 0;
    for _ in 0..times {
        loop {
            let read = get(router.clone(), query).await;
            read.assert_status(200);
            let value = read.json()["attributes"]["counter"]
                .as_str()
                .map_or(0, |text| text.parse::<usize>().expect("a number"));
            let next = json!({"counter": (value + 1).to_string()});
            let answer = put(router.clone(), query, ("if-match", read.header("etag")), next).await;
            match answer.status {
                200 => break,
                412 => lost += 1,
                other => panic!("{other}: {}", answer.text),
            }
        }
    }
    lost
}

async fn counted(query: &'static str) {
    const CLIENTS: usize = 8;
    const TIMES: usize = 5;
    let app = TestApp::new().with_budget(100_000).with_lag(ms(120)).start().await;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(count(app.router(), TIMES, query))).collect();
    let mut lost = 0;
    for client in clients {
        lost += client.await.expect("no panic");
    }
    assert_eq!(app.truth(CUSTOMER)["counter"], (CLIENTS * TIMES).to_string());
    assert!(lost > 0, "they never met");
    // Exactly one wins each round: no value was written twice.
    let ledger = app.simulator.ledger();
    let written: Vec<_> = ledger.iter().filter_map(|entry| entry.changes.get("counter")).collect();
    let expected: Vec<_> = (1..=CLIENTS * TIMES).map(|number| Some(number.to_string())).collect();
    assert_eq!(written, expected.iter().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_counter_kept_by_many_clients_under_lag_ends_exact() {
    counted("").await;
}

#[tokio::test(start_paused = true)]
async fn the_etag_of_some_keys_works_for_a_write_of_these_keys() {
    counted("?keys=counter").await;
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let tag = app.read(CALL, "?key=tier").await.header("etag").to_owned();
    let whole = put(app.router(), "", ("if-match", &tag), json!({"tier": "x"})).await;
    whole.assert_problem(412, "precondition-failed", "notApplied");
    let narrowed = put(app.router(), "?keys=tier", ("if-match", &tag), json!({"tier": "gold"}));
    let narrowed = narrowed.await.assert_status(200).header("etag").to_owned();
    assert_eq!(app.read(CALL, "?key=tier").await.header("etag"), narrowed);
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_returns_the_current_etag() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let there = put(app.router(), "", ("if-match", "\"old\""), json!({"tier": "silver"})).await;
    there.assert_problem(412, "precondition-failed", "notApplied");
    let read = app.read(CALL, "").await;
    assert_eq!(there.header("etag"), read.header("etag"));
    assert_eq!(app.simulator.count(RequestKind::Patch), 0);
    // With that tag it is as it should be, and nothing has to be sent.
    let same = put(app.router(), "", ("if-match", there.header("etag")), json!({"tier": "silver"}));
    same.await.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!(app.order(), "RRR");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_invisible_write_counts_in_the_condition() {
    let app = TestApp::new().with_lag(ms(20_000)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    let late = put(app.router(), "", ("if-match", &tag), json!({"tier": "platinum"})).await;
    late.assert_problem(412, "precondition-failed", "notApplied");
    // The tag in its answer covers what upstream does not show yet.
    let tag = late.header("etag").to_owned();
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(app.read(CALL, "").await.header("etag"), tag);
}

#[tokio::test(start_paused = true)]
async fn of_several_with_one_tag_the_first_to_arrive_wins() {
    let app = TestApp::new().with_lag(ms(50)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let with = |value: &'static str| {
        let (router, tag) = (app.router(), tag.clone());
        tokio::spawn(
            async move { put(router, "", ("if-match", &tag), json!({"tier": value})).await },
        )
    };
    let writes = [with("first"), with("second"), with("third")];
    let mut statuses = Vec::new();
    for write in writes {
        statuses.push(write.await.expect("no panic").status);
    }
    assert_eq!(statuses, [200, 412, 412]);
    assert_eq!(app.truth(CUSTOMER)["tier"], "first");
}

#[tokio::test(start_paused = true)]
async fn whoever_lost_to_a_write_that_then_failed_is_judged_again() {
    let rejection = FaultAction::Status { code: 403, body: None, retry_after: None };
    let app = TestApp::new()
        .with_lag(ms(50))
        .with_fault(ScriptedFault::on_patch(rejection))
        .start()
        .await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let with = |value: &'static str| {
        let (router, tag) = (app.router(), tag.clone());
        tokio::spawn(
            async move { put(router, "", ("if-match", &tag), json!({"tier": value})).await },
        )
    };
    let (first, second) = (with("first"), with("second"));
    first.await.expect("no panic").assert_problem(502, "upstream-forbidden", "notApplied");
    second.await.expect("no panic").assert_status(200);
    assert_eq!(app.truth(CUSTOMER)["tier"], "second");
}

#[tokio::test(start_paused = true)]
async fn a_condition_waits_for_the_fate_of_an_earlier_write() {
    // That one was applied unnoticed: it hung, and its client has long been answered.
    let hang = ScriptedFault::on_patch(FaultAction::HangAfterApply);
    let app = TestApp::new().with_lag(ms(10)).with_fault(hang).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let unknown = app.write_within(1, "", json!({"tier": "gold"})).await;
    unknown.assert_problem(504, "deadline-exceeded", "unknown");
    let after = put(app.router(), "", ("if-match", &tag), json!({"tier": "platinum"})).await;
    after.assert_problem(412, "precondition-failed", "notApplied");
    // And where it was not, the condition holds in the end.
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(FaultAction::Hang)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let unknown = app.write_within(1, "", json!({"tier": "gold"})).await;
    unknown.assert_problem(504, "deadline-exceeded", "unknown");
    let after = put(app.router(), "", ("if-match", &tag), json!({"tier": "platinum"})).await;
    after.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_set_only_if_it_is_not_there() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let absent = ("if-none-match", "*");
    put(app.router(), "", absent, json!({"lock": "mine"})).await.assert_status(200);
    let taken = put(app.router(), "", absent, json!({"lock": "theirs", "other": "1"})).await;
    taken.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(app.truth(CUSTOMER)["lock"], "mine");
    assert!(!app.truth(CUSTOMER).contains_key("other"));
    app.write(CALL, "", json!({"lock": ""})).await.assert_status(200);
    put(app.router(), "", absent, json!({"lock": "again"})).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn where_conditions_are_required_a_write_without_one_is_refused() {
    let app = TestApp::new().with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true");
    let app = app.with_lag(ms(10)).start().await;
    let refused = app.write(CALL, "", json!({"tier": "gold"})).await;
    refused.assert_problem(428, "precondition-required", "notApplied");
    // The attributes never match a tag that was never issued.
    let nonsense = ("if-none-match", "\"never-was\", W/\"x\"");
    let refused = put(app.router(), "", nonsense, json!({"tier": "gold"})).await;
    refused.assert_problem(428, "precondition-required", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
    app.write(CALL, "?dryRun=true", json!({"tier": "gold"})).await.assert_status(200);
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    put(app.router(), "", ("if-match", &tag), json!({"tier": "gold"})).await.assert_status(200);
    let absent = ("if-none-match", "*");
    put(app.router(), "", absent, json!({"lock": "mine"})).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn reads_and_writes_understand_tags_alike() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let path = attributes_of(CALL);
    for (list, known) in [
        // A backslash ends no tag, and escapes nothing.
        (format!(r#""\", {tag}"#), true),
        (format!("\t,, W/{tag} ,"), true),
        (format!(r#""x" {tag}"#), false),
    ] {
        let read = app.ask(("GET", &path), &[("if-none-match", &list)], Body::empty()).await;
        assert_eq!(read.status, if known { 304 } else { 200 }, "{list}");
        let write = put(app.router(), "", ("if-none-match", &list), json!({"tier": "gold"})).await;
        assert_eq!(write.status, if known { 412 } else { 400 }, "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_judges_the_condition_as_well() {
    let app = TestApp::new().start().await;
    let dry = put(app.router(), "?dryRun=true", ("if-match", "\"x\""), json!({"tier": "1"})).await;
    dry.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(app.order(), "R");
}

#[tokio::test(start_paused = true)]
async fn a_key_changed_by_another_write_of_the_batch_is_sent() {
    // The first opens the turn, and takes so long that the others are ready to share the next batch:
    // the one with a condition reads before.
    let slow = ScriptedFault::on_patch(FaultAction::Delay { by: ms(100), after_apply: false });
    let app = TestApp::new().with_lag(ms(50)).with_fault(slow).start().await;
    let plain = |key: &'static str, value: &'static str| {
        let router = app.router();
        tokio::spawn(async move { put(router, "", ("x-none", "1"), json!({key: value})).await })
    };
    let opener = plain("a", "0");
    tokio::time::sleep(ms(25)).await;
    let mate = plain("tier", "gold");
    let router = app.router();
    let guarded =
        tokio::spawn(
            async move { put(router, "", ("if-match", "*"), json!({"tier": "gold"})).await },
        );
    for task in [opener, mate] {
        task.await.expect("no panic").assert_status(200);
    }
    let guarded = guarded.await.expect("no panic");
    guarded.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(guarded.at("/attributes/tier"), "gold", "it was read back");
    assert_eq!(app.simulator.count(RequestKind::Patch), 2, "{}", app.order());
}

/// One round: four clients with the same tag, at random moments; how many succeeded.
async fn round(seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let app = TestApp::new().with_budget(100_000).with_env("RUST_LOG", "off");
    let app = app.with_lag(ms(random.u64(20..=40))).with_seed(seed);
    let app = app.with_settings(|settings| settings.latency = ms(1 + seed % 20)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let (router, tag, pause) = (app.router(), tag.clone(), ms(random.u64(0..120)));
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let body = json!({"tier": format!("writer {number}")});
                put(router, "", ("if-match", &tag), body).await.status
            })
        })
        .collect();
    let mut accepted = 0;
    for writer in writers {
        accepted += usize::from(writer.await.expect("no panic") < 300);
    }
    accepted
}

#[tokio::test(start_paused = true)]
async fn of_four_with_one_tag_exactly_one_is_told_yes_while_reads_lag() {
    for seed in 0..120 {
        assert_eq!(round(seed).await, 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_read_before_an_accepted_write_judges_no_condition() {
    // Reads: the tag, the first write's own, its first read-back, and the second write's own. That
    // one is handled before the first write shows, and answered long after a read-back has shown it.
    let slow = FaultAction::Delay { by: ms(200), after_apply: true };
    let app = TestApp::new().with_lag(ms(80)).with_fault(ScriptedFault::on_read(slow).skip(3));
    let app = app.start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let with = |value: &'static str| {
        let (router, tag) = (app.router(), tag.clone());
        tokio::spawn(
            async move { put(router, "", ("if-match", &tag), json!({"tier": value})).await },
        )
    };
    let first = with("first");
    tokio::time::sleep(ms(45)).await;
    let second = with("second");
    first.await.expect("no panic").assert_status(200);
    let second = second.await.expect("no panic");
    second.assert_problem(412, "precondition-failed", "notApplied");
    assert_eq!(app.truth(CUSTOMER)["tier"], "first");
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_delays_no_condition() {
    let refusal = FaultAction::Status { code: 400, body: None, retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(refusal)).start().await;
    let refused = app.write(CALL, "", json!({"tier": "gold"})).await;
    refused.assert_problem(502, "upstream-rejected", "notApplied");
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let answer = put(app.router(), "", ("if-match", &tag), json!({"tier": "platinum"})).await;
    answer.assert_status(200);
    assert!(answer.took < ms(500), "{:?}", answer.took);
}

#[tokio::test(start_paused = true)]
async fn a_condition_waits_for_an_unknown_write_with_few_calls() {
    let hang = ScriptedFault::on_patch(FaultAction::Hang).always();
    let app = TestApp::new().with_fault(hang).allowing_leftovers().start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let unknown = app.write(CALL, "", json!({"tier": "gold"})).await;
    assert_eq!(unknown.at("/effect"), "unknown", "{}", unknown.text);
    app.simulator.clear_faults();
    let before = app.upstream_calls();
    let answer = put(app.router(), "", ("if-match", &tag), json!({"tier": "platinum"})).await;
    answer.assert_status(200);
    assert!(answer.took > ms(1_000), "it waits: {:?}", answer.took);
    assert!(app.upstream_calls() - before < 30, "{}", app.upstream_calls() - before);
}

#[tokio::test(start_paused = true)]
async fn a_condition_sends_what_a_write_of_ours_may_still_undo() {
    let late = FaultAction::ApplyLate { after: ms(6_000) };
    let app = TestApp::new().with_lag(ms(10)).with_fault(ScriptedFault::on_patch(late));
    let app = app.start().await;
    let lost = app.write_within(1, "", json!({"tier": "gold"})).await;
    lost.assert_problem(504, "deadline-exceeded", "unknown");
    tokio::time::sleep(ms(4_000)).await;
    // Reads show the value that is wanted, but the other one can still arrive.
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let answer = put(app.router(), "", ("if-match", &tag), json!({"tier": "silver"})).await;
    assert_ne!(answer.assert_status(200).at("/outcomes/tier"), "unchanged");
    assert_eq!(app.patches().last(), Some(&json!({"attributes": {"tier": "silver"}})));
}
