//! Environment variables that look like settings of this program but are not read.
//!
//! A misspelt variable has no effect, so the service runs with a default and may send the credentials
//! to the wrong region. Messages contain names only, because a value may be a secret.

use std::collections::BTreeMap;

use super::error::{printable, with_likely};
use super::keys;
use crate::domain::closest_word;

/// How many characters of a name a message shows.
const MAX_NAME: usize = 80;

/// Names that other programs use, and the equivalent setting here, without separators.
const SYNONYMS: [(&str, &str); 8] = [
    ("GENESYSREGION", "GENESYSENVIRONMENT"),
    ("GENESYSHOST", "GENESYSENVIRONMENT"),
    ("GENESYSSECRET", "GENESYSCLIENTSECRET"),
    ("GENESYSURL", "GENESYSAPIURL"),
    ("GATEWAYLOG", "GATEWAYLOGLEVEL"),
    ("GATEWAYDEBUG", "GATEWAYDEBUGENABLED"),
    ("GATEWAYPORT", "GATEWAYSERVERBIND"),
    ("GATEWAYSERVERPORT", "GATEWAYSERVERBIND"),
];

/// A warning about each such variable, sorted by name, with the likely name and never the value. Those
/// that begin with `GATEWAY__` are left out: if they are unknown, loading fails.
pub(super) fn find(env: &BTreeMap<String, String>) -> Vec<String> {
    let known = known_variables();
    let is_unread = |(name, value): &(&String, &String)| {
        let is_read = known.iter().any(|(_, variable)| variable == *name);
        let is_set = !value.is_empty() && !is_service_link(name, value);
        is_set && !is_read && !name.starts_with("GATEWAY__")
    };
    let warning = |(name, _): (&String, _)| {
        let shown: String = printable(name).chars().take(MAX_NAME).collect();
        let what = format!("the variable `{shown}` is set, but this program does not read it");
        match likely_variable(name) {
            None if name.starts_with("GENESYS_") => Some(format!(
                "{what}; it reads GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET, GENESYS_ENVIRONMENT and \
                 GATEWAY__SECTION__KEY (see `print-config`)"
            )),
            likely => likely.map(|likely| with_likely(&what, Some(&likely))),
        }
    };
    env.iter().filter(is_unread).filter_map(warning).collect()
}

/// Whether Kubernetes or Docker set the variable to describe a service called `gateway`.
fn is_service_link(name: &str, value: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP"].iter().any(|part| name.contains(part))
        || (name.ends_with("_PORT") && value.contains("://"))
}

/// The variable that this name probably misspells.
pub(super) fn likely_variable(name: &str) -> Option<String> {
    let (wanted, known) = (compact(name), known_variables());
    let exact = |wanted: &str| known.iter().find(|(name, _)| name == wanted);
    let synonym = || SYNONYMS.iter().find(|(other, _)| *other == wanted);
    let near = || closest_word(&wanted, known.iter().map(|(name, _)| name.as_str()));
    let found = exact(&wanted).or_else(|| exact(synonym()?.1)).or_else(|| exact(near()?));
    found.map(|(_, variable)| variable.clone())
}

/// The letters and digits of the name, in capitals, with the usual prefix.
fn compact(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|c| c.to_ascii_uppercase()).collect();
    let name = name.strip_prefix("ATTRIBUTE").unwrap_or(&name);
    let name =
        name.strip_prefix("GATEWAY").filter(|own| own.starts_with("GENESYS")).unwrap_or(name);
    let vendor = ["GENESYSCLOUD", "PURECLOUD"].into_iter().find_map(|old| name.strip_prefix(old));
    vendor.map_or_else(|| name.to_owned(), |rest| format!("GENESYS{rest}"))
}

/// Every variable after its compact name, and after a shorter name that people try.
fn known_variables() -> Vec<(String, String)> {
    let plain = keys::PLAIN.iter().map(|(name, _)| *name).chain(["RUST_LOG"]);
    let mut known: Vec<_> = plain.map(|name| (compact(name), name.to_owned())).collect();
    for key in keys::all() {
        let variable = key.variable();
        known.push((compact(&variable), variable.clone()));
        if key.is_from_file() {
            known.push((compact(&variable) + "FILE", format!("{variable}_FILE")));
        }
    }
    for key in keys::all().filter(|key| key.split().1.len() > 3) {
        let name = key.split().1.replace('_', "").to_uppercase();
        known.push((format!("GATEWAY{name}"), key.variable()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(name: &str, value: &str) -> Option<String> {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        find(&env).first().cloned()
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
