//! `[auth]`: the clients and their rights.

use super::*;
use crate::domain::{AccessMode, KeyDigest, ParticipantSelector};

/// Sixty-four digits.
fn digest(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn entry(name: &str, rest: &str) -> String {
    format!("[[auth.clients]]\nname = \"{name}\"\n{rest}\n")
}

#[test]
fn an_entry_is_read_in_full_and_most_of_it_has_a_default() {
    let (one, two) = (digest('a'), digest('B'));
    let full = format!(
        "key_sha256 = [\"{one}\", \"{two}\"]\ncertificate = \"CN=crm.example\"\naccess = \"read\"\n\
         allow = [\"crm_*\"]\ndeny = [\"crm_secret_*\"]\nhide = [\"id\"]\n\
         participants = [\"customer\", \"agent:last\"]\nrequests_per_minute = 600\nshare = 2\n"
    );
    let text = entry("crm", &full) + &entry("ivr", &format!("key_sha256 = \"{}\"", digest('c')));
    let (source, _directory) = file(&text);
    let auth = load(&source).expect("valid").config.auth;
    assert!(auth.is_guarded());
    let [crm, ivr] = auth.clients.as_slice() else { panic!("two") };
    assert_eq!(crm.client.name.as_str(), "crm");
    let digests: Vec<_> = crm.keys.iter().map(KeyDigest::to_hex).collect();
    assert_eq!(digests, [one, two.to_lowercase()]);
    assert_eq!(crm.certificate.as_deref(), Some("CN=crm.example"));
    let rights = &crm.client.rights;
    assert_eq!(rights.access, AccessMode::Read);
    assert!(rights.sees("crm_x") && !rights.sees("crm_secret_x") && !rights.sees("id"));
    let selectors: Vec<ParticipantSelector> = rights.participants.clone().expect("a list");
    let selectors: Vec<_> = selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["customer", "agent:last"]);
    assert_eq!(crm.client.requests_per_minute.map(u32::from), Some(600));
    assert_eq!(crm.client.share.get(), 2);
    assert!(ivr.client.rights.sees_all() && ivr.client.rights.may_write());
    assert_eq!((ivr.client.requests_per_minute, ivr.client.share.get()), (None, 1));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of mistakes")]
fn a_mistake_of_a_client_is_named_without_its_key() {
    let (a, b) = (digest('a'), digest('b'));
    let key = |digest: &str, rest: &str| format!("key_sha256 = \"{digest}\"\n{rest}");
    let good = || entry("crm", &key(&a, ""));
    for (text, message) in [
        (
            entry("crm", &key(&a, "alow = [\"x\"]")),
            "client `crm`: `alow`: unknown field `alow`, expected one of",
        ),
        (
            entry("crm", &key(&a, "allow = [\"\"]")),
            "client `crm`: `allow`: ``: the pattern is empty",
        ),
        (entry("crm", &key(&a, "allow = [3]")), "client `crm`: `allow[0]`: invalid type: integer"),
        (good() + &good(), "client `crm` is defined more than once"),
        (
            entry("crm", "key_sha256 = \"hunter2\""),
            "client `crm`: `key_sha256`: must be the SHA-256 of a key in 64 hexadecimal digits",
        ),
        (entry("a b", &key(&b, "")), "client `a b`: `name`: is not a name of 1 to 64"),
        (
            good() + &entry("web", ""),
            "client `web`: `key_sha256` is missing, and there is no `certificate` either",
        ),
        (
            entry("web", &key(&b, "participants = [\"a b\"]")),
            "client `web`: `participants`: `a b`: not a UUID",
        ),
        (
            entry("web", &key(&b, "share = 0")),
            "client `web`: `share`: must be a whole number from 1 to 1000",
        ),
        (
            entry("web", &key(&b, "share = 1001")),
            "client `web`: `share`: must be a whole number from 1 to 1000",
        ),
        (
            entry("web", &key(&b, "requests_per_minute = \"9\"")),
            "client `web`: `requests_per_minute`: invalid type: string \"9\"",
        ),
        (
            entry("web", &key(&b, "access = \"raed\"")),
            "client `web`: `access`: unknown variant `raed`, expected `read` or `write`; did you mean \
             `read`?",
        ),
        (
            good() + &entry("web", &key(&a, "")),
            "client `web`: `key_sha256` has a key of an earlier client",
        ),
        (entry("bot", &key(&b, "deny = \"x\"")), "client `bot`: `deny`: invalid type: string"),
        (
            entry("tax", "certificate = \"crm.example\""),
            "client `tax`: `certificate` must be the subject of a certificate",
        ),
        (
            entry("fax", "key_sha256 = []"),
            "client `fax`: `key_sha256`: must be the SHA-256 of a key",
        ),
        (
            good() + &format!("[[auth.clients]]\nkey_sha256 = \"{b}\"\n"),
            "client number 2: missing field `name`",
        ),
    ] {
        let (source, _directory) = file(&text);
        let problem = only_problem(&source);
        assert!(problem.starts_with(&format!("auth.clients: {message}")), "{message} in {problem}");
        assert!(problem.contains("(from file ") && problem.ends_with(", line 1)"), "{problem}");
    }
}

#[test]
fn clients_come_from_files_alone_and_match_the_mode() {
    let message = only_problem(&env(&[("GATEWAY__AUTH__CLIENTS", "crm")]));
    assert!(
        message.contains("expected a table [[auth.clients]], which only a file can hold"),
        "{message}"
    );
    assert!(only_problem(&env(&[("GATEWAY__AUTH__MODE", "open")])).starts_with("auth.mode: "));
    let both = [("GATEWAY__AUTH__MODE", "none"), ("GATEWAY__AUTH__CLIENTS_FILE", "/f")];
    let message = only_problem(&env(&both));
    assert!(
        message.starts_with("auth.mode: is \"none\" although clients are configured"),
        "{message}"
    );
}

#[test]
fn a_reachable_address_needs_clients_or_an_explicit_opt_out() {
    let exposed = |pairs: &[(&str, &str)]| {
        let config = config(&[&[("GATEWAY__SERVER__BIND", "0.0.0.0:1")], pairs].concat());
        config.auth.check_exposure(config.server.bind)
    };
    let message = exposed(&[]).expect_err("exposed").to_string();
    for cure in ["0.0.0.0:1", "new-key", "auth.mode", "127.0.0.1", "GATEWAY__AUTH__MODE=none"] {
        assert!(message.contains(cure), "{cure} in {message}");
    }
    assert!(exposed(&[("GATEWAY__SERVER__BIND", "[::]:1")]).is_err());
    assert_eq!(exposed(&[("GATEWAY__SERVER__BIND", "[::1]:1")]), Ok(()));
    assert_eq!(exposed(&[("GATEWAY__AUTH__MODE", "none")]), Ok(()));
    assert_eq!(exposed(&[("GATEWAY__AUTH__CLIENTS_FILE", "/f")]), Ok(()));
}

#[test]
fn a_clients_file_holds_clients_alone_and_adds_to_the_config() {
    let (source, directory) = file(&entry("crm", &format!("key_sha256 = \"{}\"", digest('a'))));
    let path = write(&directory, "clients.toml", "");
    let mut source = source;
    let name = path.to_str().expect("text").to_owned();
    source.env.insert("GATEWAY__AUTH__CLIENTS_FILE".to_owned(), name);
    let auth = load(&source).expect("valid").config.auth;
    let names = |text: &str| {
        std::fs::write(&path, text).expect("written");
        let all = auth.all_clients_with(&read_clients(&path)?)?;
        Ok::<_, String>(all.iter().map(|one| one.client.name.to_string()).collect::<Vec<_>>())
    };
    let good = entry("ivr", &format!("key_sha256 = \"{}\"", digest('b')));
    assert_eq!(names(&good), Ok(vec!["crm".to_owned(), "ivr".to_owned()]));
    let crm = vec!["crm".to_owned()];
    assert_eq!([names(""), names("[auth]\n")], [Ok(crm.clone()), Ok(crm)]);
    for (text, message) in [
        ("[server]\nbind = \"1\"\n", "`server` is not allowed here"),
        ("[auth]\nmode = \"none\"\n", "`auth.mode` is not allowed here"),
        ("hunter2 = ", "TOML parse error at line 1"),
        ("[[auth.clients]]\nname = \"x\"\nkey_sha256 = \"hunter2\"\n", "64 hexadecimal digits"),
        (&entry("crm", &format!("key_sha256 = \"{}\"", digest('c'))), "is defined more than once"),
        (&entry("web", &format!("key_sha256 = \"{}\"", digest('a'))), "a key of an earlier client"),
    ] {
        let error = names(text).expect_err("refused");
        assert!(error.contains(message), "{message} in {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    // Valid to its end, but too long for a list of clients.
    let message = names(&(good + &"#".repeat(4 * 1024 * 1024))).expect_err("too long");
    assert!(message.contains("is longer than 4194304 bytes"), "{message}");
    std::fs::remove_file(&path).expect("removed");
    assert!(read_clients(&path).expect_err("gone").contains("cannot be read"));
    // Without other clients, an empty file would let no client in, or every program.
    let alone = AuthConfig { clients: Vec::new(), ..auth };
    let empty = alone.all_clients_with("").expect_err("empty");
    assert!(empty.contains("names no client"), "{empty}");
}

#[test]
fn keys_are_masked_wherever_the_configuration_is_shown() {
    let rest = format!("key_sha256 = \"{}\"\nshare = 2\nallow = [\"crm_*\"]", digest('a'));
    let (source, _directory) = file(&entry("crm", &rest));
    let loaded = load(&source).expect("valid");
    let rendered = loaded.render();
    let line =
        "clients = [{ allow = [\"crm_*\"], key_sha256 = \"********\", name = \"crm\", share = 2 }]";
    assert!(rendered.contains(line), "{rendered}");
    assert!(!format!("{:?} {loaded:?}", loaded.config).contains("aaaa"));
}

#[test]
fn clients_with_keys_may_have_the_same_certificate() {
    let one = |name: &str, key: char| {
        entry(name, &format!("key_sha256 = \"{}\"\ncertificate = \"CN=x\"", digest(key)))
    };
    let (source, _directory) = file(&[one("crm", 'a'), one("ivr", 'b')].concat());
    assert_eq!(load(&source).expect("valid").config.auth.clients.len(), 2);
    let alone = entry("bot", "certificate = \"CN=x\"");
    let (source, _directory) = file(&[alone, one("crm", 'a')].concat());
    let message = "`crm`: `certificate` is that of another client, and one of the two has no key";
    assert!(problems(&source)[0].contains(message));
}
