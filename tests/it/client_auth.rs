//! Clients that are known: who is let in, by what, and how often.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{CALL, TestApp, attributes_of, client, ms, replace, request, send, shown};
use crate::problems::endless;

/// A client of each kind; their keys are their names with `-key` behind.
fn everybody() -> Vec<String> {
    vec![
        client("reader", "reader-key", "access = \"read\""),
        client("writer", "writer-key", ""),
        client("limited", "limited-key", "allow = [\"tier\"]\nparticipants = [\"customer\"]"),
    ]
}

async fn guarded() -> TestApp {
    TestApp::new()
        .with_env("GATEWAY__DEBUG__ENABLED", "true")
        .with_clients(&everybody())
        .start()
        .await
}

#[tokio::test(start_paused = true)]
async fn a_key_may_be_in_any_header_but_must_not_conflict() {
    let app = guarded().await;
    let path = attributes_of(CALL);
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let (good, other, wrong) =
        (basic("writer:writer-key"), basic("reader:writer-key"), basic("writer:wrong"));
    for (headers, status) in [
        (vec![("authorization", "Bearer writer-key")], 200),
        (vec![("authorization", "bearer  writer-key")], 200),
        (vec![("x-api-key", "writer-key")], 200),
        (vec![("authorization", good.as_str())], 200),
        (vec![("authorization", good.as_str()), ("x-api-key", "writer-key")], 200),
        (vec![("authorization", other.as_str())], 401),
        (vec![("authorization", wrong.as_str())], 401),
        (vec![("authorization", "writer-key")], 401),
        (vec![("authorization", "Digest writer-key"), ("x-api-key", "writer-key")], 401),
        (vec![("authorization", "Bearer reader-key"), ("x-api-key", "writer-key")], 401),
        (vec![("authorization", "Bearer writer-key"), ("x-api-key", "wrong")], 401),
        (vec![("x-api-key", "")], 401),
        (vec![("x-api-key", "Writer-key")], 401),
    ] {
        let answer = app.ask(("GET", &path), &headers, "").await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        assert!(!answer.text.contains("writer-key"), "{}", answer.text);
    }
    let output =
        [app.logs.text(), app.ask(("GET", "/metrics"), &[shown("reader-key")], "").await.text];
    assert!(output.iter().all(|output| !output.contains("-key")), "{output:?}");
    let named = output[0].matches("\"client\":\"writer\"").count();
    assert_eq!(named, 5, "the line names the caller: {}", output[0]);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let app = guarded().await;
    for key in [None, Some("wrong"), Some("reader-key")] {
        let mut asked = request("PUT", &attributes_of(CALL)).header("content-length", "100");
        if let Some(key) = key {
            asked = asked.header("x-api-key", key);
        }
        let answer = app.send(asked.body(endless()).expect("a request")).await;
        assert!(matches!(answer.status, 401 | 403), "{}", answer.text);
        assert_eq!(answer.took, Duration::ZERO);
        assert_eq!(answer.header("connection"), "close");
    }
}

