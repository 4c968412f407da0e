//! Invalid values and keys, and the messages about them.

use super::*;

/// Invalid values of a key, with the defaults for all others.
const BAD_VALUES: &[(&str, &[&str])] = &[
    ("server.bind", &["localhost:80", "127.0.0.1", ":80", "1"]),
    ("server.deadline", &["0s", "61s", "5", "-1s", "soon", "99999999999999999999y"]),
    ("server.drain", &["0s", "11m"]),
    ("server.header_timeout", &["0s", "1h"]),
    ("server.body_timeout", &["0s", "1h"]),
    ("server.idle_timeout", &["0s", "999ms", "2h"]),
    ("server.trusted_proxies", &["10.0.0.0/33", "localhost", "10.0.0.1,x"]),
    ("server.public_url", &["gateway.example", "ftp://a", "https://a:hunter2@b.com"]),
    ("server.tls.client_auth", &["yes", "NONE"]),
    ("server.tls.handshake_timeout", &["0s", "61s"]),
    ("genesys.client_id", &["a\nb"]),
    ("genesys.client_secret", &["hunter2\n3", "********"]),
    ("genesys.environment", &["mars-north-1", "https://hunter2@api.mypurecloud.com"]),
    ("genesys.api_url", &["http://example.com", "http://localhost@evil.com", "example.com"]),
    (
        "genesys.login_url",
        &["http://127.0.0.1.evil.com", "https://a:hunter2@b.com", "https://a/?b"],
    ),
    ("genesys.allow_insecure", &["yes", "1", "TRUE"]),
    ("genesys.route", &["call", "CALLS"]),
    ("genesys.custom.participant", &["x", "/{id}"]),
    ("genesys.patch_body", &["all"]),
    ("genesys.clear_with", &["NULL", "delete"]),
    ("genesys.requests_per_minute", &["0", "-1", "1.5", "9223372036854775808", "many"]),
    ("genesys.rate_window", &["0s", "99ms", "2h"]),
    ("genesys.ceilings.committed", &["19", "101"]),
    ("genesys.ceilings.writes", &["-1", "2%"]),
    ("genesys.ceilings.reads", &["96", "19"]),
    ("genesys.ceilings.read_backs", &["76", "x"]),
    ("genesys.attempt_timeout", &["0s", "61s"]),
    ("genesys.connect_timeout", &["0s", "61s"]),
    ("genesys.backoff_base", &["0s", "3s", "61s"]),
    ("genesys.backoff_cap", &["0s", "61s"]),
    ("genesys.token_refresh_ahead", &["2h"]),
    ("genesys.max_response_bytes", &["0", "1023", "1 TiB", "1 GiB"]),
    ("limits.total_bytes", &["0", "1 GiB", "10 x"]),
    ("limits.body_bytes", &["0", "1 GiB"]),
    ("limits.header_bytes", &["0", "8191", "2 MiB"]),
    ("limits.requests", &["0", "x"]),
    ("limits.connections", &["0", "-1", "many"]),
    ("limits.connections_per_address", &["0"]),
    ("verify.max_reads", &["0", "1001", "4294967296"]),
    ("verify.settle", &["0s", "61s"]),
    ("verify.outstanding", &["0s", "61m"]),
    ("writes.conflict_retries", &["-1", "101"]),
    ("store.backend", &["sqlite", "REDIS"]),
    ("store.max_operations", &["0", "1000001"]),
    ("store.not_after", &["0s", "16m"]),
    ("store.redis.url", &["http://a:hunter2@b", "redis:", "hunter2", "********", "redis://"]),
    ("store.redis.key_prefix", &["plain:", "{}:", "{org} :"]),
    ("store.redis.on_outage", &["ignore"]),
    ("store.redis.replica", &["a b", "a/b"]),
    ("store.redis.expected_replicas", &["0", "1001"]),
    ("participants.default", &["two words", "x1", " "]),
    ("log.format", &["xml"]),
    ("log.level", &["a=b=c", " ", "inof", "warning", "attribute_gateway=inof", "info,acess=off"]),
    ("audit.to", &["sdtout", " ", "OFF", "/var/log/"]),
    ("audit.on_failure", &["ignore", "Block"]),
    ("audit.key", &["hunter2", "********"]),
    ("tracing.endpoint", &["localhost:4318", "https://a:hunter2@b.com", "grpc://a"]),
    ("tracing.headers", &["hunter2", "a b=hunter2", "********"]),
    ("tracing.service_name", &[" ", "a\nb"]),
    ("tracing.keep_one_in", &["0", "0.5", "1000001"]),
    ("simulator.bind", &["8090"]),
    ("simulator.client_id", &[" "]),
    ("simulator.client_secret", &["********"]),
    ("simulator.latency", &["61s"]),
    ("simulator.lag", &["11m"]),
    ("simulator.token_lifetime", &["0s", "31d"]),
    ("simulator.requests_per_minute", &["-1"]),
    ("simulator.rate_window", &["0s", "99ms", "2h"]),
    ("simulator.token_requests_per_minute", &["x"]),
    ("simulator.patch", &["drop"]),
    ("simulator.size_limit", &["1 GiB"]),
    ("simulator.voice_paths", &["no"]),
];

