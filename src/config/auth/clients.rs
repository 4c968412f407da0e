//! The clients of the configuration and those of `auth.clients_file`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ::config::{FileFormat, Map, Source as _, Value, ValueKind};

use super::AuthConfig;
use super::entry::{self, ClientEntry};
use crate::config::layers::without_quotes;
use crate::domain::ClientName;

/// Largest clients file that is read; it has room for thousands of clients.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// All problems of a clients file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsFileError {
    file: String,
    mistakes: Vec<String>,
}

impl fmt::Display for ClientsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.mistakes.join("; "))
    }
}

impl std::error::Error for ClientsFileError {}

/// The content of a clients file.
///
/// # Errors
/// If it cannot be read, or is too long.
pub fn read_clients(path: &Path) -> Result<String, ClientsFileError> {
    let mut text = String::new();
    // Opening a pipe can block forever.
    let regular = std::fs::metadata(path).and_then(|found| {
        if found.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
    });
    let read = regular
        .and_then(|()| File::open(path))
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| ClientsFileError::new(path, vec![format!("cannot be read: {error}")]))?;
    if read as u64 > MAX_FILE_BYTES {
        let mistake = format!("is longer than {MAX_FILE_BYTES} bytes");
        return Err(ClientsFileError::new(path, vec![mistake]));
    }
    Ok(text)
}

impl ClientsFileError {
    /// A client has the public key of the examples.
    pub fn public_key(path: Option<&Path>, client: &ClientName, key: &str) -> Self {
        let mistake = format!(
            "client `{client}` has the public key `{key}` of the examples, which is accepted only in \
             front of a simulator (genesys.api_url); create another key with `attribute-gateway \
             new-key {client}`"
        );
        match path {
            Some(path) => Self::new(path, vec![mistake]),
            None => Self { file: "auth.clients".to_owned(), mistakes: vec![mistake] },
        }
    }

    /// The file has lost all its clients.
    pub fn emptied(path: &Path) -> Self {
        let mistake = "names no client any more; to remove the last one, restart without \
                       auth.clients_file";
        Self::new(path, vec![mistake.to_owned()])
    }

    fn new(path: &Path, mistakes: Vec<String>) -> Self {
        let path = path.display().to_string().replace(char::is_control, "?");
        Self { file: format!("{path} (auth.clients_file)"), mistakes }
    }
}

impl AuthConfig {
    /// All clients: those of the configuration, and those of the file, which is read now.
    ///
    /// # Errors
    /// With all problems of the file, including conflicts with the configuration.
    pub fn all_clients(&self) -> Result<Vec<ClientEntry>, ClientsFileError> {
        match &self.clients_file {
            None => Ok(self.clients.clone()),
            Some(path) => self.all_clients_with(path, &read_clients(path)?),
        }
    }

    /// The same, with `text` as the content of the file.
    ///
    /// # Errors
    /// As for [`AuthConfig::all_clients`].
    pub fn all_clients_with(
        &self,
        path: &Path,
        text: &str,
    ) -> Result<Vec<ClientEntry>, ClientsFileError> {
        let mut mistakes = Vec::new();
        let found = of_file(text, &mut mistakes);
        let all: Vec<_> = self.clients.iter().cloned().chain(found).collect();
        check_unique(&all, &mut mistakes);
        if all.is_empty() && mistakes.is_empty() {
            // An emptied file must neither lock all clients out nor let every program in.
            mistakes.push("names no client".to_owned());
        }
        if mistakes.is_empty() { Ok(all) } else { Err(ClientsFileError::new(path, mistakes)) }
    }
}

/// The clients of a file that holds only `[[auth.clients]]`.
fn of_file(text: &str, mistakes: &mut Vec<String>) -> Vec<ClientEntry> {
    let mut table = match ::config::File::from_str(text, FileFormat::Toml).collect() {
        Ok(table) => table,
        Err(error) => {
            mistakes.push(without_quotes(&error.to_string()));
            return Vec::new();
        }
    };
    let auth = table.remove("auth").map(|auth| auth.kind);
    let mut unknown: Vec<String> = table.into_keys().collect();
    let clients = match auth {
        Some(ValueKind::Table(mut auth)) => {
            let clients = auth.remove("clients");
            unknown.extend(auth.into_keys().map(|key| format!("auth.{key}")));
            clients
        }
        Some(_) => {
            unknown.push("auth".to_owned());
            None
        }
        None => None,
    };
    unknown.sort();
    for key in unknown {
        let key = key.replace(char::is_control, "?");
        mistakes.push(format!("`{key}` is not allowed here, only [[auth.clients]] is"));
    }
    clients.map_or_else(Vec::new, |clients| list(clients, mistakes))
}

/// The clients of the configuration itself.
pub(super) fn of_list(clients: Value, mistakes: &mut Vec<String>) -> Vec<ClientEntry> {
    let found = list(clients, mistakes);
    check_unique(&found, mistakes);
    found
}

fn list(clients: Value, mistakes: &mut Vec<String>) -> Vec<ClientEntry> {
    let ValueKind::Array(items) = clients.kind else {
        let what = "must be tables, [[auth.clients]], which only a file can hold";
        mistakes.push(what.to_owned());
        return Vec::new();
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let table: Option<Map<String, Value>> = match item.kind {
            ValueKind::Table(table) => Some(table),
            _ => None,
        };
        match table {
            Some(table) => found.extend(entry::read(index + 1, table, mistakes)),
            None => mistakes.push(format!("client number {} is not a table", index + 1)),
        }
    }
    found
}

/// Each credential must identify one client. Clients with keys may share a certificate, because
/// their keys identify them.
fn check_unique(all: &[ClientEntry], mistakes: &mut Vec<String>) {
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let (mut subjects, mut alone) = (BTreeSet::new(), BTreeSet::new());
    for ClientEntry { client, keys: own, certificate } in all {
        let name = &client.name;
        if !names.insert(name) {
            mistakes.push(format!("client `{name}` is defined more than once"));
        }
        if own.iter().any(|key| !keys.insert(key.to_hex())) {
            mistakes.push(format!("client `{name}`: `key_sha256` has a key of an earlier client"));
        }
        let Some(subject) = certificate else { continue };
        let is_new = subjects.insert(subject);
        let is_alone = own.is_empty();
        if !is_new && is_alone || alone.contains(subject) {
            mistakes.push(format!(
                "client `{name}`: `certificate` is that of another client, and one of the two has no key"
            ));
        }
        if is_alone {
            alone.insert(subject);
        }
    }
}