#[tokio::test(start_paused = true)]
async fn without_callers_nobody_is_asked_who_it_is() {
    let app = TestApp::new().start().await;
    for headers in [vec![], vec![shown("any")], vec![("authorization", "Digest x")]] {
        app.ask(("GET", &attributes_of(CALL)), &headers, "").await.assert_status(200);
        app.ask(("GET", "/metrics"), &headers, "").await.assert_status(200);
    }
    assert!(!app.logs.text().contains("\"client\""));
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_rate_gets_429_and_others_go_on() {
    let clients =
        [client("fast", "fast-key", "requests_per_minute = 600"), client("calm", "calm-key", "")];
    let app = TestApp::new().with_budget(100_000).with_clients(&clients).start().await;
    let ask = async |key| {
        let headers = [shown(key)];
        app.ask(("GET", "/v1/nothing"), &headers, "").await
    };
    for _ in 0..60 {
        ask("fast-key").await.assert_status(404);
    }
    let refused = ask("fast-key").await;
    refused.assert_problem(429, "client-rate-limited", "notApplied");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.at("/retryable"), true);
    assert!(refused.at("/detail").as_str().expect("a sentence").contains("600"));
    ask("calm-key").await.assert_status(404);
    // What is no request of the API does not count, and is not held up.
    app.ask(("GET", "/metrics"), &[shown("fast-key")], "").await.assert_status(200);
    tokio::time::advance(ms(99)).await;
    ask("fast-key").await.assert_status(429);
    tokio::time::advance(ms(1)).await;
    ask("fast-key").await.assert_status(404);
    ask("fast-key").await.assert_status(429);
    tokio::time::advance(ms(1000)).await;
    for _ in 0..10 {
        ask("fast-key").await.assert_status(404);
    }
    ask("fast-key").await.assert_status(429);
    let flat = format!("{}?view=flat", attributes_of(CALL));
    let flat = app.ask(("GET", &flat), &[shown("fast-key")], "").await;
    assert_eq!(flat.assert_status(200).at("/code"), "client-rate-limited");
    assert_eq!(flat.at("/retryAfterSeconds"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_rotation_refuses_no_client_with_a_valid_key() {
    let entry = |keys: &[&str]| {
        let digests: Vec<_> = keys
            .iter()
            .map(|key| {
                let digest = attribute_gateway::app::key_digest(key.as_bytes());
                format!("\"{}\"", digest.to_hex())
            })
            .collect();
        format!("[[auth.clients]]\nname = \"crm\"\nkey_sha256 = [{}]\n", digests.join(", "))
    };
    let app = TestApp::new().with_clients(&[entry(&["one"])]).start().await;
    let ask = |key: &'static str| {
        let request = request("GET", "/v1/nothing").header("x-api-key", key);
        send(app.router(), request.body(Body::empty()).expect("a request"))
    };
    // Both keys count, then the client changes over, then the old one is gone.
    let (mut now, mut refused, mut asked) = ("one", 0, 0);
    for (old, new) in [("one", "two"), ("two", "three")] {
        for (text, next) in [(entry(&[old, new]), new), (entry(&[new]), new)] {
            replace(&app.clients_file(), &text);
            // Not in step with the looks at the file: it is changed between two of them.
            for _ in 0..533 {
                tokio::time::sleep(ms(10)).await;
                refused += u32::from(ask(now).await.status == 401);
                asked += 1;
            }
            now = next;
        }
        ask(old).await.assert_status(401);
    }
    assert_eq!((refused, asked), (0, 4 * 533));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_file_is_reported_until_it_is_fixed() {
    let app = TestApp::new()
        .with_clients(&[client("crm", "one", "requests_per_minute = 10")])
        .start()
        .await;
    let ask = async |path: &str, key| app.ask(("GET", path), &[shown(key)], "").await;
    ask("/v1/nothing", "one").await.assert_status(404);
    ask("/v1/nothing", "one").await.assert_status(429);
    let file = app.clients_file();
    let bad = [
        "not toml canary-key".to_owned(),
        String::new(),
        client("crm", "two", "alow = [\"x\"]"),
        client("crm", "two", "").replace("key_sha256 = \"", "key_sha256 = \"canary-key"),
    ];
    for text in bad {
        replace(&file, &text);
        tokio::time::sleep(ms(2500)).await;
        ask("/metrics", "two").await.assert_status(401);
        let checks = ask("/readyz?verbose", "one").await;
        checks.assert_status(200);
        assert!(checks.text.contains("auth.clients_file: failed"), "{}", checks.text);
        let metrics = ask("/metrics", "one").await;
        assert!(metrics.text.contains("clients_file_rejected 1"), "{}", metrics.text);
        let output = [app.logs.text(), checks.text, metrics.text].concat();
        assert!(!output.contains("canary"), "{output}");
    }
    std::fs::remove_file(&file).expect("removed");
    tokio::time::sleep(ms(2500)).await;
    ask("/metrics", "one").await.assert_status(200);
    assert!(ask("/readyz?verbose", "one").await.text.contains("cannot be read"));
    let complaints = app.logs.text().matches("the previous clients stay in force").count();
    assert_eq!(complaints, 5, "one for each state of the file");
    std::fs::write(&file, client("crm", "two", "requests_per_minute = 10")).expect("written");
    tokio::time::sleep(ms(2500)).await;
    ask("/metrics", "one").await.assert_status(401);
    assert!(ask("/readyz?verbose", "two").await.text.contains("auth.clients_file: ok: 1 clients"));
    assert!(ask("/metrics", "two").await.text.contains("clients_file_rejected 0"));
    // 9 s have passed since the one request that was made: the next is due after 6.
    ask("/v1/nothing", "two").await.assert_status(404);
    let again = ask("/v1/nothing", "two").await;
    assert_eq!(again.assert_status(429).header("retry-after"), "6");
}

#[tokio::test(start_paused = true)]
async fn a_pipe_in_the_place_of_the_file_is_told_and_holds_nothing_up() {
    let app = TestApp::new().with_clients(&[client("crm", "one", "")]).start().await;
    let ask = async |path: &str, key| app.ask(("GET", path), &[shown(key)], "").await;
    let file = app.clients_file();
    std::fs::remove_file(&file).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo is there").success());
    tokio::time::sleep(ms(5000)).await;
    let checks = ask("/readyz?verbose", "one").await;
    assert!(checks.text.contains("is not a regular file"), "{}", checks.text);
    replace(&file, &client("crm", "two", ""));
    tokio::time::sleep(ms(5000)).await;
    ask("/metrics", "two").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_half_written_clients_file_is_not_loaded() {
    let [crm, ivr] = ["crm", "ivr"].map(|name| client(name, name, ""));
    let app = TestApp::new().with_clients(&[crm.clone(), ivr.clone()]).start().await;
    let ask = async |key| app.ask(("GET", "/metrics"), &[shown(key)], "").await.status;
    let file = app.clients_file();
    // Written slowly: every look finds another part, and the first of them is sound.
    for part in [&crm, &format!("{crm}{}", &ivr[..20]), &format!("{crm}{}", &ivr[..60])] {
        std::fs::write(&file, part).expect("written");
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!((ask("crm").await, ask("ivr").await), (200, 200));
    }
    assert!(!app.logs.text().contains("clients file"), "nothing is taken, nor complained of");
    std::fs::write(&file, format!("{crm}{ivr}")).expect("written");
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!((ask("crm").await, ask("ivr").await), (200, 200));
    std::fs::write(&file, &crm).expect("written");
    tokio::time::sleep(ms(2_500)).await;
    assert_eq!((ask("crm").await, ask("ivr").await), (200, 401), "what stands still is taken");
}
