//! The clients of the configuration and those of `auth.clients_file`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Value;

use super::AuthConfig;
use crate::config::error::{describe, printable};
use crate::config::sources::parse_toml;
use crate::config::values;
use crate::domain::{
    AccessMode, Client, ClientName, ClientRights, InvalidDigest, KeyDigest, KeyPattern,
    ParticipantSelector,
};

/// Largest clients file that is read; it has room for thousands of clients.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Largest weight: a larger one would leave almost nothing to other clients.
const MAX_SHARE: u32 = 1000;

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
    #[serde(default, deserialize_with = "optional_list")]
    allow: Option<Vec<KeyPattern>>,
    #[serde(default, deserialize_with = "values::list")]
    deny: Vec<KeyPattern>,
    #[serde(default, deserialize_with = "values::list")]
    hide: Vec<KeyPattern>,
    #[serde(default, deserialize_with = "optional_list")]
    participants: Option<Vec<ParticipantSelector>>,
    requests_per_minute: Option<NonZeroU32>,
    share: Option<NonZeroU32>,
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
        let share = raw.share.unwrap_or(NonZeroU32::MIN);
        if share.get() > MAX_SHARE {
            return Err(format!("`share` must be a whole number from 1 to {MAX_SHARE}"));
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
        };
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

fn optional_list<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    values::list(deserializer).map(Some)
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

/// Why a clients file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct ClientsFileError {
    file: String,
    message: String,
}

/// The content of a clients file.
pub fn read_clients(path: &Path) -> Result<String, ClientsFileError> {
    let mut text = String::new();
    // Opening a pipe can block forever.
    let regular = std::fs::metadata(path).and_then(|found| {
        if found.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
    });
    let read = regular
        .and_then(|()| File::open(path))
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| ClientsFileError::new(path, format!("cannot be read: {error}")))?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(ClientsFileError::new(path, format!("is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

impl ClientsFileError {
    /// A client has the public key of the examples.
    pub fn public_key(path: Option<&Path>, client: &ClientName, key: &str) -> Self {
        let message = format!(
            "client `{client}` has the public key `{key}` of the examples, which is accepted only in \
             front of a simulator (genesys.api_url); create another key with `attribute-gateway \
             new-key {client}`"
        );
        match path {
            Some(path) => Self::new(path, message),
            None => Self { file: "auth.clients".to_owned(), message },
        }
    }

    /// The file has lost all its clients.
    pub fn emptied(path: &Path) -> Self {
        let message = "names no client any more; to remove the last one, restart without \
                       auth.clients_file";
        Self::new(path, message.to_owned())
    }

    fn new(path: &Path, message: String) -> Self {
        let path = printable(&path.display().to_string());
        Self { file: format!("{path} (auth.clients_file)"), message }
    }
}

impl AuthConfig {
    /// All clients: those of the configuration, and those of the file at `path` with this text.
    pub fn all_clients_with(
        &self,
        path: &Path,
        text: &str,
    ) -> Result<Vec<ClientEntry>, ClientsFileError> {
        let found = clients_of(text).map_err(|message| ClientsFileError::new(path, message))?;
        let all: Vec<_> = self.clients.iter().cloned().chain(found).collect();
        if all.is_empty() {
            // An emptied file must neither lock all clients out nor let every program in.
            return Err(ClientsFileError::new(path, "names no client".to_owned()));
        }
        match check_unique(&all) {
            Ok(()) => Ok(all),
            Err(message) => Err(ClientsFileError::new(path, message)),
        }
    }
}

fn clients_of(text: &str) -> Result<Vec<ClientEntry>, String> {
    let tree = Value::Table(parse_toml(text)?);
    let file: Result<ClientsFile, _> = serde_path_to_error::deserialize(tree.clone());
    file.map(|file| file.auth.clients).map_err(|error| {
        let (key, message) = describe(&error, &tree);
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
