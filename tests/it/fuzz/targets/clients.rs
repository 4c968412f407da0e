//! Files of clients, as `auth.clients_file` names them, and the rights that they give.
//!
//! An input is such a file.

use std::collections::BTreeSet;

use attribute_gateway::config::ClientEntry;
use attribute_gateway::domain::{
    AccessMode, AttributeKey, AttributeMap, AttributeValue, ClientRights,
};

use super::service::OPEN;

/// Stands for a key that somebody has put where its digest belongs.
const SECRET: &str = "hunter2";

/// Keys of attributes, as they are found.
const KEYS: [&str; 6] = ["crm_id", "crm_secret_pin", "tier", "national_id", " a  b", "*"];

/// Reads the file; the clients in it are known apart, and their rights do not contradict themselves.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match OPEN.auth.all_clients_with(text) {
        Ok(callers) => {
            assert!(!callers.is_empty(), "nobody could call");
            known_apart(&callers);
            for ClientEntry { client, .. } in &callers {
                sound(&client.rights);
            }
            assert!(!text.contains("key_sha256 = \"hunter2"), "no digest");
        }
        Err(error) => {
            let shown = error;
            let of_key = |line: &&str| line.starts_with("key_sha256 = ");
            let in_place = text.matches(SECRET).count() == text.lines().filter(of_key).count();
            assert!(!in_place || !shown.contains(SECRET), "{shown}");
            assert!(!shown.contains('\n'), "more than one line: {shown}");
        }
    }
}

fn known_apart(callers: &[ClientEntry]) {
    let mut seen = BTreeSet::new();
    for ClientEntry { client, keys, certificate } in callers {
        assert!(seen.insert(format!("name {}", client.name)), "two of one name");
        assert!(!keys.is_empty() || certificate.is_some(), "{} cannot be known", client.name);
        for key in keys {
            assert!(seen.insert(format!("key {}", key.to_hex())), "two of one key");
        }
        let others = |subject: &String| {
            let same = |other: &&ClientEntry| other.certificate.as_ref() == Some(subject);
            callers.iter().filter(same).count() - 1
        };
        // Of those who share a certificate, each is known by its key besides.
        let shared = certificate.as_ref().map_or(0, others);
        assert!(shared == 0 || !keys.is_empty(), "two of one certificate");
        assert!((1..=1000).contains(&client.share.get()), "a share of {}", client.share);
        assert!(!format!("{client:?}").contains(SECRET) || client.name.as_str().contains(SECRET));
    }
}

/// Seeing is not being refused, a map shows exactly what is seen, and patterns fit what they must.
fn sound(rights: &ClientRights) {
    let entry = |key: &&str| (AttributeKey::existing(key), AttributeValue::new("x"));
    let map: AttributeMap = KEYS.iter().map(entry).collect();
    let seen = rights.seen(&map);
    for key in KEYS {
        assert_eq!(rights.sees(key), rights.refuses(key).is_none(), "{key}");
        assert_eq!(rights.sees(key), seen.get(key).is_some(), "{key}");
        assert!(!rights.sees_all() || rights.sees(key), "{key}");
        let kept = rights.deny.iter().chain(&rights.hide).any(|pattern| pattern.matches(key));
        let allowed = rights.allow.iter().flatten().any(|pattern| pattern.matches(key));
        assert_eq!(rights.sees(key), !kept && (allowed || rights.allow.is_none()), "{key}");
    }
    assert_eq!(rights.may_write(), rights.access == AccessMode::Write);
}
