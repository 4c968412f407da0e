//! Environment variables that look like settings of this program but are not read.
//!
//! A misspelt variable has no effect, so the service runs with a default and may send the credentials
//! to the wrong region. Messages contain names only, because a value may be a secret.

use std::collections::BTreeMap;
use std::fmt;

use super::error::printable;
use super::keys;
use crate::domain::closest_word;

/// How many characters of a name a message shows.
const MAX_NAME: usize = 80;

/// Beginnings of names, without separators, and the beginning that they stand for.
const PREFIXES: [(&str, &str); 8] = [
    ("GENESYSCLOUD", "GENESYS"),
    ("PURECLOUD", "GENESYS"),
    ("GENESYS", "GENESYS"),
    ("GENESIS", "GENESYS"),
    ("GENSYS", "GENESYS"),
    ("GATEWAYGENESYS", "GENESYS"),
    ("GATEWAY", "GATEWAY"),
    ("GATWAY", "GATEWAY"),
];

/// Names of settings in other programs, and the name of the equivalent setting here.
const SYNONYMS: [(&str, &str); 9] = [
    ("LOG", "LOGLEVEL"),
    ("DEBUG", "DEBUGENABLED"),
    ("REGION", "ENVIRONMENT"),
    ("HOST", "ENVIRONMENT"),
    ("SECRET", "CLIENTSECRET"),
    ("URL", "APIURL"),
    ("PORT", "SERVERBIND"),
    ("SERVERPORT", "SERVERBIND"),
    ("TIMEOUT", "SERVERDEADLINE"),
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
    let known = known_variables();
    let is_unread = |(name, value): &(&String, &String)| {
        let is_read = known.iter().any(|(_, variable)| variable == *name);
        !value.is_empty() && !is_read && !name.starts_with("GATEWAY__")
    };
    let unread = env.iter().filter(is_unread).filter(|(name, value)| !is_service_link(name, value));
    let ignored = unread.map(|(name, _)| (name.clone(), likely_variable(name)));
    ignored
        .filter(|(name, likely)| likely.is_some() || name.starts_with("GENESYS_"))
        .map(|(name, likely)| IgnoredVariable { name, likely })
        .collect()
}

/// Whether Kubernetes or Docker set the variable to describe a service called `gateway`.
fn is_service_link(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP"].iter().any(|part| name.contains(part))
        || (name.ends_with("_PORT") && value.contains("://"))
}

/// The variable that this name probably misspells.
pub(super) fn likely_variable(name: &str) -> Option<String> {
    let compact = compact(name);
    let compact = compact.strip_prefix("ATTRIBUTE").unwrap_or(&compact);
    if compact == "RUSTLOG" {
        return Some("RUST_LOG".to_owned());
    }
    let known = known_variables();
    PREFIXES.iter().find_map(|(prefix, own)| {
        let rest = compact.strip_prefix(prefix)?;
        let of_prefix = || known.iter().filter_map(|(name, _)| name.strip_prefix(own));
        let exact =
            |rest: &str| known.iter().find(|(name, _)| name.strip_prefix(own) == Some(rest));
        let synonym = || SYNONYMS.iter().find(|(other, _)| *other == rest);
        let near = || closest_word(rest, of_prefix()).filter(|_| rest.len() > 3);
        let found = exact(rest).or_else(|| exact(synonym()?.1)).or_else(|| exact(near()?));
        found.map(|(_, variable)| variable.clone())
    })
}

/// The letters and digits of the name, in capitals.
fn compact(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// Every variable after its compact name, and after shorter names that people try.
fn known_variables() -> Vec<(String, String)> {
    let mut known = Vec::new();
    for (variable, key) in keys::variables() {
        if key.is_from_file() {
            let file = format!("{variable}_FILE");
            known.push((compact(&file), file));
        }
        known.push((compact(&variable), variable));
    }
    for key in keys::all() {
        let name = compact(&key.name);
        if key.section == "genesys" {
            known.push((format!("GENESYS{name}"), key.variable()));
        }
        known.push((format!("GATEWAY{name}"), key.variable()));
    }
    known
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
