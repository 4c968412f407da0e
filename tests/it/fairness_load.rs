//! One client takes up what all share: concurrency slots and calls. Clients that keep to their share
//! are served as before.

use std::sync::Arc;

use attribute_gateway::domain::Client;
use axum::Router;
use axum::body::Body;
use genesys_simulator::RequestKind;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::fair_shares::{caller, conversation, platform_with};
use crate::harness::{Answer, TestApp, attributes_of, ms, request, send, shown};
use crate::problems::endless;

const LIST: &str = "/v1/conversations";

/// Weights 1 : 2 : 1; the first one floods.
fn callers() -> [Arc<Client>; 3] {
    [caller("flood", 1), caller("crm", 2), caller("ivr", 1)]
}

fn ask(router: Router, method: &str, path: &str, who: &str, body: Body) -> JoinHandle<Answer> {
    let (name, key) = shown(who);
    let asked = request(method, path).header(name, key).header("content-type", "application/json");
    tokio::spawn(send(router, asked.body(body).expect("a request")))
}

async fn read(app: &TestApp, who: &str, client: usize, number: u64) -> Answer {
    let path = attributes_of(&conversation(client, number));
    ask(app.router(), "GET", &path, who, Body::empty()).await.expect("no panic")
}

fn held_write(app: &TestApp, who: &str) -> JoinHandle<Answer> {
    ask(app.router(), "PUT", &attributes_of(&conversation(0, 0)), who, endless())
}

