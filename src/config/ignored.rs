//! Environment variables that look like settings of this program but are not read.
//!
//! A misspelt variable has no effect, so the service runs with a default and may send the credentials
//! to the wrong region. Messages contain names only, because a value may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use super::schema::{self, ConfigKey};
use super::spelling::{nearest, printable};

/// How many characters of a name a message shows.
const MAX_NAME: usize = 80;

/// The variables without a section in their name.
const PLAIN: [&str; 3] = ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "GENESYS_ENVIRONMENT"];

/// Spellings of the vendor's name in other programs.
const BRANDS: [&str; 4] = ["GENESYSCLOUD", "PURECLOUD", "GENESYS", "GENESIS"];

/// Names of settings in other programs, and the suffix of the equivalent variable here.
const SYNONYMS: [(&str, &str); 29] = [
    ("LOG", "LOGLEVEL"),
    ("DEBUG", "DEBUGENABLED"),
    ("REGION", "ENVIRONMENT"),
    ("AWSREGION", "ENVIRONMENT"),
    ("ORGREGION", "ENVIRONMENT"),
    ("DOMAIN", "ENVIRONMENT"),
    ("ENV", "ENVIRONMENT"),
    ("HOST", "ENVIRONMENT"),
    ("ID", "CLIENTID"),
    ("CLIENT", "CLIENTID"),
    ("OAUTHCLIENTID", "CLIENTID"),
    ("SECRET", "CLIENTSECRET"),
    ("OAUTHCLIENTSECRET", "CLIENTSECRET"),
    ("URL", "APIURL"),
    ("BASEURL", "APIURL"),
    ("APIHOST", "APIURL"),
    ("APIBASE", "APIURL"),
    ("AUTHURL", "LOGINURL"),
    ("LOGINHOST", "LOGINURL"),
    ("RATELIMIT", "REQUESTSPERMINUTE"),
    ("PORT", "SERVERBIND"),
    ("ADDRESS", "SERVERBIND"),
    ("LISTEN", "SERVERBIND"),
    ("SERVERHOST", "SERVERBIND"),
    ("SERVERPORT", "SERVERBIND"),
    ("SERVERADDRESS", "SERVERBIND"),
    ("SERVERLISTEN", "SERVERBIND"),
    ("TIMEOUT", "SERVERDEADLINE"),
    ("SERVERTIMEOUT", "SERVERDEADLINE"),
];

/// A variable that is set but not read. `Display` shows the likely name, never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredVariable {
    name: String,
    likely: Option<String>,
}

impl fmt::Display for IgnoredVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = printable(&self.name).chars().take(MAX_NAME).collect();
        write!(f, "the variable `{shown}` is set, but this program does not read it; ")?;
        match &self.likely {
            Some(likely) => write!(f, "did you mean `{likely}`?"),
            None => f.write_str(
                "it reads GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET, GENESYS_ENVIRONMENT and \
                 GATEWAY__SECTION__KEY (see `print-config`)",
            ),
        }
    }
}

/// All such variables, sorted by name. Those that begin with `GATEWAY__` are left out: if they are
/// unknown, loading fails.
pub(super) fn find(env: &BTreeMap<String, String>) -> Vec<IgnoredVariable> {
    let set = env.iter().filter(|(_, value)| !value.is_empty());
    let names = set.filter(|(name, value)| !is_service_link(name, value)).map(|(name, _)| name);
    let looks_like_ours = |name: &String| {
        let likely = likely_variable(name);
        let is_ours = likely.is_some() || has_own_prefix(name);
        is_ours.then(|| IgnoredVariable { name: name.clone(), likely })
    };
    names
        .filter(|name| !name.starts_with("GATEWAY__") && !is_read(name))
        .filter_map(looks_like_ours)
        .collect()
}

fn is_read(name: &str) -> bool {
    let of_file = |plain: &&str| name.strip_suffix("_FILE") == Some(plain);
    name == "RUST_LOG" || PLAIN.contains(&name) || PLAIN[..2].iter().any(of_file)
}

