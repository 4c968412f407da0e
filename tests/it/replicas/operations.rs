//! `Prefer: respond-async` over several replicas: any of them carries a write out, and shows it.

use genesys_simulator::{FaultAction, ScriptedFault};

use super::*;

const ASYNC: (&str, &str) = ("prefer", "respond-async");

async fn ask(replica: &Service, method: &str, path: &str) -> Answer {
    let request = request(method, path).body(Body::empty()).expect("a request");
    send(replica.router(), request).await
}

/// The operation, once it has ended.
async fn ended(replica: &Service, accepted: &Answer) -> Value {
    accepted.assert_status(202);
    until("it ends", async || {
        let operation = ask(replica, "GET", accepted.header("location")).await;
        let operation = operation.assert_status(200).json();
        (!["queued", "running"].contains(&operation["state"].as_str()?)).then_some(operation)
    })
    .await
}

fn busy() -> ScriptedFault {
    let answer = FaultAction::Status { code: 503, body: None, retry_after: None };
    ScriptedFault::on_read(answer).always()
}

#[tokio::test]
async fn any_replica_shows_cancels_and_carries_out() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    cluster.simulator.inject(busy());
    let mut accepted = Vec::new();
    for number in 0..6 {
        let map = json!({ "tier": number.to_string() });
        accepted.push(write(&replicas[number % 3], "", &[ASYNC], map).await);
    }
    let location = accepted[1].header("location").to_owned();
    let shown = ask(&replicas[2], "GET", &location).await.assert_status(200).json();
    assert_eq!((&shown["state"], &shown["conversationId"]), (&json!("queued"), &json!(CALL)));
    ask(&replicas[0], "DELETE", &location).await.assert_status(204);
    until("all replicas know of them", async || {
        let ready = readiness(&replicas[1]).await.text;
        let shown = "store.operations: ok: 5 accepted writes wait, the oldest for";
        ready.contains(shown).then_some(())
    })
    .await;
    cluster.simulator.clear_faults();
    for (number, answer) in accepted.iter().enumerate() {
        let operation = ended(&replicas[2], answer).await;
        let state = if number == 1 { "cancelled" } else { "done" };
        assert_eq!(operation["state"], state, "{operation:#}");
    }
    let ledger = cluster.simulator.ledger();
    let written = ledger.iter().filter_map(|entry| entry.changes.get("tier")?.clone());
    assert_eq!(written.collect::<Vec<_>>(), ["0", "2", "3", "4", "5"]);
    ask(&replicas[0], "DELETE", accepted[0].header("location")).await.assert_problem(
        409,
        "operation-in-progress",
        "notApplied",
    );
}

#[tokio::test]
async fn the_writes_of_a_replica_that_dies_are_carried_out_by_another() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let lives = cluster.replica("lives").await;
    let dies = cluster.replica("dies").await;
    join_all([lives.started(), dies.started()]).await;
    cluster.simulator.inject(busy());
    let accepted = write(&dies, "", &[ASYNC], json!({"tier": "gold"})).await;
    until("it is being carried out", async || {
        cluster.simulator.calls().iter().any(|call| call.was_answered(503)).then_some(())
    })
    .await;
    drop(dies);
    cluster.simulator.clear_faults();
    assert_eq!(ended(&lives, &accepted).await["state"], "done");
    assert_eq!(cluster.truth("tier"), "gold");
}

#[tokio::test]
async fn the_number_of_accepted_writes_is_bounded_over_all_replicas() {
    let cluster =
        Cluster::new(platform(), &[PLENTY, ("GATEWAY__STORE__MAX_OPERATIONS", "2")]).await;
    let replicas = cluster.three().await;
    cluster.simulator.inject(busy());
    for (number, status) in [202, 202, 503].into_iter().enumerate() {
        let answer = write(&replicas[number], "", &[ASYNC], json!({"tier": "gold"})).await;
        answer.assert_status(status);
    }
    cluster.simulator.clear_faults();
}

#[tokio::test]
async fn a_store_that_is_not_durable_or_away_makes_the_write_synchronous() {
    let mut cluster = Cluster::new(platform(), &[PLENTY]).await;
    cluster.redis = RedisServer::start(&["--appendfsync", "no"]).await;
    let replica = cluster.replica("one").await;
    replica.started().await;
    let plain = write(&replica, "", &[ASYNC], json!({"tier": "gold"})).await;
    plain.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!((plain.header("preference-applied"), plain.header("location")), ("", ""));
    let ready = readiness(&replica).await;
    ready.assert_status(200);
    for part in
        ["store: ok", "store.operations: failed: no write is accepted for later", "everysec"]
    {
        assert!(ready.text.contains(part), "{}", ready.text);
    }
    let mut set = redis::cmd("CONFIG");
    cluster.redis.command::<()>(set.arg("SET").arg("appendfsync").arg("always")).await;
    until("it is offered", async || {
        let answer = write(&replica, "", &[ASYNC], json!({"tier": "silver"})).await;
        (answer.status == 202).then_some(())
    })
    .await;
    cluster.redis.kill();
    until("the outage is noticed", async || {
        let answer = write(&replica, "", &[ASYNC], json!({"tier": "bronze"})).await;
        if answer.status != 200 {
            // Whether it was stored cannot be known.
            answer.assert_problem(503, "store-unavailable", "unknown");
        }
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn writes_that_wait_together_leave_in_one_patch() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    cluster.simulator.inject(busy());
    let mut accepted = vec![write(&replicas[0], "", &[ASYNC], json!({"tier": "gold"})).await];
    until("it is being carried out", async || {
        cluster.simulator.calls().iter().any(|call| call.was_answered(503)).then_some(())
    })
    .await;
    for number in 0..6 {
        let map = json!({ format!("key{number}"): "new" });
        accepted.push(write(&replicas[number % 3], "", &[ASYNC], map).await);
    }
    cluster.simulator.clear_faults();
    for answer in &accepted {
        assert_eq!(ended(&replicas[1], answer).await["state"], "done");
    }
    let ledger = cluster.simulator.ledger();
    let sizes: Vec<_> = ledger.iter().map(|entry| entry.changes.len()).collect();
    assert_eq!(sizes, [1, 6], "{ledger:#?}");
}
