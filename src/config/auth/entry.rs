//! One client entry of the configuration.

use std::num::NonZeroU32;
use std::str::FromStr;

use ::config::{Map, Value, ValueKind};

use crate::domain::{
    AccessMode, Client, ClientName, ClientRights, KeyDigest, KeyPattern, ParticipantSelector,
};

/// Every key of an entry.
const KEYS: [&str; 10] = [
    "name",
    "key_sha256",
    "certificate",
    "access",
    "allow",
    "deny",
    "hide",
    "participants",
    "requests_per_minute",
    "share",
];

/// Largest weight: a larger one would leave almost nothing to other clients.
const MAX_SHARE: u32 = 1000;

/// A client and its credentials. `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct ClientEntry {
    /// The client.
    pub client: Client,
    /// Digests of its keys: more than one while a new key replaces an old one.
    pub keys: Vec<KeyDigest>,
    /// Subject of its certificate. If there are keys too, a request needs both.
    pub certificate: Option<String>,
}

/// Reads the entry at this position of the list, counted from 1. `None` if its name is invalid.
pub(super) fn read(
    position: usize,
    table: Map<String, Value>,
    mistakes: &mut Vec<String>,
) -> Option<ClientEntry> {
    let name = table.get("name").and_then(text).map(str::parse::<ClientName>);
    let label = match &name {
        Some(Ok(name)) => format!("client `{name}`"),
        _ => format!("client number {position}"),
    };
    let mut entry = RawClientEntry { label, table, mistakes };
    let name = match name {
        Some(Ok(name)) => Some(name),
        Some(Err(invalid)) => {
            entry.mistake("name", &invalid.to_string());
            None
        }
        None => {
            entry.mistake("name", "is missing or not a text");
            None
        }
    };
    entry.check_names();
    let (keys, certificate) = (entry.keys(), entry.certificate());
    let rights = ClientRights {
        access: entry.access(),
        allow: entry.list::<KeyPattern>("allow"),
        deny: entry.list::<KeyPattern>("deny").unwrap_or_default(),
        hide: entry.list::<KeyPattern>("hide").unwrap_or_default(),
        participants: entry.list::<ParticipantSelector>("participants"),
    };
    let requests_per_minute = entry.number("requests_per_minute", u32::MAX);
    let share = entry.number("share", MAX_SHARE).unwrap_or(NonZeroU32::MIN);
    let client = Client { name: name?, rights, share, requests_per_minute };
    Some(ClientEntry { client, keys, certificate })
}

struct RawClientEntry<'a> {
    label: String,
    table: Map<String, Value>,
    mistakes: &'a mut Vec<String>,
}

impl RawClientEntry<'_> {
    fn mistake(&mut self, key: &str, what: &str) {
        self.mistakes.push(format!("{}: `{key}` {what}", self.label));
    }

    /// Rejects unknown keys: a misspelt one would silently leave a right unlimited.
    fn check_names(&mut self) {
        let known = |name: &String| KEYS.contains(&name.as_str());
        let mut unknown: Vec<String> =
            self.table.keys().filter(|name| !known(name)).cloned().collect();
        unknown.sort();
        for name in unknown {
            self.mistake(&name.replace(char::is_control, "?"), "is an unknown key");
        }
        if !["key_sha256", "certificate"].iter().any(|name| self.table.contains_key(*name)) {
            self.mistake("key_sha256", "is missing, and there is no `certificate` either");
        }
    }

    fn keys(&mut self) -> Vec<KeyDigest> {
        let texts = match self.table.get("key_sha256") {
            None => return Vec::new(),
            // More than one, so that a client can change its key when it is ready.
            Some(Value { kind: ValueKind::Array(items), .. }) => items.iter().map(text).collect(),
            Some(value) => text(value).map(|text| vec![text]),
        };
        let parsed = |texts: Vec<&str>| texts.into_iter().map(KeyDigest::from_str).collect();
        let keys: Option<Result<Vec<_>, _>> = texts.map(parsed);
        match keys {
            Some(Ok(keys)) if !keys.is_empty() => keys,
            // The message leaves the value out, because it may be a key.
            Some(_) | None => {
                self.mistake("key_sha256", &crate::domain::InvalidDigest.to_string());
                Vec::new()
            }
        }
    }

    fn certificate(&mut self) -> Option<String> {
        let subject = text(self.table.get("certificate")?);
        let is_subject =
            |subject: &&str| subject.contains('=') && !subject.chars().any(char::is_control);
        if let Some(subject) = subject.filter(is_subject) {
            return Some(subject.to_owned());
        }
        self.mistake(
            "certificate",
            "must be the subject of a certificate, such as `CN=crm.example`",
        );
        None
    }

    fn access(&mut self) -> AccessMode {
        match self.table.get("access").map(text) {
            None | Some(Some("write")) => AccessMode::Write,
            Some(Some("read")) => AccessMode::Read,
            Some(_) => {
                self.mistake("access", "must be `read` or `write`");
                AccessMode::Read
            }
        }
    }

    /// A list of parsed texts; `None` if it is absent.
    fn list<T: FromStr<Err: std::fmt::Display>>(&mut self, key: &str) -> Option<Vec<T>> {
        let Some(Value { kind: ValueKind::Array(items), .. }) = self.table.get(key) else {
            if self.table.contains_key(key) {
                self.mistake(key, "must be a list of texts");
            }
            return None;
        };
        let (mut parsed, mut wrong) = (Vec::new(), Vec::new());
        for item in items {
            match text(item).map(|text| (text, text.parse())) {
                Some((_, Ok(item))) => parsed.push(item),
                Some((text, Err(error))) => {
                    wrong.push(format!("has `{}`: {error}", text.escape_debug()));
                }
                None => wrong.push("must be a list of texts".to_owned()),
            }
        }
        for what in &wrong {
            self.mistake(key, what);
        }
        Some(parsed)
    }

    fn number(&mut self, key: &str, max: u32) -> Option<NonZeroU32> {
        let value = self.table.get(key)?;
        let number = match value.kind {
            ValueKind::I64(number) => u32::try_from(number).ok(),
            _ => None,
        };
        let number = number.filter(|number| *number <= max).and_then(NonZeroU32::new);
        if number.is_none() {
            self.mistake(key, &format!("must be a whole number from 1 to {max}"));
        }
        number
    }
}

fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}
