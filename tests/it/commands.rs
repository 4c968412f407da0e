//! The commands, as the program itself.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Process, TestApp, attributes_of, fetch, ms, once};

const CREDENTIALS: [(&str, &str); 2] =
    [("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", "demo-secret")];

#[tokio::test]
async fn a_start_without_credentials_fails_and_names_them() {
    for args in [&["serve"] as &[&str], &[]] {
        let ended = once(args, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        for named in ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "attribute-gateway demo"] {
            assert!(ended.err.contains(named), "{}", ended.err);
        }
    }
    let ended = once(&[], &[("GENESYS_CLIENT_ID", "x")]).await;
    assert!(ended.err.contains("missing GENESYS_CLIENT_SECRET"), "{}", ended.err);
    assert!(!ended.err.contains("missing GENESYS_CLIENT_ID"), "{}", ended.err);
}

#[tokio::test]
async fn help_tells_every_command_and_the_version_is_the_crates() {
    let help = once(&["--help"], &[]).await;
    let commands =
        ["serve", "demo", "simulate", "check-config", "print-config", "new-key", "healthcheck"];
    for word in commands.iter().chain(&["GENESYS_CLIENT_ID", "--config"]) {
        assert!(help.out.contains(word), "no {word} in {}", help.out);
    }
    for command in commands {
        let help = once(&[command, "--help"], &[]).await;
        assert!(help.code == 0 && help.out.lines().count() > 5, "{}", help.out);
    }
    let version = once(&["--version"], &[]).await;
    assert_eq!(version.out.trim(), concat!("attribute-gateway ", env!("CARGO_PKG_VERSION")));
    assert_eq!(once(&["serv"], &[]).await.code, 2);
}

#[tokio::test]
async fn check_config_tells_all_that_is_wrong_with_its_key_and_origin() {
    let good = once(&["check-config"], &CREDENTIALS).await;
    let expected = "settings: valid\nhosts: https://api.mypurecloud.com (API), \
                https://login.mypurecloud.com (login)\n";
    assert_eq!((good.code, good.out.as_str(), good.err.as_str()), (0, expected, ""));
    let bad = [
        CREDENTIALS[0],
        CREDENTIALS[1],
        ("GATEWAY__SERVER__DEADLINE", "soon"),
        ("GATEWAY__SERVER__BNID", "127.0.0.1:1"),
        ("GENESYS_ENVIRONMENT", "mars-north-1"),
    ];
    let ended = once(&["check-config"], &bad).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    for named in
        ["server.deadline", "GATEWAY__SERVER__DEADLINE", "server.bnid", "GENESYS_ENVIRONMENT"]
    {
        assert!(ended.err.contains(named), "no `{named}` in {}", ended.err);
    }
    let ended =
        once(&["check-config"], &[CREDENTIALS[0], CREDENTIALS[1], ("RUST_LOG", "a=b=c")]).await;
    assert_eq!(ended.code, 1, "{}", ended.out);
    assert_eq!(once(&["check-config"], &[]).await.code, 1, "no credentials");
}

