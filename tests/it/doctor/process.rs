//! The command as a process: exit codes, and what it restores when it is interrupted.

use super::*;

/// The simulator behind a socket.
async fn served(simulator: &Simulator) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = simulator.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn env(url: &str) -> [(&str, &str); 4] {
    [
        ("GENESYS_CLIENT_ID", "demo"),
        ("GENESYS_CLIENT_SECRET", "demo-secret"),
        ("GATEWAY__GENESYS__API_URL", url),
        ("GATEWAY__GENESYS__LOGIN_URL", url),
    ]
}

#[tokio::test]
async fn the_command_exits_with_0_1_or_2() {
    let simulator = platform(|settings| settings.null = NullHandling::Delete);
    let url = served(&simulator).await;
    let call = ["doctor", "--json", "--conversation", CALL, "--write-test"];
    let ended = once(&call, &env(&url)).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    let report = Report(serde_json::from_str(&ended.out).expect("JSON"));
    assert_eq!(report.status("clock"), "ok", "{}", ended.out);
    assert_eq!(report.status("restore"), "ok", "{}", ended.out);
    let shown = once(&["doctor"], &env(&url)).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in ["ok       token: fetched from ", "Settings to use:", "[genesys]\n"] {
        assert!(shown.out.contains(line), "{}", shown.out);
    }
    let dead = once(&["doctor", "--json"], &env("http://127.0.0.1:1")).await;
    assert_eq!(dead.code, 1, "{dead:?}");
    let report = Report(serde_json::from_str(&dead.out).expect("JSON"));
    assert_eq!((report.status("region"), report.status("token")), ("failed", "failed"));
    assert!(report.hint("region").contains("name resolution"), "{}", dead.out);
    let wrong = ["doctor", "--conversation", CALL, "--participant", "no one"];
    for args in [&["doctor", "--conversation", "x"] as &[&str], &["doctor", "--write-test"], &wrong]
    {
        assert_eq!(once(args, &env(&url)).await.code, 2, "{args:?}");
    }
    let unset = once(&["doctor"], &[]).await;
    assert!(unset.code == 2 && unset.err.contains("GENESYS_CLIENT_ID"), "{unset:?}");
}

#[tokio::test]
async fn an_interrupt_restores_the_call() {
    let simulator = platform(|settings| {
        (settings.null, settings.lag) = (NullHandling::Delete, Duration::from_secs(2));
    });
    let (before, url) = (truth(&simulator), served(&simulator).await);
    let args = ["doctor", "--conversation", CALL, "--write-test"];
    let mut process = Process::start(&args, &env(&url));
    until("it writes", async || truth(&simulator).contains_key(KEY).then_some(())).await;
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(1), "{}", process.written());
    assert!(process.written().contains("write: interrupted"), "{}", process.written());
    assert_eq!(truth(&simulator), before);
}
