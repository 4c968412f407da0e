//! What replicas do while Redis is away, and after one of them was killed.

use super::*;

#[tokio::test]
async fn an_outage_of_redis_stops_no_reads_and_ends_without_a_restart() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let local = cluster.replica("one").await;
    let refusing = [("GATEWAY__STORE__REDIS__ON_OUTAGE", "refuse")];
    let refusing = cluster.replica_with("two", &refusing).await.expect("it starts");
    join_all([local.started(), refusing.started()]).await;
    write(&local, "", &[], json!({"tier": "gold"})).await.assert_status(200);
    write(&refusing, "", &[], json!({"tier": "bronze"})).await.assert_status(200);

    cluster.redis.kill();
    let outage = Instant::now();
    while outage.elapsed() < Duration::from_secs(20) {
        for replica in [&local, &refusing] {
            read(replica, CALL).await.assert_status(200);
        }
        let value = outage.elapsed().as_millis().to_string();
        let written = write(&local, "", &[], json!({ "tier": value })).await;
        written.assert_status(200).assert_outcomes(&[("tier", "verified")]);
        let refused = write(&refusing, "", &[], json!({"tier": "refused"})).await;
        refused.assert_problem(503, "store-unavailable", "notApplied");
        assert_eq!(refused.header("retry-after"), "1");
        sleep(ms(500)).await;
    }
    // The lease has ended: a share of 90 % of the budget.
    let ready = readiness(&local).await;
    ready.assert_status(200);
    assert!(ready.text.contains("store: failed: "), "{}", ready.text);
    assert!(ready.text.contains("a safe share of 45000 calls"), "{}", ready.text);

    cluster.redis.start_again().await;
    until("writes go on", async || {
        (write(&refusing, "", &[], json!({"tier": "back"})).await.status == 200).then_some(())
    })
    .await;
    until("the store is used again", async || {
        readiness(&local).await.text.contains("store.budget: ok").then_some(())
    })
    .await;
    assert_eq!(cluster.truth("tier"), "back");
}

#[tokio::test]
async fn a_replica_can_start_while_redis_is_away() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    cluster.redis.kill();
    let replica = cluster.replica("one").await;
    replica.started().await;
    let written = write(&replica, "", &[], json!({"tier": "silver"})).await;
    // Nobody knows what other replicas have sent, so the value is sent although it is there.
    written.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    cluster.redis.start_again().await;
    until("the store is used", async || {
        readiness(&replica).await.text.contains("store: ok").then_some(())
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scenario, step by step")]
async fn a_replica_that_is_killed_leaves_no_false_answer_behind() {
    let redis = RedisServer::start(&[]).await;
    let simulator = Process::start(&["simulate"], &[("GATEWAY__SIMULATOR__LAG", "1500ms")]);
    let url = url_in(&simulator.wrote("http://").await);
    let sim = |path: &str| format!("{url}/__sim/{path}");
    let conversations = fetch("GET", &sim("conversations"), "").await;
    let conversations: Value = serde_json::from_slice(conversations.body()).expect("JSON");
    let id = first_id(&conversations);
    let gateway = |name: &str| {
        Process::start(
            &["serve"],
            &[
                ("GENESYS_CLIENT_ID", "demo"),
                ("GENESYS_CLIENT_SECRET", "demo-secret"),
                ("GATEWAY__GENESYS__API_URL", &url),
                ("GATEWAY__GENESYS__LOGIN_URL", &url),
                ("GATEWAY__VERIFY__SETTLE", "2s"),
                SOON_PROVED,
                ("GATEWAY__STORE__BACKEND", "redis"),
                ("GATEWAY__STORE__REDIS__URL", &redis.url()),
                ("GATEWAY__STORE__REDIS__REPLICA", name),
            ],
        )
    };
    let (killed, lives) = (gateway("killed"), gateway("lives"));
    let address = |text: String| {
        format!(
            "http://{}",
            text.split("\"server.address\":\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap_or_else(|| panic!("{text}"))
        )
    };
    let first = address(killed.wrote("\"serving\"").await);
    let second = address(lives.wrote("\"serving\"").await);
    let put = |base: &str, value: &str| {
        let url = format!("{base}{}?participant=customer", attributes_of(&id));
        let body = json!({"attributes": {"probe": value}}).to_string();
        async move { fetch("PUT", &url, body).await }
    };
    assert_eq!(put(&first, "old").await.status(), 200);
    until("replicas know of each other's writes", async || {
        let same = put(&second, "old").await;
        String::from_utf8_lossy(same.body()).contains("unchanged").then_some(())
    })
    .await;
    // The next value is accepted, and no read shows it when the replica is killed.
    let writing = tokio::spawn({
        let url = format!("{first}{}?participant=customer", attributes_of(&id));
        async move {
            let body = json!({"attributes": {"probe": "new"}}).to_string();
            let _ = tokio::time::timeout(Duration::from_secs(1), fetch("PUT", &url, body)).await;
        }
    });
    until("the PATCH arrives", async || {
        let ledger = fetch("GET", &sim("ledger"), "").await;
        String::from_utf8_lossy(ledger.body()).contains("\"new\"").then_some(())
    })
    .await;
    killed.signal("KILL");
    let _ = writing.await;
    // Reads show `old` for more than a second: to call it unchanged would be false.
    let answer = put(&second, "old").await;
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert!(answer.to_string().contains("verified"), "{answer}");
    sleep(ms(1600)).await;
    let shown =
        fetch("GET", &format!("{second}{}?participant=customer", attributes_of(&id)), "").await;
    let shown: Value = serde_json::from_slice(shown.body()).expect("JSON");
    assert_eq!(shown["attributes"]["probe"], "old", "{shown}");
}
