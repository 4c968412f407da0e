//! Loading as a whole: precedence of layers, conversion of values, and rendering.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;

mod clients;
mod properties;
mod refusals;
mod secrets;

const SECRET: &str = "hunter2-\"quoted\"-0123";

fn env(pairs: &[(&str, &str)]) -> ConfigSource {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ConfigSource { file: None, env: pairs.collect() }
}

/// A source with a file, and the directory that keeps it.
fn file(text: &str) -> (ConfigSource, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let path = write(&directory, "gateway.toml", text);
    (ConfigSource { file: Some(path), ..ConfigSource::default() }, directory)
}

fn write(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn config(pairs: &[(&str, &str)]) -> Config {
    load(&env(pairs)).expect("valid").config
}

#[track_caller]
fn problems(source: &ConfigSource) -> Vec<String> {
    let error = load(source).expect_err("refused");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    error.problems().to_vec()
}

#[track_caller]
fn only_problem(source: &ConfigSource) -> String {
    let problems = problems(source);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().expect("valid")
}

fn without_comments(rendered: &str) -> String {
    let lines = rendered.lines().map(|line| line.split("  # from ").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_defaults_are_complete_and_shown_with_their_origin() {
    insta::assert_snapshot!(load(&ConfigSource::default()).expect("valid").render());
}

#[test]
fn the_list_of_keys_is_what_the_defaults_hold() {
    // Every key of the defaults is known, and the sections need no other.
    let (source, _directory) = file(keys::DEFAULTS);
    let shown = load(&source).expect("valid").render().to_owned();
    let line = keys::DEFAULTS.lines().position(|line| line == "requests = 5000").expect("a line");
    assert!(
        shown.contains(&format!(
            "requests = 5000  # from file {}, line {}\n",
            source.file.expect("set").display(),
            line + 1
        )),
        "{shown}"
    );
}

#[test]
fn every_key_of_the_defaults_is_explained() {
    let lines: Vec<&str> = keys::DEFAULTS.lines().collect();
    let mut explained = false;
    for line in lines {
        if line.contains(" = ") && !line.starts_with('#') {
            // The secret shares the comment of its id.
            assert!(explained || line.starts_with("client_secret"), "{line}");
        }
        explained = line.starts_with('#');
    }
}

#[test]
fn later_layers_win() {
    let (mut source, _directory) = file(
        "[server]\nbind = \"10.0.0.1:1\"\ndeadline = \"6s\"\n\
         [genesys]\nenvironment = \"eu-west-1\"\nclient_id = \"from-file\"\n",
    );
    let loaded = load(&source).expect("valid");
    assert_eq!(loaded.config.server.bind.to_string(), "10.0.0.1:1");
    assert_eq!(loaded.config.genesys.environment.name(), "eu-west-1");
    assert_eq!(loaded.config.server.drain.get(), Duration::from_secs(25));

    source.env = env(&[("GENESYS_ENVIRONMENT", "mypurecloud.de"), ("GENESYS_CLIENT_ID", "t")]).env;
    let config = load(&source).expect("valid").config;
    assert_eq!(config.genesys.environment.name(), "eu-central-1");
    assert_eq!(config.genesys.client_id.as_deref(), Some("t"));

    source.env.insert("GATEWAY__GENESYS__ENVIRONMENT".to_owned(), "sa-east-1".to_owned());
    source.env.insert("GATEWAY__SERVER__DEADLINE".to_owned(), "1m".to_owned());
    let loaded = load(&source).expect("valid");
    assert_eq!(loaded.config.genesys.environment.name(), "sa-east-1");
    assert_eq!(loaded.config.server.deadline.get(), Duration::from_mins(1));
    assert_eq!(loaded.config.server.bind.to_string(), "10.0.0.1:1");

    let rendered = loaded.render();
    let path = source.file.expect("set");
    for line in [
        format!("bind = \"10.0.0.1:1\"  # from file {}, line 2\n", path.display()),
        "deadline = \"1m\"  # from environment GATEWAY__SERVER__DEADLINE\n".to_owned(),
        "client_id = \"t\"  # from GENESYS_CLIENT_ID\n".to_owned(),
        "drain = \"25s\"  # from default\n".to_owned(),
        "client_secret = \"\"  # from default, not set\n".to_owned(),
    ] {
        assert!(rendered.contains(&line), "{line} in {rendered}");
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let config = config(&[
        ("GATEWAY__SERVER__DEADLINE", ""),
        ("GENESYS_CLIENT_ID", ""),
        ("GENESYS_CLIENT_SECRET_FILE", ""),
        ("GATEWAY__NO__SUCH_KEY", ""),
        ("RUST_LOG", ""),
    ]);
    assert_eq!(config.server.deadline.get(), Duration::from_secs(5));
    assert_eq!(config.log.level, "info");
    assert!(config.credentials().is_err());
}

#[test]
fn values_from_the_environment_have_the_type_of_their_key() {
    let config = config(&[
        ("GENESYS_CLIENT_ID", " 007 "),
        ("GATEWAY__GENESYS__CLIENT_SECRET", "007"),
        ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "9223372036854775807"),
        ("GATEWAY__GENESYS__ALLOW_INSECURE", "true"),
        ("GATEWAY__GENESYS__API_URL", "http://example.com/x/"),
        ("GATEWAY__GENESYS__PATCH_BODY", "full"),
        ("GATEWAY__LIMITS__TOTAL_BYTES", "20480"),
        ("GATEWAY__LIMITS__BODY_BYTES", "1 MiB"),
        ("GATEWAY__VERIFY__MAX_READS", "1"),
        ("GATEWAY__SIMULATOR__LOAD", "a.json, b.json"),
        ("GATEWAY__SIMULATOR__PATCH", "replace"),
        ("GATEWAY__SIMULATOR__REQUESTS_PER_MINUTE", "0"),
        ("GATEWAY__SIMULATOR__SIZE_LIMIT", "0"),
        ("GATEWAY__LOG__FORMAT", "json"),
    ]);
    let credentials = config.credentials().expect("set");
    assert_eq!(credentials.client_id, "007");
    assert_eq!(credentials.client_secret.expose_secret(), "007");
    assert_eq!(config.genesys.requests_per_minute.get(), i64::MAX.unsigned_abs());
    assert_eq!(config.genesys.api_base().as_str(), "http://example.com/x");
    assert_eq!(config.genesys.login_base().as_str(), "https://login.mypurecloud.com");
    assert_eq!(config.genesys.patch_body, PatchBody::Full);
    assert_eq!(config.limits.total_bytes.get(), 20_480);
    assert_eq!(config.limits.body_bytes.get(), 1 << 20);
    assert_eq!(config.verify.max_reads.get(), 1);
    assert_eq!(config.simulator.load, [Path::new("a.json"), Path::new("b.json")]);
    assert_eq!(config.simulator.patch, genesys_simulator::PatchSemantics::Replace);
    assert_eq!(config.simulator.requests_per_minute, 0);
    assert_eq!(config.simulator.size_limit.get(), 0);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn rust_log_wins_over_the_level() {
    let level = ("GATEWAY__LOG__LEVEL", "warn");
    assert_eq!(config(&[level]).log.level, "warn");
    let loaded = load(&env(&[level, ("RUST_LOG", "info,attribute_gateway=trace")])).expect("valid");
    assert_eq!(loaded.config.log.level, "info,attribute_gateway=trace");
    assert!(loaded.render().contains("# from RUST_LOG\n"));
    assert!(only_problem(&env(&[("RUST_LOG", "a=b=c")])).ends_with("(from RUST_LOG)"));
}

#[test]
fn every_region_resolves_to_its_hosts() {
    for region in Region::all() {
        for text in [region.name(), region.domain()] {
            let genesys = config(&[("GENESYS_ENVIRONMENT", text)]).genesys;
            let domain = region.domain();
            assert_eq!(genesys.api_base().as_str(), format!("https://api.{domain}"));
            assert_eq!(genesys.login_base().as_str(), format!("https://login.{domain}"));
        }
    }
}

#[test]
fn the_hosts_that_follow_from_the_region_are_shown() {
    let loaded = load(&env(&[("GENESYS_ENVIRONMENT", "eu-west-1")])).expect("valid");
    let shown = loaded.render();
    for line in [
        "api_url = \"\"  # from genesys.environment: https://api.mypurecloud.ie\n",
        "login_url = \"\"  # from genesys.environment: https://login.mypurecloud.ie\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let api = ("GATEWAY__GENESYS__API_URL", "http://localhost:1");
    let loaded = load(&env(&[api])).expect("valid");
    let shown = loaded.render();
    let line = "api_url = \"http://localhost:1\"  # from environment GATEWAY__GENESYS__API_URL\n";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn what_is_shown_can_be_used_as_a_file() {
    let first = load(&env(&[
        ("GENESYS_CLIENT_ID", "with \"quotes\" and \\ and ü"),
        ("GATEWAY__SERVER__DEADLINE", "1s 500ms"),
        ("GATEWAY__VERIFY__MAX_READS", "+7"),
        ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "9223372036854775807"),
        ("GATEWAY__SIMULATOR__VOICE_PATHS", "true"),
        ("GATEWAY__SIMULATOR__LOAD", "a,b"),
        ("GATEWAY__LIMITS__TOTAL_BYTES", "20 KiB"),
    ]))
    .expect("valid");
    let (source, _directory) = file(first.render());
    let second = load(&source).expect("valid");
    assert_eq!(without_comments(first.render()), without_comments(second.render()));
    assert_eq!(format!("{:?}", first.config), format!("{:?}", second.config));
    assert!(second.render().contains("max_reads = 7 "), "{}", second.render());
}