#[test]
fn a_bad_value_is_named_with_its_path_and_origin() {
    for (path, bad) in BAD_VALUES {
        let variable = keys::find(path).expect("a key").variable();
        for value in *bad {
            let problem = only_problem(&env(&[(&variable, value)]));
            assert!(problem.starts_with(&format!("{path}: ")), "{value:?}: {problem}");
            assert!(problem.ends_with(&format!("(from environment {variable})")), "{problem}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_named_and_secrets_are_not_shown() {
    for (text, key) in [
        ("[server]\ndeadline = 5", "server.deadline"),
        ("[server]\ndeadline = [\"5s\"]", "server.deadline"),
        ("[server.deadline]\nx = 1", "server.deadline"),
        ("server = \"hunter2\"", "server"),
        ("genesys = [\"hunter2\"]", "genesys"),
        ("[genesys]\nclient_secret = 4711", "genesys.client_secret"),
        ("[genesys]\nclient_secret = [\"hunter2\"]", "genesys.client_secret"),
        ("[genesys]\nclient_secret = { hunter = \"hunter2\" }", "genesys.client_secret"),
        ("[verify]\nmax_reads = 2.7", "verify.max_reads"),
        ("[verify]\nmax_reads = true", "verify.max_reads"),
        ("[genesys]\nallow_insecure = 1", "genesys.allow_insecure"),
        ("[simulator]\nload = [1]", "simulator.load"),
        ("[simulator]\nload = [{ a = 1 }]", "simulator.load"),
    ] {
        let (source, _directory) = file(text);
        let problem = only_problem(&source);
        assert!(problem.starts_with(&format!("{key}: ")), "{text}: {problem}");
        assert!(problem.contains("gateway.toml"), "{problem}");
        assert!(!problem.contains("4711"), "{problem}");
    }
}

#[test]
fn collector_headers_need_an_encrypted_endpoint() {
    let headers = ("GATEWAY__TRACING__HEADERS", "x-key=hunter2");
    let problem = only_problem(&env(&[headers]));
    assert!(problem.starts_with("tracing.headers: are set, but tracing.endpoint"), "{problem}");
    let to = |url| env(&[headers, ("GATEWAY__TRACING__ENDPOINT", url)]);
    let problem = only_problem(&to("http://collector.example:4318"));
    assert!(
        problem.starts_with("tracing.headers: need a tracing.endpoint with https"),
        "{problem}"
    );
    for url in ["http://localhost:4318", "https://collector.example"] {
        assert!(load(&to(url)).is_ok(), "{url}");
    }
}

#[test]
fn unknown_keys_are_named_in_a_file_with_the_likely_one() {
    for (text, key, likely) in [
        ("[server]\nbnid = \"127.0.0.1:1\"", "server.bnid", "server.bind"),
        ("[sevrer]\nbind = \"127.0.0.1:1\"", "sevrer", "server"),
        ("[sevrer]", "sevrer", "server"),
        ("bind = 1", "bind", ""),
        ("\"server.bind\" = \"127.0.0.1:1\"", "\"server.bind\"", "server.bind"),
        ("[genesys.custom]\npatch = \"/\"", "genesys.custom.patch", ""),
        ("[genesys]\nenviroment = \"x\"", "genesys.enviroment", "genesys.environment"),
        ("[server]\nBind = \"127.0.0.1:1\"", "server.Bind", "server.bind"),
        ("\"a[999999999999]\" = 1", "a[999999999999]", ""),
    ] {
        let (source, _directory) = file(text);
        let problem = only_problem(&source);
        let expected = unknown(key, likely);
        assert!(problem.starts_with(&format!("{expected} (from file ")), "{problem}");
    }
}

fn unknown(key: &str, likely: &str) -> String {
    match likely {
        "" => format!("{key}: unknown key"),
        likely => format!("{key}: unknown key; did you mean `{likely}`?"),
    }
}

#[test]
fn unknown_variables_are_named_with_the_likely_setting() {
    for (variable, key, likely) in [
        ("GATEWAY__SERVER__BNID", "server.bnid", "GATEWAY__SERVER__BIND"),
        ("GATEWAY__SERVER_BIND", "server_bind", "GATEWAY__SERVER__BIND"),
        ("GATEWAY__SERVER", "server", ""),
        ("GATEWAY__", "", ""),
        ("GATEWAY__SERVER__BIND__X", "server.bind.x", "GATEWAY__SERVER__BIND"),
        ("GATEWAY__A[999999999999]", "a[999999999999]", ""),
        ("GATEWAY__GENESYS__REGION", "genesys.region", "GENESYS_ENVIRONMENT"),
        ("GATEWAY__GENESYS__CLIENT_SECRT", "genesys.client_secrt", GENESYS_SECRET),
    ] {
        let expected = format!("{} (from environment {variable})", unknown(key, likely));
        assert_eq!(only_problem(&env(&[(variable, "hunter2")])), expected);
    }
    let problem = only_problem(&env(&[("GATEWAY__SIMULATOR__CLIENT_SECRET_FILE", "hunter2")]));
    assert!(problem.starts_with("simulator.client_secret_file: unknown key"), "{problem}");
    let problem = only_problem(&env(&[("GATEWAY__server__BIND", "127.0.0.1:1")]));
    assert!(problem.contains("did you mean `GATEWAY__SERVER__BIND`?"), "{problem}");
    // With one underscore, Kubernetes describes a service of that name.
    let others = env(&[("GATEWAY_SERVICE_HOST", "10.0.0.1"), ("GENESYS_OTHER", "x")]);
    let ignored = ignored_variables(&others);
    assert!(ignored.len() == 1 && ignored[0].contains("GENESYS_OTHER"), "{ignored:?}");
    load(&others).expect("valid");
}

const GENESYS_SECRET: &str = "GENESYS_CLIENT_SECRET";

#[test]
fn conflicting_tls_keys_are_named() {
    for (text, key) in [
        ("certificate = \"a\"", "server.tls.key"),
        ("key = \"a\"", "server.tls.certificate"),
        ("client_ca = \"a\"\nkey = \"a\"", "server.tls.client_auth"),
        ("client_auth = \"required\"", "server.tls.client_ca"),
        ("client_auth = \"required\"\nclient_ca = \"a\"", "server.tls.certificate"),
    ] {
        let (source, _directory) = file(&format!("[server.tls]\n{text}"));
        let problem = only_problem(&source);
        assert!(problem.starts_with(&format!("{key}: must be ")), "{text}: {problem}");
    }
}

#[test]
fn one_problem_of_each_section_and_all_unknown_keys_are_reported_at_once() {
    let (mut source, directory) =
        file("[server]\ndeadline = \"0s\"\nbnid = 1\ndrain = \"x\"\n[verify]\nmax_reads = 0");
    source.env = env(&[("GATEWAY__LOG__FORMAT", "xml"), ("GATEWAY__GENESYS__ROUTE", "cals")]).env;
    let path = directory.path().join("gateway.toml").display().to_string();
    let problems = problems(&source);
    let expected = [
        "genesys.route: unknown variant `cals`, expected one of `conversations`, `calls`, `custom`; \
         did you mean `calls`? (from environment GATEWAY__GENESYS__ROUTE)"
            .to_owned(),
        "log.format: unknown variant `xml`, expected one of `auto`, `text`, `json` (from environment \
         GATEWAY__LOG__FORMAT)"
            .to_owned(),
        format!("server.bnid: unknown key; did you mean `server.bind`? (from file {path}, line 3)"),
        format!("server.deadline: must be from 1ms to 1m, not 0s (from file {path}, line 2)"),
        format!("verify.max_reads: must be a whole number from 1 to 1000 (from file {path}, line 6)"),
    ];
    assert_eq!(problems, expected);
    let error = load(&source).expect_err("refused");
    assert!(error.to_string().starts_with("5 problems in the configuration:\n"), "{error}");
    let misspelt = [("GATEWAY__GENESYS__ROUTE", "costum"), (PARTICIPANT, BOTH), (ATTRIBUTES, BOTH)];
    assert!(only_problem(&env(&misspelt)).starts_with("genesys.route: "));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let missing =
        ConfigSource { file: Some("/no/such/gateway.toml".into()), ..ConfigSource::default() };
    let problem = only_problem(&missing);
    assert!(problem.starts_with("file /no/such/gateway.toml: cannot be read: "), "{problem}");

    for text in [
        "[genesys]\nclient_secret = \"hunter2",
        "[genesys]\nclient_secret = hunter2",
        "[genesys]\nclient_secret = \"hunter2\" hunter2",
        "[genesys]\nclient_secret = \"hunter2\\q\"",
        "[genesys]\nclient_secret = \"\"\"\nhunter2\n\\q\"\"\"",
        "[genesys]\nclient_secret = 1hunter2",
    ] {
        let (source, _directory) = file(text);
        let problem = only_problem(&source);
        assert!(problem.contains("gateway.toml: TOML parse error at line "), "{problem}");
    }
}

#[test]
fn plain_http_reaches_this_machine_or_is_allowed_by_name() {
    for url in ["http://127.0.0.1:8090", "http://[::1]:8090", "http://localhost:8090/x"] {
        let genesys = config(&[("GATEWAY__GENESYS__LOGIN_URL", url)]).genesys;
        assert_eq!(genesys.login_base().as_str(), url);
    }
    let allowed = ("GATEWAY__GENESYS__ALLOW_INSECURE", "true");
    config(&[allowed, ("GATEWAY__GENESYS__API_URL", "http://example.com")]);
    let user = [allowed, ("GATEWAY__GENESYS__API_URL", "http://localhost@evil.com")];
    assert!(only_problem(&env(&user)).starts_with("genesys.api_url: "));
}

const ROUTE: (&str, &str) = ("GATEWAY__GENESYS__ROUTE", "custom");
const PARTICIPANT: &str = "GATEWAY__GENESYS__CUSTOM__PARTICIPANT";
const ATTRIBUTES: &str = "GATEWAY__GENESYS__CUSTOM__ATTRIBUTES";
const CONVERSATION: &str = "GATEWAY__GENESYS__CUSTOM__CONVERSATION";
const BOTH: &str = "/c/{conversationId}/p/{participantId}";

#[test]
fn a_custom_route_has_its_templates() {
    let genesys = config(&[ROUTE, (PARTICIPANT, BOTH), (ATTRIBUTES, BOTH)]).genesys;
    assert_eq!(genesys.route, UpstreamRoute::Custom);
    let route = genesys.custom.expect("set");
    assert_eq!(route.participant.as_str(), BOTH);
    assert_eq!(route.conversation, None);
    assert_eq!(config(&[("GATEWAY__GENESYS__ROUTE", "calls")]).genesys.route, UpstreamRoute::Calls);
}

#[test]
fn a_template_that_is_missing_or_lacks_an_id_is_named() {
    for (pairs, key) in [
        (&[ROUTE][..], "participant"),
        (&[ROUTE, (PARTICIPANT, BOTH)], "attributes"),
        (&[ROUTE, (PARTICIPANT, "/{conversationId}"), (ATTRIBUTES, BOTH)], "participant"),
        (&[ROUTE, (PARTICIPANT, BOTH), (ATTRIBUTES, "/{participantId}")], "attributes"),
        (&[ROUTE, (PARTICIPANT, BOTH), (ATTRIBUTES, BOTH), (CONVERSATION, BOTH)], "conversation"),
        (&[ROUTE, (PARTICIPANT, BOTH), (ATTRIBUTES, BOTH), (CONVERSATION, "/x")], "conversation"),
    ] {
        let problem = only_problem(&env(pairs));
        let expected = format!("genesys.custom.{key}: ");
        assert!(problem.starts_with(&expected), "{problem}");
    }
}

#[test]
fn a_shared_store_needs_its_url_and_no_file() {
    let backend = ("GATEWAY__STORE__BACKEND", "redis");
    let problem = only_problem(&env(&[backend]));
    assert!(problem.starts_with("store.redis.url: is needed when"), "{problem}");
    let url = ("GATEWAY__STORE__REDIS__URL", "rediss://a:hunter2@b:6380/0");
    let problem = only_problem(&env(&[backend, url, ("GATEWAY__STORE__PATH", "store.db")]));
    assert!(problem.starts_with("store.path: must not be set when"), "{problem}");

    let loaded = load(&env(&[backend, url])).expect("valid");
    let found = loaded.config.store.redis.url.as_ref().expect("is set");
    assert_eq!(found.expose_secret(), url.1);
    assert!(!loaded.render().contains("hunter2") && !format!("{loaded:?}").contains("hunter2"));
}