/// Whether Kubernetes or Docker set the variable to describe a service called `gateway`.
fn is_service_link(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let parts: Vec<&str> = name.split('_').collect();
    let has_port = |parts: &[&str]| {
        parts.windows(3).any(|part| {
            part[0] == "PORT"
                && part[1].parse::<u16>().is_ok()
                && matches!(part[2], "TCP" | "UDP" | "SCTP")
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || has_port(&parts)
        || (name.ends_with("_PORT") && value.contains("://"))
}

/// Whether the name has a prefix of this program, although no setting resembles it.
fn has_own_prefix(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let of_section = |rest: &str| {
        let mut sections = schema::keys().map(|key| key.section.to_ascii_uppercase());
        sections.any(|section| rest.starts_with(&format!("{section}_")))
    };
    upper.starts_with("GENESYS_") || upper.strip_prefix("GATEWAY_").is_some_and(of_section)
}

/// The variable that this name probably misspells.
pub(super) fn likely_variable(name: &str) -> Option<String> {
    let compact = compact(name);
    let compact = compact.strip_prefix("ATTRIBUTE").unwrap_or(&compact);
    if ["RUSTLOG", "RUSTLOGS", "RUSTLGO", "RUSTLOGLEVEL"].contains(&compact) {
        return Some("RUST_LOG".to_owned());
    }
    if let Some(rest) = compact.strip_prefix("GATEWAY") {
        let of_section = || found(rest.strip_prefix("GENESYS")?, &of_genesys());
        return found(rest, &of_gateway()).or_else(of_section);
    }
    if let Some(rest) = BRANDS.iter().find_map(|brand| compact.strip_prefix(brand)) {
        return found(rest, &of_genesys());
    }
    // If the prefix is misspelt, the rest must be exact: other programs have similar variables.
    let first = name.split(['_', '-', '.']).next().unwrap_or_default();
    let rest = &compact[first.len().min(compact.len())..];
    let exact =
        |known: &[(String, String)]| Some(known.iter().find(|(end, _)| end == rest)?.1.clone());
    match nearest(first, ["GATEWAY", "GENESYS"]).filter(|_| first.len() > 4)? {
        "GATEWAY" => exact(&of_gateway()),
        _ => exact(&of_genesys()),
    }
}

/// The letters and digits of the name, in capitals.
fn compact(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// The suffix of a name, and the variable that has it.
type KnownVariable = (String, String);

fn found(rest: &str, known: &[KnownVariable]) -> Option<String> {
    let exact = |rest: &str| known.iter().find(|(end, _)| end == rest);
    let synonym = || SYNONYMS.iter().find(|(other, _)| *other == rest);
    let near = || {
        let near = nearest(rest, known.iter().map(|(end, _)| end.as_str()));
        near.filter(|_| rest.len() > 3).and_then(exact)
    };
    let found = exact(rest).or_else(|| synonym().and_then(|(_, end)| exact(end))).or_else(near);
    found.map(|(_, variable)| variable.clone())
}

/// The suffixes after `GATEWAY`: all paths first, then the names of keys without a section.
fn of_gateway() -> Vec<KnownVariable> {
    let mut known: Vec<KnownVariable> = schema::keys().flat_map(with_file).collect();
    known.extend(schema::keys().map(|key| (compact(key.name), key.variable())));
    known
}

/// The suffixes after `GENESYS`: the plain variables first, then the other keys of that section.
fn of_genesys() -> Vec<KnownVariable> {
    let plain = |name: &str| (compact(&name["GENESYS_".len()..]), name.to_owned());
    let mut known: Vec<KnownVariable> = PLAIN.iter().map(|name| plain(name)).collect();
    known.extend(PLAIN[..2].iter().map(|name| plain(&format!("{name}_FILE"))));
    let others = schema::keys().filter(|key| key.section == "genesys").flat_map(with_file);
    known.extend(others.map(|(end, name)| (end["GENESYS".len()..].to_owned(), name)));
    known
}

fn with_file(key: ConfigKey) -> Vec<KnownVariable> {
    let path = compact(&key.path());
    let file = schema::FROM_FILE.contains(&key.path().as_str());
    let file = file.then(|| (format!("{path}FILE"), format!("{}_FILE", key.variable())));
    [(path, key.variable())].into_iter().chain(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(name: &str, value: &str) -> Option<String> {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        find(&env).first().map(ToString::to_string)
    }

    const NEAR_MISSES: [(&str, &str); 36] = [
        ("GATEWAY_LOG", "GATEWAY__LOG__LEVEL"),
        ("GATEWAY_DEBUG", "GATEWAY__DEBUG__ENABLED"),
        ("GATEWAY_SERVER_BIND", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_SERVER__BIND", "GATEWAY__SERVER__BIND"),
        ("gateway__server__bind", "GATEWAY__SERVER__BIND"),
        ("Gateway__Server__Bind", "GATEWAY__SERVER__BIND"),
        ("GATEWAY.SERVER.BIND", "GATEWAY__SERVER__BIND"),
        ("ATTRIBUTE_GATEWAY__SERVER__BIND", "GATEWAY__SERVER__BIND"),
        ("GATWAY__SERVER__BIND", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_BIND", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_PORT", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_SERVER_PORT", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_SEVRER_BIND", "GATEWAY__SERVER__BIND"),
        ("GATEWAY_LOG_LEVEL", "GATEWAY__LOG__LEVEL"),
        ("GATEWAY_DEADLINE", "GATEWAY__SERVER__DEADLINE"),
        ("GATEWAY_GENESYS_PROXY_FILE", "GATEWAY__GENESYS__PROXY_FILE"),
        ("GATEWAY_AUTH_CLIENTS_FILE", "GATEWAY__AUTH__CLIENTS_FILE"),
        ("GENESYS_REGION", "GENESYS_ENVIRONMENT"),
        ("GENESYS_ENVIROMENT", "GENESYS_ENVIRONMENT"),
        ("GENESYS_ENVIRONMNET", "GENESYS_ENVIRONMENT"),
        ("GENESYS__ENVIRONMENT", "GENESYS_ENVIRONMENT"),
        ("genesys_environment", "GENESYS_ENVIRONMENT"),
        ("genesys_client_id", "GENESYS_CLIENT_ID"),
        ("GENESYS_CLIENTID", "GENESYS_CLIENT_ID"),
        ("GENESYS_SECRET", "GENESYS_CLIENT_SECRET"),
        ("GENESYS_CLIENT_SECRT", "GENESYS_CLIENT_SECRET"),
        ("GENESYS_CLIENT_SECRET_FIEL", "GENESYS_CLIENT_SECRET_FILE"),
        ("GENESIS_CLIENT_ID", "GENESYS_CLIENT_ID"),
        ("GENSYS_CLIENT_ID", "GENESYS_CLIENT_ID"),
        ("GENESYS_CLOUD_CLIENT_ID", "GENESYS_CLIENT_ID"),
        ("GENESYSCLOUD_REGION", "GENESYS_ENVIRONMENT"),
        ("PURECLOUD_CLIENT_SECRET", "GENESYS_CLIENT_SECRET"),
        ("GENESYS_API_URL", "GATEWAY__GENESYS__API_URL"),
        ("GENESYS_REQUESTS_PER_MINUTE", "GATEWAY__GENESYS__REQUESTS_PER_MINUTE"),
        ("rust_log", "RUST_LOG"),
        ("RUSTLOG", "RUST_LOG"),
    ];

    #[test]
    fn a_misspelt_variable_is_named_with_the_likely_setting() {
        for (name, likely) in NEAR_MISSES {
            let warning =
                warning(name, "hunter2").unwrap_or_else(|| panic!("no warning about {name}"));
            assert!(warning.ends_with(&format!("did you mean `{likely}`?")), "{name}: {warning}");
            assert!(
                warning.contains(&format!("`{name}`")) && !warning.contains("hunter2"),
                "{warning}"
            );
        }
        let warning = warning("GENESYS_FAVOURITE_COLOUR", "hunter2").expect("its prefix is ours");
        assert!(warning.contains("it reads GENESYS_CLIENT_ID"), "{warning}");
    }

    #[test]
    fn variables_of_other_programs_cause_no_warning() {
        for (name, value) in [
            ("GENESYS_CLIENT_ID", "x"),
            ("GENESYS_CLIENT_SECRET_FILE", "x"),
            ("GENESYS_ENVIRONMENT", "x"),
            ("RUST_LOG", "info"),
            ("RUST_BACKTRACE", "1"),
            ("GENESYS_REGION", ""),
            ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("GATEWAY_SERVICE_PORT_HTTP", "80"),
            ("GATEWAY_PORT", "tcp://10.0.0.1:80"),
            ("ATTRIBUTE_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("GENERIC_ID", "x"),
            ("HOSTNAME", "x"),
            ("PATH", "x"),
        ] {
            assert_eq!(warning(name, value), None);
        }
    }
}
