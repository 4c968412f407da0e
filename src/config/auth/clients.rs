//! The clients of the configuration and those of `auth.clients_file`.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::AuthConfig;
use crate::config::error::{describe, unreadable};
use crate::config::sources::read_text;
use crate::config::values::{self, Count};
use crate::domain::{
    AccessMode, Client, ClientName, ClientRights, InvalidDigest, KeyDigest, KeyPattern,
    ParticipantSelector,
};

/// Largest clients file that is read; it has room for thousands of clients.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A client and its credentials. `Debug` shows no key.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawClientEntry")]
pub struct ClientEntry {
    /// The client.
    pub client: Client,
    /// Digests of its keys: more than one while a new key replaces an old one.
    pub keys: Vec<KeyDigest>,
    /// Subject of its certificate. If there are keys too, a request needs both.
    pub certificate: Option<String>,
}

/// An entry as written. An unknown key is refused: it could leave a right unlimited.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[auth.clients]], which only a file can hold")]
struct RawClientEntry {
    #[serde(deserialize_with = "values::parsed")]
    name: ClientName,
    #[serde(default, deserialize_with = "digests")]
    key_sha256: Vec<KeyDigest>,
    certificate: Option<String>,
    #[serde(default)]
    access: RawAccess,
    #[serde(default, deserialize_with = "values::list")]
    allow: Option<Vec<KeyPattern>>,
    #[serde(default, deserialize_with = "values::list")]
    deny: Vec<KeyPattern>,
    #[serde(default, deserialize_with = "values::list")]
    hide: Vec<KeyPattern>,
    #[serde(default, deserialize_with = "values::list")]
    participants: Option<Vec<ParticipantSelector>>,
    requests_per_minute: Option<NonZeroU32>,
    /// A larger weight would leave almost nothing to other clients.
    share: Option<Count<1, 1_000>>,
    #[serde(default)]
    operate: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAccess {
    Read,
    #[default]
    Write,
}

impl TryFrom<RawClientEntry> for ClientEntry {
    type Error = String;

    fn try_from(raw: RawClientEntry) -> Result<Self, String> {
        let (keys, certificate) = (raw.key_sha256, raw.certificate);
        if keys.is_empty() && certificate.is_none() {
            return Err("`key_sha256` is missing, and there is no `certificate` either".to_owned());
        }
        let is_subject = |text: &String| text.contains('=') && !text.contains(char::is_control);
        if !certificate.as_ref().is_none_or(is_subject) {
            let example = "such as `CN=crm.example`";
            return Err(format!("`certificate` must be the subject of a certificate, {example}"));
        }
        let rights = ClientRights {
            access: match raw.access {
                RawAccess::Read => AccessMode::Read,
                RawAccess::Write => AccessMode::Write,
            },
            allow: raw.allow,
            deny: raw.deny,
            hide: raw.hide,
            participants: raw.participants,
            operate: raw.operate,
        };
        let share = raw.share.and_then(|share| NonZeroU32::new(share.get()));
        let share = share.unwrap_or(NonZeroU32::MIN);
        let requests_per_minute = raw.requests_per_minute;
        let client = Client { name: raw.name, rights, share, requests_per_minute };
        Ok(Self { client, keys, certificate })
    }
}

/// One digest or a list of them. The message leaves the value out, because it may be a key.
fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyDigest>, D::Error> {
    let texts = match Value::deserialize(deserializer)? {
        Value::Array(texts) => texts,
        text => vec![text],
    };
    let parse = |text: &Value| text.as_str()?.parse().ok();
    let digests: Option<Vec<KeyDigest>> = texts.iter().map(parse).collect();
    digests.filter(|digests| !digests.is_empty()).ok_or_else(|| D::Error::custom(InvalidDigest))
}

/// A file that holds only `[[auth.clients]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsFile {
    #[serde(default)]
    auth: ClientsSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsSection {
    #[serde(default)]
    clients: Vec<ClientEntry>,
}

/// The content of a clients file.
pub fn read_clients(path: &Path) -> Result<String, String> {
    read_text(path, MAX_FILE_BYTES)
}

impl AuthConfig {
    /// All clients: those of the configuration, and those of a file with this text.
    pub fn all_clients_with(&self, text: &str) -> Result<Vec<ClientEntry>, String> {
        let all = [self.clients.clone(), clients_of(text)?].concat();
        if all.is_empty() {
            // An emptied file must neither lock all clients out nor let every program in.
            return Err("names no client".to_owned());
        }
        check_unique(&all).map(|()| all)
    }
}

fn clients_of(text: &str) -> Result<Vec<ClientEntry>, String> {
    let table: Table = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
    let file: Result<ClientsFile, _> = serde_path_to_error::deserialize(table.clone());
    file.map(|file| file.auth.clients).map_err(|error| {
        let (key, message) = describe(&error, &table.into());
        if message.starts_with("unknown field") {
            return format!("`{key}` is not allowed here, only [[auth.clients]] is");
        }
        format!("{key}: {message}")
    })
}

/// Each credential must identify one client. Clients with keys may share a certificate, because
/// their keys identify them.
pub(super) fn check_unique(all: &[ClientEntry]) -> Result<(), String> {
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let (mut subjects, mut alone) = (BTreeSet::new(), BTreeSet::new());
    for ClientEntry { client, keys: own, certificate } in all {
        let name = &client.name;
        if !names.insert(name) {
            return Err(format!("client `{name}` is defined more than once"));
        }
        if own.iter().any(|key| !keys.insert(key.to_hex())) {
            return Err(format!("client `{name}`: `key_sha256` has a key of an earlier client"));
        }
        let Some(subject) = certificate else { continue };
        if own.is_empty() {
            alone.insert(subject);
        }
        if !subjects.insert(subject) && alone.contains(subject) {
            return Err(format!(
                "client `{name}`: `certificate` is that of another client, and one of the two has no key"
            ));
        }
    }
    Ok(())
}