#[tokio::test]
async fn a_level_that_does_not_exist_is_an_error_with_the_likely_one() {
    for (name, value, expected) in [
        ("RUST_LOG", "warning", "log.level: `warning` is not a log level; did you mean `warn`?"),
        ("GATEWAY__LOG__LEVEL", "inof", "`inof` is not a log level; did you mean `info`?"),
        (
            "RUST_LOG",
            "attribute_gateway=inof",
            "did you mean `info`? (in `attribute_gateway=inof`)",
        ),
    ] {
        let any_port = ("GATEWAY__SERVER__BIND", "127.0.0.1:0");
        for command in ["check-config", "serve"] {
            let env = [CREDENTIALS[0], CREDENTIALS[1], any_port, (name, value)];
            let ended = once(&[command], &env).await;
            assert!(ended.code == 1 && ended.err.contains(expected), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn check_config_names_misspelt_variables() {
    let near_misses = [
        ("GATEWAY_SERVER_BIND", "canary", "GATEWAY__SERVER__BIND"),
        ("GENESYS_REGION", "canary", "GENESYS_ENVIRONMENT"),
        ("GENESYS_ENVIROMENT", "canary", "GENESYS_ENVIRONMENT"),
        ("genesys_client_secret", "canary", "GENESYS_CLIENT_SECRET"),
    ];
    let mut env = CREDENTIALS.to_vec();
    env.extend(near_misses.map(|(name, value, _)| (name, value)));
    env.push(("GATEWAY__GENESYS__LOGIN_URL", "http://127.0.0.1:1"));
    let checked = once(&["check-config"], &env).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let serve = Process::start(&["serve"], &env);
    let log = serve.wrote("\"serving\"").await;
    for (name, _, likely) in near_misses {
        let expected = format!(
            "the variable `{name}` is set, but this program does not read it; did you mean `{likely}`?"
        );
        assert!(checked.err.contains(&format!("warning: {expected}\n")), "{}", checked.err);
        let line = log.lines().find(|line| line.contains(&expected)).expect(name);
        assert!(line.contains(r#""level":"WARN""#), "{line}");
    }
    assert!(!checked.err.contains("canary") && !log.contains("canary"), "{log}");
    let log = serve.wrote("\"no token\"").await;
    let failed = log.lines().find(|line| line.contains("\"no token\"")).expect("a line");
    assert!(failed.contains(r#""genesys.login":"127.0.0.1:1""#), "{failed}");
    let serving = log.lines().find(|line| line.contains("\"serving\"")).expect("a line");
    let serving: Value = serde_json::from_str(serving).expect("JSON");
    assert_eq!(serving["genesys.api"], "https://api.mypurecloud.com");
    assert_eq!(serving["genesys.login"], "http://127.0.0.1:1");
    // Without credentials the start fails; the reason may be such a variable.
    let missing = once(&["serve"], &[("GENESYS_CLIENTID", "x")]).await;
    assert!(missing.err.contains("did you mean `GENESYS_CLIENT_ID`?"), "{}", missing.err);
}

#[tokio::test]
async fn a_config_file_works_on_both_sides_and_typos_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    let path = file.to_str().expect("text");
    std::fs::write(&file, "[server]\ndeadline = \"7s\"\n").expect("written");
    for args in [["--config", path, "print-config"], ["print-config", "--config", path]] {
        let ended = once(&args, &[]).await;
        assert_eq!(ended.code, 0, "{}", ended.err);
        let line = ended.out.lines().find(|line| line.starts_with("deadline")).expect("the key");
        assert!(line.contains("\"7s\"") && line.contains(path), "{line}");
    }
    std::fs::write(&file, "[server]\ndeadlin = \"7s\"\n").expect("written");
    let ended = once(&["--config", path, "check-config"], &CREDENTIALS).await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("server.deadlin:") && ended.err.contains(path), "{}", ended.err);
    let ended = once(&["--config", "/no/such/file", "print-config"], &[]).await;
    assert!(ended.code == 1 && ended.err.contains("/no/such/file"), "{}", ended.err);
}

#[tokio::test]
async fn print_config_masks_secrets_and_tells_where_values_come_from() {
    let env = [
        ("GENESYS_CLIENT_ID", "an-id"),
        ("GENESYS_CLIENT_SECRET", "canary"),
        ("GATEWAY__SIMULATOR__CLIENT_SECRET", "canary"),
    ];
    let ended = once(&["print-config"], &env).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.out.contains("canary") && !ended.err.contains("canary"), "{}", ended.out);
    let line = |name: &str| ended.out.lines().find(|line| line.starts_with(name)).expect(name);
    assert!(line("client_id").contains("an-id") && line("client_id").contains("GENESYS_CLIENT_ID"));
    assert!(line("client_secret").contains("GENESYS_CLIENT_SECRET"));
    assert!(line("bind").contains("127.0.0.1:8080") && line("bind").contains("default"));
}

/// A simulator, and its URL.
async fn simulator(args: &[&str], env: &[(&str, &str)]) -> (Process, String) {
    let process = Process::start(&[&["simulate"], args].concat(), env);
    let text = process.wrote("/__sim/faults").await;
    let url = text.split_whitespace().find(|word| word.starts_with("http://")).expect("its URL");
    let url = url.to_owned();
    (process, url)
}

/// The address that a gateway logs as its own.
/// The address that a process serves.
pub async fn address(serve: &Process) -> String {
    let log = serve.wrote("\"serving\"").await;
    let line = log.lines().find(|line| line.contains("\"serving\"")).expect("the line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["server.address"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn check_config_online_tries_the_credentials() {
    let (_process, url) = simulator(&[], &[]).await;
    let hosts = [
        ("GATEWAY__GENESYS__API_URL", url.as_str()),
        ("GATEWAY__GENESYS__LOGIN_URL", url.as_str()),
    ];
    let good = once(&["check-config", "--online"], &[&CREDENTIALS[..], &hosts].concat()).await;
    assert_eq!(good.code, 0, "{}", good.err);
    let list = "analytics: live conversations can be listed";
    let token = format!("token: fetched from {url}");
    for line in ["settings: valid", token.as_str(), "conversations: can be read", list] {
        assert!(good.out.contains(line), "{}", good.out);
    }
    // Clients' hints are of no use to an operator.
    let fault = json!({"on": {"kind": "analytics"}, "action": "status", "code": 403});
    let sent = fetch("POST", &format!("{url}/__sim/faults"), fault.to_string()).await;
    assert_eq!(sent.status(), 201);
    let bad = once(&["check-config", "--online"], &[&CREDENTIALS[..], &hosts].concat()).await;
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.contains("conversations: can be read"), "{}", bad.out);
    let expected = "analytics: live conversations cannot be listed or searched: ";
    assert!(
        bad.err.contains(expected) && bad.err.contains("Admin > Integrations > OAuth"),
        "{bad:?}"
    );
    let wrong = [CREDENTIALS[0], ("GENESYS_CLIENT_SECRET", "canary")];
    let bad = once(&["check-config", "--online"], &[&wrong[..], &hosts].concat()).await;
    assert_eq!(bad.code, 1);
    assert!(bad.err.contains(&format!("no token could be fetched from {url}: ")), "{}", bad.err);
    assert!(bad.err.contains("Check the client id and the client secret"), "{}", bad.err);
    assert!(bad.err.contains("invalid_client") && !bad.err.contains("canary"), "{}", bad.err);
    let nobody = [
        ("GATEWAY__GENESYS__API_URL", "http://127.0.0.1:1"),
        ("GATEWAY__GENESYS__LOGIN_URL", "http://127.0.0.1:1"),
    ];
    let ended = once(&["check-config", "--online"], &[&CREDENTIALS[..], &nobody].concat()).await;
    assert_eq!(ended.code, 1, "{}", ended.out);
    let hint = "Check that this machine reaches http://127.0.0.1:1: name resolution, firewall";
    assert!(ended.err.contains(hint), "{}", ended.err);
}

#[tokio::test]
async fn serve_works_with_the_simulator_and_the_healthcheck() {
    let (_simulator, url) = simulator(&[], &[]).await;
    let hosts = [
        ("GATEWAY__GENESYS__API_URL", url.as_str()),
        ("GATEWAY__GENESYS__LOGIN_URL", url.as_str()),
    ];
    let serve = Process::start(&["serve"], &[&CREDENTIALS[..], &hosts].concat());
    let bind = &address(&serve).await;
    let call = "11111111-1111-4111-8111-111111111111";
    let read = fetch("GET", &format!("http://{bind}{}", attributes_of(call)), "").await;
    assert_eq!(read.status(), 200);
    let well = once(&["healthcheck"], &[("GATEWAY__SERVER__BIND", bind)]).await;
    assert_eq!(well.code, 0, "{}", well.err);
    let wrong = Process::start(
        &[],
        &[&[CREDENTIALS[0], ("GENESYS_CLIENT_SECRET", "wrong")][..], &hosts].concat(),
    );
    let ready = format!("http://{}/readyz", address(&wrong).await);
    let ill = once(&["healthcheck", "--url", &ready], &[]).await;
    assert!(ill.code == 1 && ill.err.contains("503: not ready: token"), "{}", ill.err);
    let nobody = once(&["healthcheck"], &[("GATEWAY__SERVER__BIND", "127.0.0.1:1")]).await;
    assert_eq!(nobody.code, 1);
}

/// The commands in the banner, each on one line.
pub fn banner_commands(banner: &str) -> Vec<String> {
    let whole = banner.replace("\\\n", "");
    whole
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "))
        .map(str::to_owned)
        .collect()
}

/// Status and text of the answer to such a line, by curl itself where it is installed.
pub async fn pasted(line: &str) -> (String, String) {
    let shell = Command::new("sh").args(["-c", &format!("{line} -s")]).output().await;
    let output = shell.expect("a shell");
    if output.status.code() == Some(127) {
        let url = line.split(' ').next_back().expect("the URL stands last");
        let body = line.split_once("-d '").map(|(_, rest)| rest.split('\'').next().expect("one"));
        let method = if line.contains(" -X PUT ") { "PUT" } else { "GET" };
        let answer = fetch(method, url, body.unwrap_or_default().to_owned()).await;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        return (answer.status().as_str().to_owned(), text);
    }
    let text = String::from_utf8(output.stdout).expect("text");
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer to {line}"));
    (status.to_owned(), text)
}

#[tokio::test]
async fn the_lines_that_demo_prints_work_as_they_stand() {
    let demo =
        Process::demo(&[], &[("GENESYS_CLIENT_ID", "x"), ("GENESYS_CLIENT_SECRET", "canary")])
            .await;
    assert!(!demo.process.written().contains("canary"));
    let lines = banner_commands(&demo.banner);
    let mut statuses = Vec::new();
    for line in &lines {
        statuses.push(pasted(line).await);
    }
    let codes: Vec<_> = statuses.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(codes, ["200", "200", "409"], "{lines:?}");
    let written = r#""outcomes":{"crm_customer_id":"verified","loyalty_tier":"verified"}"#;
    assert!(statuses[0].1.contains(written), "{}", statuses[0].1);
    assert!(statuses[1].1.contains(r#""crm_customer_id":"CRM-998877""#), "{}", statuses[1].1);
    assert!(statuses[2].1.contains(r#""code":"conversation-ended""#), "{}", statuses[2].1);
    let calls = demo.sim("conversations").await;
    for call in calls.as_array().expect("calls") {
        assert!(demo.banner.contains(call["id"].as_str().expect("an id")), "{}", demo.banner);
    }
}

const FIXTURES: [&str; 3] = ["calls-live.json", "calls-ended.json", "callback-live.json"];
const LIVE: (&str, &str) =
    ("7e57c0de-0000-4000-8000-000000000001", "7e57bbbb-0000-4000-8000-000000000101");
const ENDED: &str = "7e57c0de-0000-4000-8000-000000000002";
const CALLBACK: (&str, &str) =
    ("7e57c0de-0000-4000-8000-000000000003", "7e57bbbb-0000-4000-8000-000000000301");
const LIVE_AGENT: &str = "7e57bbbb-0000-4000-8000-000000000105";

fn fixture(name: &str) -> String {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/crates/genesys-simulator/fixtures"))
        .join(name)
        .display()
        .to_string()
}

/// Reads, writes and verifies on each loaded call at this gateway.
async fn assert_served(gateway: &str) {
    let body = r#"{"attributes":{"crm_customer_id":"CRM-5"}}"#;
    for ((conversation, customer), language) in
        [(LIVE, "language"), (CALLBACK, "preferred_language")]
    {
        let url = format!("{gateway}{}", attributes_of(conversation));
        let read: Value =
            serde_json::from_slice(fetch("GET", &url, "").await.body()).expect("JSON");
        assert_eq!(read["participant"]["id"], customer, "{read:#}");
        assert_eq!(read["attributes"][language], "nl");
        let answer = fetch("PUT", &url, body).await;
        let written: Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(answer.status(), 200, "{written:#}");
        assert_eq!(written["participant"]["id"], customer);
        assert_eq!(written["outcomes"], json!({"crm_customer_id": "verified"}));
        assert_eq!(written["attributes"][language], "nl", "what was there stays");
    }
    let url = format!("{gateway}{}", attributes_of(ENDED));
    assert_eq!(fetch("GET", &url, "").await.status(), 200);
    let refused = fetch("PUT", &url, body).await;
    let problem: Value = serde_json::from_slice(refused.body()).expect("JSON");
    assert_eq!((refused.status().as_u16(), &problem["code"]), (409, &json!("conversation-ended")));
}

#[tokio::test]
async fn demo_serves_conversations_captured_from_a_real_organisation() {
    let files = FIXTURES.map(fixture);
    let args = ["--load", files[0].as_str(), files[1].as_str(), files[2].as_str()];
    let demo = Process::demo(&args, &[]).await;
    for id in [LIVE.0, ENDED, CALLBACK.0] {
        assert!(demo.banner.contains(&format!("{id}  loaded from a file")), "{}", demo.banner);
    }
    assert_served(&demo.gateway).await;
    assert_eq!(demo.sim("ledger").await.as_array().map(Vec::len), Some(2), "one write each");
}

#[tokio::test]
async fn simulate_serves_captured_calls_and_refuses_bad_ones() {
    let files = FIXTURES.map(fixture);
    let args = ["--load", files[0].as_str(), files[1].as_str(), files[2].as_str()];
    let (_simulator, url) = simulator(&args, &[]).await;
    let hosts = [
        ("GATEWAY__GENESYS__API_URL", url.as_str()),
        ("GATEWAY__GENESYS__LOGIN_URL", url.as_str()),
    ];
    let serve = Process::start(&[], &[&CREDENTIALS[..], &hosts].concat());
    assert_served(&format!("http://{}", address(&serve).await)).await;
    let no_conversation = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let ended = once(
        &["simulate", "--load", no_conversation],
        &[("GATEWAY__SIMULATOR__BIND", "127.0.0.1:0")],
    )
    .await;
    assert!(ended.code == 1 && ended.err.contains("Cargo.toml is not JSON"), "{}", ended.err);
}

#[tokio::test(start_paused = true)]
async fn captured_calls_are_written_and_verified_under_lag() {
    let app = TestApp::new().with_lag(ms(300)).start().await;
    for name in FIXTURES {
        let text = std::fs::read_to_string(fixture(name)).expect("a fixture");
        app.simulator.add_conversation(&serde_json::from_str(&text).expect("JSON")).expect(name);
    }
    for (conversation, query, participant) in [
        (LIVE.0, "", LIVE.1),
        (LIVE.0, "?participant=agent", LIVE_AGENT),
        (CALLBACK.0, "", CALLBACK.1),
        (CALLBACK.0, "?participant=agent:last", "7e57bbbb-0000-4000-8000-000000000303"),
    ] {
        let answer = app.write(conversation, query, json!({"crm_customer_id": "CRM-6"})).await;
        answer.assert_status(200).assert_outcomes(&[("crm_customer_id", "verified")]);
        assert_eq!(answer.at("/participant/id"), participant, "{conversation}{query}");
        assert!(answer.took >= ms(300), "proved only after the lag: {:?}", answer.took);
        let truth = app.simulator.attributes(conversation, participant).expect("it is there");
        assert_eq!(truth["crm_customer_id"], "CRM-6");
        let shown = app.read(conversation, query).await;
        assert_eq!(shown.at("/attributes/crm_customer_id"), "CRM-6");
    }
    let refused = app.write(ENDED, "", json!({"crm_customer_id": "CRM-6"})).await;
    refused.assert_problem(409, "conversation-ended", "notApplied");
}

#[tokio::test]
async fn the_key_of_the_examples_is_refused_in_front_of_the_platform() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose/clients.toml");
    let known = ("GATEWAY__AUTH__CLIENTS_FILE", file);
    let any_port = ("GATEWAY__SERVER__BIND", "127.0.0.1:0");
    let of = |api: &'static str| [("GATEWAY__GENESYS__API_URL", api)];
    let env = |more: &[(&'static str, &'static str)]| {
        [CREDENTIALS.as_slice(), &[known, any_port], more].concat()
    };
    for platform in [&[] as &[_], &of("https://api.example.com")] {
        for command in ["check-config", "serve"] {
            let ended = once(&[command], &env(platform)).await;
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(
                ended.err.contains("client `demo` has the public key `demo-key`"),
                "{}",
                ended.err
            );
            assert!(ended.err.contains("new-key demo"), "{}", ended.err);
        }
    }
    // The settings of docker-compose.yml.
    let [api] = of("http://simulator:8090");
    let login = ("GATEWAY__GENESYS__LOGIN_URL", "http://simulator:8090");
    let insecure = ("GATEWAY__GENESYS__ALLOW_INSECURE", "true");
    for simulator in [&[api, login, insecure] as &[_], &of("http://127.0.0.1:8090")] {
        let ended = once(&["check-config"], &env(simulator)).await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

#[tokio::test]
async fn a_key_that_could_not_be_printed_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    for (output, expected) in [(Stdio::from(full), "No space left"), (Stdio::from(writer), "pipe")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attribute-gateway"));
        command.args(["new-key", "crm"]).stdout(output).stderr(Stdio::piped());
        let ended = command.spawn().expect("it starts").wait_with_output().await.expect("it ends");
        let complaint = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("make another") && complaint.contains(expected), "{complaint}");
    }
}

#[tokio::test]
async fn an_open_service_on_a_reachable_address_is_warned_of() {
    for (name, value) in [
        ("GATEWAY__SERVER__PUBLIC_URL", "https://gateway.example.com"),
        ("GATEWAY__SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ] {
        let process =
            Process::start(&["serve"], &[CREDENTIALS.as_slice(), &[(name, value)]].concat());
        process.wrote("no client is configured: any program that reaches").await;
    }
}
