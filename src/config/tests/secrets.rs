//! Credentials: their sources, and the places that must never show them.

use super::*;

#[test]
fn credentials_come_from_files() {
    let directory = TempDir::new().expect("a directory");
    let secret = write(&directory, "secret", format!("{SECRET}\r\n"));
    let id = write(&directory, "id", "an-id");
    let (id, secret) = (id.to_str().expect("plain"), secret.to_str().expect("plain"));
    for prefix in ["GENESYS_", "GATEWAY__GENESYS__"] {
        let id_file = format!("{prefix}CLIENT_ID_FILE");
        let secret_file = format!("{prefix}CLIENT_SECRET_FILE");
        let loaded = load(&env(&[(&id_file, id), (&secret_file, secret)])).expect("valid");
        let credentials = loaded.config.credentials().expect("set");
        assert_eq!(credentials.client_id, "an-id");
        assert_eq!(credentials.client_secret.expose_secret(), SECRET);
        let line = format!("client_secret = \"********\"  # from file named by {secret_file}\n");
        assert!(loaded.render().contains(&line), "{}", loaded.render());

        let variable = secret_file.trim_end_matches("_FILE");
        let problem = only_problem(&env(&[(variable, "hunter2"), (&secret_file, secret)]));
        let both = format!("genesys.client_secret: {variable} and {secret_file} are both set");
        assert!(problem.starts_with(&both), "{problem}");
    }
    // A later layer still wins.
    let config =
        config(&[("GENESYS_CLIENT_SECRET", "x"), ("GATEWAY__GENESYS__CLIENT_SECRET_FILE", secret)]);
    assert_eq!(config.genesys.client_secret.expect("set").expose_secret(), SECRET);
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() {
    let directory = TempDir::new().expect("a directory");
    let long = "x".repeat(70_000);
    for (name, content) in [
        ("empty", &b"\n"[..]),
        ("binary", b"hunter2\xff"),
        ("long", long.as_bytes()),
        ("two", b"hunter2\nhunter2\n"),
    ] {
        let path = write(&directory, name, content);
        let problem =
            only_problem(&env(&[("GENESYS_CLIENT_SECRET_FILE", path.to_str().expect("plain"))]));
        assert!(problem.starts_with("genesys.client_secret: "), "{problem}");
        assert!(problem.ends_with("(from file named by GENESYS_CLIENT_SECRET_FILE)"), "{problem}");
    }
    // The variable holds the secret itself instead of a path.
    let problem = only_problem(&env(&[("GENESYS_CLIENT_SECRET_FILE", "hunter2")]));
    assert!(problem.contains("the file cannot be read: "), "{problem}");
}

#[test]
fn missing_credentials_are_named_together() {
    let missing = |pairs: &[_]| config(pairs).credentials().expect_err("refused").to_string();
    assert_eq!(missing(&[]), "missing GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET");
    assert_eq!(missing(&[("GENESYS_CLIENT_ID", "x")]), "missing GENESYS_CLIENT_SECRET");
    assert_eq!(missing(&[("GENESYS_CLIENT_SECRET", "x")]), "missing GENESYS_CLIENT_ID");
}

#[test]
fn no_debug_output_holds_a_secret() {
    let pairs = [
        ("GENESYS_CLIENT_SECRET", SECRET),
        ("GATEWAY__AUDIT__KEY", SECRET),
        ("GATEWAY__TRACING__ENDPOINT", "https://collector.example"),
        ("GATEWAY__TRACING__HEADERS", &format!("x-key={SECRET}")),
        ("GATEWAY__SIMULATOR__CLIENT_SECRET", SECRET),
    ];
    let source = env(&pairs);
    let loaded = load(&source).expect("valid");
    let credentials = OauthCredentials {
        client_id: "x".to_owned(),
        client_secret: SECRET.into(),
        client_secret_file: None,
    };
    let shown = format!("{:?} {loaded:?} {credentials:?} {}", loaded.config, loaded.render());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(loaded.render().matches("\"********\"").count(), 4);
}

#[test]
fn a_demonstration_sees_no_real_account() {
    let (mut source, _directory) = file(
        "[genesys]\nclient_id = \"real\"\nclient_secret = \"hunter2\"\nenvironment = \"nowhere\"\n\
         api_url = \"https://real.example.com\"\n[server]\nbind = \"127.0.0.1:9\"",
    );
    source.env = env(&[
        ("GENESYS_CLIENT_SECRET", "hunter2"),
        ("GENESYS_CLIENT_ID_FILE", "/no/such/file"),
        ("GENESYS_ENVIRONMENT", "eu-west-1"),
        ("GATEWAY__GENESYS__CLIENT_ID", "real"),
        ("GATEWAY__GENESYS__CLIENT_SECRET_FILE", "/no/such/file"),
        ("GATEWAY__GENESYS__LOGIN_URL", "https://real.example.com"),
        ("GATEWAY__GENESYS__ROUTE", "calls"),
    ])
    .env;
    let loaded = demo(&source).expect("valid");
    assert!(loaded.config.credentials().is_err());
    assert_eq!(loaded.config.genesys.api_base().as_str(), "https://api.mypurecloud.com");
    assert_eq!(loaded.config.genesys.login_base().as_str(), "https://login.mypurecloud.com");
    assert_eq!(loaded.config.genesys.route, UpstreamRoute::Calls);
    assert_eq!(loaded.config.server.bind.port(), 9);
    assert!(!loaded.render().contains("real"));
}

#[test]
fn the_audit_is_off_by_default_and_its_key_may_be_in_a_file() {
    use crate::config::{AuditDestination, AuditFailureMode};
    assert_eq!(config(&[]).audit.to, AuditDestination::Off);
    assert_eq!(config(&[]).audit.on_failure, AuditFailureMode::Block);
    assert_eq!(config(&[("GATEWAY__AUDIT__TO", "stdout")]).audit.to, AuditDestination::Stdout);
    let directory = TempDir::new().expect("a directory");
    let key = write(&directory, "key", format!("{SECRET}\n"));
    let audit = config(&[
        ("GATEWAY__AUDIT__TO", "./a.jsonl"),
        ("GATEWAY__AUDIT__KEY_FILE", key.to_str().expect("plain")),
    ])
    .audit;
    assert_eq!(audit.to, AuditDestination::File("./a.jsonl".into()));
    assert_eq!(audit.key.expect("set").expose_secret(), SECRET);
}