/// The flood has used its share, and borrowed calls come slowly.
async fn spend_share(app: &TestApp) {
    for number in 0..73 {
        read(app, "flood", 0, number).await.assert_status(200);
    }
    for number in 73..83 {
        let path = attributes_of(&conversation(0, number));
        drop(ask(app.router(), "GET", &path, "flood", Body::empty()));
    }
    sleep(ms(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_at_its_limit_leaves_room_for_others() {
    let app = platform_with(&callers(), &[("GATEWAY__LIMITS__REQUESTS", "16")]).await;
    let flood: Vec<_> = (0..20).map(|_| held_write(&app, "flood")).collect();
    sleep(ms(1)).await;
    let (held, refused): (Vec<_>, Vec<_>) = flood.into_iter().partition(|one| !one.is_finished());
    assert_eq!((held.len(), refused.len()), (14, 6), "an eighth of 16 is kept");
    for one in refused {
        let answer = one.await.expect("no panic");
        answer.assert_problem(503, "overloaded", "notApplied");
        assert_eq!(answer.at("/detail"), "too many requests are in progress for this caller");
    }
    for (number, who) in [(1, "crm"), (2, "ivr"), (3, "crm")] {
        assert_eq!(read(&app, who, 1, number).await.assert_status(200).took, ms(20), "{who}");
    }
    let last = [held_write(&app, "crm"), held_write(&app, "ivr")];
    sleep(ms(1)).await;
    let full = read(&app, "crm", 1, 4).await;
    full.assert_problem(503, "overloaded", "notApplied");
    assert_eq!(full.at("/detail"), "too many requests are in progress in this gateway");
    for one in held.into_iter().chain(last) {
        assert_eq!(one.await.expect("no panic").status, 408);
    }
    let again: Vec<_> = (0..14).map(|_| held_write(&app, "flood")).collect();
    sleep(ms(1)).await;
    assert!(again.iter().all(|one| !one.is_finished()), "all places are free again");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_another_reason_takes_no_place() {
    let app = platform_with(&callers(), &[("GATEWAY__LIMITS__REQUESTS", "2")]).await;
    let held = [held_write(&app, "flood"), held_write(&app, "crm")];
    sleep(ms(1)).await;
    let stranger = ask(app.router(), "GET", LIST, "nobody", Body::empty()).await.expect("no panic");
    assert_eq!(stranger.status, 401, "{}", stranger.text);
    for _ in 0..2 {
        read(&app, "crm", 1, 1).await.assert_problem(503, "overloaded", "notApplied");
    }
    for one in held {
        assert_eq!(one.await.expect("no panic").status, 408);
    }
    read(&app, "crm", 1, 1).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_list_waiting_on_another_account_delays_no_client() {
    let app = platform_with(&callers(), &[]).await;
    spend_share(&app).await;
    let asked = || app.simulator.count(RequestKind::Analytics);
    let list = |who: &str| ask(app.router(), "GET", LIST, who, Body::empty());
    let flood = list("flood");
    sleep(ms(1)).await;
    assert_eq!(asked(), 0, "it waits for calls");
    let other = list("crm").await.expect("no panic");
    assert_eq!((other.assert_status(200).took, asked()), (ms(20), 1));
    assert!(!flood.is_finished(), "on its own account");
    flood.await.expect("no panic").assert_status(200);
    // What has left serves everybody.
    let first = list("crm");
    sleep(ms(5)).await;
    let joined = list("ivr").await.expect("no panic");
    assert_eq!((joined.assert_status(200).took, asked()), (ms(15), 3));
    first.await.expect("no panic").assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_write_with_calls_takes_waiting_writes_along() {
    // Nine calls in ten seconds, and one that is kept for what has begun.
    let app = TestApp::new().with_budget(60).with_env("GATEWAY__GENESYS__RATE_WINDOW", "10s");
    let latency = |settings: &mut genesys_simulator::SimulatorSettings| settings.latency = ms(20);
    let mut app = app.with_settings(latency).with_lag(ms(1)).without_calls();
    for number in 0..6 {
        let customer = format!("c0000000-0000-4000-8000-{number:012}");
        let call = genesys_simulator::SimulatedCall::new(conversation(0, number));
        app = app.with_call(call.customer(&customer, [("a", "1")]));
    }
    let app = app.start().await;
    let path = attributes_of(&conversation(0, 0));
    let seen = app.get(&path).await;
    let write = |headers: &[(&str, &str)], key: &str| {
        let mut put = request("PUT", &path).header("content-type", "application/json");
        for (name, value) in headers {
            put = put.header(*name, *value);
        }
        let body = json!({ "attributes": { key: "new" } }).to_string();
        tokio::spawn(send(app.router(), put.body(Body::from(body)).expect("a request")))
    };
    // It reads first, and has booked the rest of its calls with that.
    let booked = write(&[("if-match", seen.header("etag"))], "b");
    sleep(ms(5)).await;
    for number in 1..6 {
        let other = attributes_of(&conversation(0, number));
        let get = request("GET", &other).body(Body::empty()).expect("a request");
        drop(tokio::spawn(send(app.router(), get)));
    }
    sleep(ms(5)).await;
    // It needs no read, finds no calls left for ten seconds, and has the time to wait for them.
    let waiting = write(&[("prefer", "wait=30")], "c");
    let (booked, waiting) = (booked.await.expect("no panic"), waiting.await.expect("no panic"));
    assert_eq!(booked.assert_status(200).took, ms(60), "a read, a PATCH and a read-back");
    assert_eq!(waiting.assert_status(200).took, ms(50), "the same PATCH and read-back");
    assert_eq!(app.patches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn metrics_show_requests_and_calls_by_client() {
    let app = platform_with(&callers(), &[]).await;
    for number in 0..3 {
        read(&app, "flood", 0, number).await.assert_status(200);
    }
    read(&app, "crm", 1, 1).await.assert_status(200);
    let missing = ask(app.router(), "GET", "/v1/nothing", "crm", Body::empty());
    assert_eq!(missing.await.expect("no panic").status, 404);
    let stranger = ask(app.router(), "GET", LIST, "made-up", Body::empty());
    assert_eq!(stranger.await.expect("no panic").status, 401);
    let text = app.service().metrics().encode().expect("text");
    let lines = text.lines().filter(|line| line.starts_with("attribute_gateway_client_"));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"attribute_gateway_client_requests_total{client="crm",status="200"} 1"#,
            r#"attribute_gateway_client_requests_total{client="crm",status="404"} 1"#,
            r#"attribute_gateway_client_requests_total{client="flood",status="200"} 3"#,
            r#"attribute_gateway_client_upstream_calls_total{client="crm"} 1"#,
            r#"attribute_gateway_client_upstream_calls_total{client="flood"} 3"#,
            r#"attribute_gateway_client_upstream_calls_total{client="ivr"} 0"#,
        ]
    );
}
