//! The list of live conversations, and the search in it.

use std::collections::BTreeSet;
use std::time::Duration;

use genesys_simulator::{FaultAction, NO_ATTRIBUTES, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{AGENT, Answer, Builder, CALL, CUSTOMER, IVR, TestApp, ms, request};

const LIST: &str = "/v1/conversations";
const SEARCH: &str = "/v1/conversations/search";
const ENDED: &str = "5eed0000-0000-4000-8000-00000000000e";
/// The queue of every built call.
const QUEUE: &str = "9e000000-0000-4000-8000-000000000001";
/// The numbers of every built call.
const CALLER: &str = "+15550100111";
const DIALLED: &str = "+15550100199";

fn id(number: u64) -> String {
    format!("5eed0000-0000-4000-8000-{number:012}")
}

fn customer(number: u64) -> String {
    format!("c0000000-0000-4000-8000-{number:012}")
}

/// So many calls, of which number 1 is the newest.
fn with_calls(count: u64) -> Builder {
    let ended = SimulatedCall::new(ENDED).customer(IVR, NO_ATTRIBUTES).ended();
    let calls = (1..=count).map(|number| {
        SimulatedCall::new(id(number))
            .customer(customer(number), [("secret", "canary")])
            .started_ago(Duration::from_secs(60 + number))
    });
    calls.fold(TestApp::new().without_calls().with_call(ended), Builder::with_call)
}

fn ids(answer: &Answer) -> Vec<String> {
    let rows = answer.assert_status(200).at("/conversations");
    let id = |row: &Value| row["conversationId"].as_str().expect("an id").to_owned();
    rows.as_array().expect("a list").iter().map(id).collect()
}

fn queries(app: &TestApp) -> Vec<Value> {
    let calls = app.simulator.calls().into_iter();
    calls.filter(|call| call.kind == RequestKind::Analytics).filter_map(|call| call.body).collect()
}

#[tokio::test(start_paused = true)]
async fn live_calls_are_listed_the_newest_first_without_attributes() {
    let app = with_calls(2).start().await;
    let answer = app.get(LIST).await;
    assert_eq!(ids(&answer), [id(1), id(2)]);
    let expected = json!({
        "conversationId": id(1),
        "startTime": answer.at("/conversations/0/startTime"),
        "direction": "inbound",
        "participants": [{"participantId": customer(1), "purpose": "customer"}],
    });
    assert_eq!(answer.at("/conversations/0"), expected);
    assert_eq!((answer.at("/nextCursor"), answer.took), (Value::Null, ms(20)));
    assert!(answer.header("cache-control") == "no-store" && !answer.text.contains("canary"));
    assert_eq!((app.simulator.count(RequestKind::Analytics), app.upstream_calls()), (1, 0));
    let none = with_calls(0).start().await.get(LIST).await;
    assert_eq!(none.json(), json!({"conversations": [], "nextCursor": null}));
}

#[tokio::test(start_paused = true)]
async fn each_filter_narrows_and_numbers_may_be_bare_or_uris() {
    let app = TestApp::new().start().await;
    for (query, found) in [
        ("state=live", true),
        ("direction=inbound", true),
        ("direction=outbound", false),
        (&format!("queueId={QUEUE}"), true),
        (&format!("queueId={CALL}"), false),
        (&format!("userId={AGENT}"), true),
        (&format!("userId={CUSTOMER}"), false),
        (&format!("userId={AGENT}&queueId={QUEUE}&direction=inbound"), true),
    ] {
        let answer = app.get(&format!("{LIST}?{query}")).await;
        assert_eq!(ids(&answer).len(), usize::from(found), "{query}");
    }
    for (body, found) in [
        (json!({"ani": CALLER}), true),
        (json!({"ani": format!("tel:{CALLER}")}), true),
        (json!({"ani": "1 (555) 010-0111"}), true),
        (json!({"ani": DIALLED}), false),
        (json!({"dnis": DIALLED}), true),
        (json!({"ani": CALLER, "dnis": CALLER}), false),
        (json!({"ani": CALLER, "direction": "inbound", "userId": AGENT, "dnis": null}), true),
        (json!({}), true),
    ] {
        let answer = app.post(SEARCH, body.clone()).await;
        assert_eq!(ids(&answer).len(), usize::from(found), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_walked_to_its_end_while_calls_begin_and_end() {
    let app = with_calls(60).start().await;
    let (mut seen, mut path, mut pages) = (Vec::new(), LIST.to_owned(), 0);
    loop {
        let answer = app.get(&path).await;
        seen.extend(ids(&answer));
        pages += 1;
        let Some(cursor) = answer.at("/nextCursor").as_str().map(str::to_owned) else { break };
        path = format!("{LIST}?cursor={cursor}");
        // One that was shown ends, and newer ones push the rest down.
        app.simulator.end_conversation(&id(pages));
        for number in 0..3 {
            let new =
                SimulatedCall::new(id(1000 * pages + number)).started_ago(Duration::from_secs(1));
            app.simulator.add_call(new.customer(customer(7), NO_ATTRIBUTES)).expect("a call");
        }
    }
    assert_eq!((pages, seen.len()), (3, 60), "25, 25 and the rest");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 60, "none twice");
    assert_eq!(app.simulator.count(RequestKind::Analytics), 3);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_a_page_of_upstream_holds_are_all_found() {
    let app = with_calls(230).start().await;
    let first = app.get(&format!("{LIST}?limit=100")).await;
    let next = |answer: &Answer| answer.at("/nextCursor").as_str().expect("a cursor").to_owned();
    let second = app.get(&format!("{LIST}?limit=100&cursor={}", next(&first))).await;
    let third = app.get(&format!("{LIST}?limit=100&cursor={}", next(&second))).await;
    assert_eq!([&first, &second, &third].map(|answer| ids(answer).len()), [100, 100, 30]);
    assert_eq!((ids(&third).last(), third.at("/nextCursor")), (Some(&id(230)), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_is_good_only_with_the_filters_it_came_from() {
    let app = with_calls(30).start().await;
    let cursor = app.get(&format!("{LIST}?direction=inbound")).await.at("/nextCursor");
    let cursor = cursor.as_str().expect("a cursor");
    let sent = app.simulator.count(RequestKind::Analytics);
    let mut changed = cursor.to_owned();
    changed.replace_range(3..4, if &cursor[3..4] == "A" { "B" } else { "A" });
    for query in [
        format!("cursor={cursor}"),
        format!("cursor={cursor}&direction=outbound"),
        format!("cursor={cursor}&direction=inbound&queueId={QUEUE}"),
        format!("cursor={changed}&direction=inbound"),
        "cursor=nonsense".to_owned(),
    ] {
        let answer = app.get(&format!("{LIST}?{query}")).await;
        answer.assert_problem(400, "invalid-query", "notApplied");
        assert_eq!(answer.at("/errors/0/pointer"), "cursor", "{query}");
    }
    let answer =
        app.post(SEARCH, json!({"cursor": cursor, "direction": "inbound", "ani": CALLER})).await;
    answer.assert_problem(400, "invalid-json", "notApplied");
    assert_eq!(answer.at("/errors/0/pointer"), "#/cursor");
    assert_eq!(app.simulator.count(RequestKind::Analytics), sent, "nothing was sent");
    let rest =
        app.post(SEARCH, json!({"cursor": cursor, "direction": "inbound", "limit": 3})).await;
    assert_eq!(ids(&rest), [id(26), id(27), id(28)], "by the other way as well");
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_all_listed_and_nothing_is_sent() {
    let app = TestApp::new().start().await;
    let query = "?state=ended&direction=in&queueId=x&userId=&limit=101&ani=%2B1&qeueId=1";
    let answer = app.get(&format!("{LIST}{query}")).await;
    answer.assert_problem(400, "invalid-query", "notApplied");
    let pointers = |answer: &Answer| -> BTreeSet<String> {
        let errors = answer.at("/errors");
        let pointer = |error: &Value| error["pointer"].as_str().expect("a pointer").to_owned();
        errors.as_array().expect("a list").iter().map(pointer).collect()
    };
    let all = ["ani", "direction", "limit", "qeueId", "queueId", "state", "userId"];
    assert_eq!(pointers(&answer), all.map(str::to_owned).into());
    assert!(answer.text.contains("POST to /v1/conversations/search"), "{}", answer.text);
    let body = json!({"ani": "someone", "dnis": 7, "limit": 0, "anni": "1", "userId": "x"});
    let answer = app.post(SEARCH, body).await;
    answer.assert_problem(400, "invalid-json", "notApplied");
    let all = ["#/ani", "#/anni", "#/dnis", "#/limit", "#/userId"];
    assert_eq!(pointers(&answer), all.map(str::to_owned).into());
    assert!(answer.text.contains("did you mean `ani`?") && !answer.text.contains("someone"));
    for (body, detail) in [
        ("[1]", "has to be an object"),
        (r#"{"ani":"1","ani":"2"}"#, "more than once"),
        (r#"{"ani":"#, "EOF"),
    ] {
        let request = request("POST", SEARCH).header("content-type", "application/json");
        let answer = app.send(request.body(body.into()).expect("a request")).await;
        answer.assert_problem(400, "invalid-json", "notApplied");
        assert!(answer.text.contains(detail), "{}", answer.text);
    }
    let plain = request("POST", SEARCH).body("{}".into()).expect("a request");
    app.send(plain).await.assert_problem(415, "unsupported-media-type", "notApplied");
    assert_eq!(app.simulator.count(RequestKind::Analytics), 0);
}

#[tokio::test(start_paused = true)]
async fn telephone_numbers_are_in_no_log_line_or_message() {
    let own =
        json!({"code": "bad.request", "status": 400, "message": format!("tel:{CALLER} is odd")});
    let refusal = FaultAction::Status { code: 400, body: Some(own), retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_analytics(refusal)).start().await;
    let refused = app.post(SEARCH, json!({"ani": CALLER})).await;
    refused.assert_problem(502, "upstream-rejected", "notApplied");
    assert!(!refused.text.contains("5550100111"), "{}", refused.text);
    assert_eq!(ids(&app.post(SEARCH, json!({"ani": CALLER})).await), [CALL]);
    assert_eq!(queries(&app).len(), 2);
    let log = app.logs.text();
    assert!(log.contains(SEARCH) && !log.contains("5550100111"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let status = FaultAction::Status { code: 403, body: None, retry_after: None };
    let silent = FaultAction::Status { code: 403, body: Some(json!({})), retry_after: None };
    for fault in [status, silent] {
        let app = TestApp::new().with_fault(ScriptedFault::on_analytics(fault)).start().await;
        let answer = app.get(LIST).await;
        answer.assert_problem(502, "upstream-forbidden", "notApplied");
        let detail = answer.at("/detail").to_string();
        assert!(detail.contains("analytics:conversationDetail:view"), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_to_the_query_stops_only_the_query() {
    let throttle = FaultAction::Throttle { retry_after: Some(30) };
    let app = TestApp::new().with_fault(ScriptedFault::on_analytics(throttle)).start().await;
    let refused = app.get(LIST).await;
    refused.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!(refused.header("retry-after"), "30");
    assert!(refused.text.contains("analytics query"), "{}", refused.text);
    let again = app.get(LIST).await;
    again.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!((app.simulator.count(RequestKind::Analytics), again.took), (1, ms(0)));
    let read = app.read(CALL, "").await;
    assert_eq!(read.assert_status(200).took, ms(20));
    assert!(app.figure("upstream_throttle_active").await < 0.5, "not the budget");
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ids(&app.get(LIST).await), [CALL]);
}

#[tokio::test(start_paused = true)]
async fn a_429_elsewhere_also_stops_the_list_query() {
    let throttle = FaultAction::Throttle { retry_after: Some(30) };
    let app = TestApp::new().with_fault(ScriptedFault::on_read(throttle)).start().await;
    app.read(CALL, "").await.assert_problem(503, "upstream-rate-limited", "notApplied");
    app.get(LIST).await.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!(app.simulator.count(RequestKind::Analytics), 0);
    let app = TestApp::new().with_budget(4).start().await;
    for _ in 0..3 {
        app.get(LIST).await.assert_status(200);
    }
    app.read(CALL, "").await.assert_problem(503, "upstream-rate-limited", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn the_query_is_retried_and_counted_under_its_own_name() {
    let status = FaultAction::Status { code: 503, body: None, retry_after: None };
    let app = TestApp::new().with_fault(ScriptedFault::on_analytics(status)).start().await;
    assert_eq!(ids(&app.get(LIST).await), [CALL]);
    let metrics = app.get("/metrics").await.text;
    for line in [r#"operation="analytics",answer="503""#, r#"operation="analytics",answer="200""#] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let hang = TestApp::new().with_fault(ScriptedFault::on_analytics(FaultAction::Hang).always());
    let app = hang.allowing_leftovers().start().await;
    let wait = request("GET", LIST).header("prefer", "wait=1");
    let answer = app.send(wait.body(axum::body::Body::empty()).expect("a request")).await;
    answer.assert_problem(504, "deadline-exceeded", "notApplied");
    assert!(answer.took < ms(1100), "{:?}", answer.took);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_is_told_as_such() {
    for action in [FaultAction::Html, FaultAction::Empty { status: 200, applied: true }] {
        let app = TestApp::new().with_fault(ScriptedFault::on_analytics(action)).start().await;
        app.get(LIST).await.assert_problem(502, "upstream-invalid-response", "notApplied");
    }
}

/// How many queries upstream has seen.
fn asked(app: &TestApp) -> usize {
    app.simulator.count(RequestKind::Analytics)
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_for_one_page_share_one_query() {
    let app = with_calls(60).start().await;
    let inbound = format!("{LIST}?direction=inbound");
    let (first, second, searched, other) = tokio::join!(
        app.get(LIST),
        // Another limit is cut from the same page of upstream.
        app.get("/v1/conversations?limit=3"),
        app.post(SEARCH, json!({})),
        app.get(&inbound),
    );
    assert_eq!((ids(&first).len(), ids(&second).len()), (25, 3));
    assert_eq!((ids(&searched), ids(&other)), (ids(&first), ids(&first)));
    assert_eq!(asked(&app), 2, "one for each filter");
    // Nothing is kept: a later request sees the state of that moment.
    app.simulator.end_conversation(&id(1));
    assert_eq!(ids(&app.get(LIST).await)[0], id(2));
    assert_eq!(asked(&app), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shared_list_survives_the_hang_up_of_the_first_client() {
    let slow = |settings: &mut genesys_simulator::SimulatorSettings| settings.latency = ms(500);
    let app = with_calls(1).with_settings(slow).start().await;
    app.get(LIST).await.assert_status(200);
    let router = app.router();
    let first = tokio::spawn(async move { get_from(router, "wait=30").await });
    tokio::time::sleep(ms(100)).await;
    let (joined, ()) = tokio::join!(get_from(app.router(), "wait=30"), async {
        tokio::time::sleep(ms(100)).await;
        first.abort();
    });
    assert_eq!((joined.assert_status(200).took, asked(&app)), (ms(400), 2));
    // And ends with the last of them.
    let alone = tokio::time::timeout(ms(100), get_from(app.router(), "wait=30")).await;
    assert!(alone.is_err(), "it hangs up");
    tokio::time::sleep(ms(1)).await;
    let after = get_from(app.router(), "wait=30").await;
    assert_eq!((after.assert_status(200).took, asked(&app)), (ms(500), 4), "a query of its own");
}

#[tokio::test(start_paused = true)]
async fn those_who_share_a_list_are_each_told_in_their_own_time() {
    let app = with_calls(1).with_fault(ScriptedFault::on_analytics(FaultAction::Hang).always());
    let app = app.allowing_leftovers().start().await;
    let (impatient, usual, patient) =
        tokio::join!(get_from(app.router(), "wait=1"), get_from(app.router(), "wait=3"), async {
            tokio::time::sleep(ms(2500)).await;
            app.simulator.clear_faults();
            get_from(app.router(), "wait=30").await
        },);
    assert_eq!(impatient.status, 504, "{}", impatient.text);
    assert!(impatient.took >= ms(900) && impatient.took <= ms(1100), "{:?}", impatient.took);
    assert!(usual.took >= ms(2900) && usual.took <= ms(3100), "{:?}", usual.took);
    assert_eq!(patient.status, 200, "{}", patient.text);
}

#[tokio::test(start_paused = true)]
async fn a_short_deadline_does_not_join_a_list_with_retries() {
    let app = with_calls(1)
        .with_fault(ScriptedFault::on_analytics(FaultAction::Throttle { retry_after: Some(3) }));
    let app = app.start().await;
    let (patient, impatient) = tokio::join!(get_from(app.router(), "wait=30"), async {
        tokio::time::sleep(ms(50)).await;
        get_from(app.router(), "wait=1").await
    });
    assert_eq!((patient.status, patient.took >= ms(3000)), (200, true), "{:?}", patient.took);
    impatient.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert!(impatient.took < ms(100), "{:?}", impatient.took);
}

async fn get_from(router: axum::Router, prefer: &str) -> Answer {
    let get = request("GET", LIST).header("prefer", prefer);
    crate::harness::send(router, get.body(axum::body::Body::empty()).expect("a request")).await
}
