//! One request to the gateway and what it was answered, with the platform's time of both ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::stack::{CUSTOMER, Stack};

/// The gateway's own deadline, if a request names none.
pub const DEADLINE_MS: u64 = 5_000;

/// After this time nothing comes any more, and the gateway has broken its word in the worst way.
const GIVE_UP: Duration = Duration::from_secs(90);

/// How a write is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `PUT` of a map.
    Put,
    /// `PATCH` of a map, where `null` clears.
    Patch,
    /// `PUT` or `DELETE` of the one key.
    Single,
    /// `GET`.
    Read,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub conversation: String,
    pub form: Form,
    /// Key and wanted value; `""` clears.
    pub keys: Vec<(String, String)>,
    /// The participant is named by its UUID, and not as `customer`.
    pub by_uuid: bool,
    pub dry_run: bool,
    pub no_verify: bool,
    pub if_match: Option<String>,
    /// Seconds that the client waits, if it says so.
    pub wait: Option<u64>,
    pub api_key: Option<String>,
    /// Its id, if it is to be found in the log.
    pub id: Option<String>,
}

impl Ask {
    /// A verified write by `PUT`.
    pub fn put(conversation: &str, keys: Vec<(String, String)>) -> Self {
        Self {
            conversation: conversation.to_owned(),
            form: Form::Put,
            keys,
            by_uuid: false,
            dry_run: false,
            no_verify: false,
            if_match: None,
            wait: None,
            api_key: None,
            id: None,
        }
    }

    /// A read of the customer's attributes.
    pub fn get(conversation: &str) -> Self {
        Self { form: Form::Read, ..Self::put(conversation, Vec::new()) }
    }

    /// How long the gateway has for it, in milliseconds.
    pub fn deadline_ms(&self) -> u64 {
        self.wait.map_or(DEADLINE_MS, |seconds| seconds * 1000)
    }

    /// Whether the client waits less than the gateway would by itself. Fewer of these succeed.
    pub fn is_short(&self) -> bool {
        self.deadline_ms() < DEADLINE_MS
    }

    fn request(&self, stack: &Stack) -> reqwest::RequestBuilder {
        let base = format!("{}/v1/conversations/{}/attributes", stack.gateway, self.conversation);
        let first = self.keys.first();
        let (method, path, body) = match (self.form, first) {
            (Form::Single, Some((key, value))) if value.is_empty() => {
                ("DELETE", format!("{base}/{key}"), None)
            }
            (Form::Single, Some((key, value))) => {
                ("PUT", format!("{base}/{key}"), Some(json!({"key": key, "value": value})))
            }
            (Form::Read, _) => ("GET", base, None),
            (Form::Patch, _) => ("PATCH", base, Some(self.map(&Value::Null))),
            (Form::Put | Form::Single, _) => ("PUT", base, Some(self.map(&json!("")))),
        };
        let method = method.parse().unwrap_or_default();
        let mut request = stack.client.request(method, path + &self.query());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(tag) = &self.if_match {
            request = request.header("if-match", tag);
        }
        if let Some(wait) = self.wait {
            request = request.header("prefer", format!("wait={wait}"));
        }
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key);
        }
        if let Some(id) = &self.id {
            request = request.header("x-request-id", id);
        }
        request.timeout(GIVE_UP)
    }

    fn map(&self, clear: &Value) -> Value {
        let member = |(key, value): &(String, String)| {
            (key.clone(), if value.is_empty() { clear.clone() } else { json!(value) })
        };
        let map: serde_json::Map<_, _> = self.keys.iter().map(member).collect();
        json!({ "attributes": map })
    }

    fn query(&self) -> String {
        let mut query =
            format!("?participant={}", if self.by_uuid { CUSTOMER } else { "customer" });
        if self.dry_run {
            query += "&dryRun=true";
        }
        if self.no_verify {
            query += "&verify=none";
        }
        query
    }

    /// Asks, and waits for the answer.
    pub async fn send(self, stack: &Stack) -> ClientAnswer {
        let request = self.request(stack);
        let start = stack.now();
        let mut received = ClientAnswer {
            ask: self,
            start,
            end: start,
            status: 0,
            etag: None,
            retry_after: None,
            body: Value::Null,
        };
        if let Ok(answer) = request.send().await {
            received.status = answer.status().as_u16();
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            received.etag = header("etag");
            received.retry_after = header("retry-after").and_then(|text| text.parse().ok());
            received.body = match answer.bytes().await {
                Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                Err(_) => Value::Null,
            };
        }
        received.end = stack.now();
        received
    }
}

/// What was answered. A status of 0 is no answer.
#[derive(Clone, Debug)]
pub struct ClientAnswer {
    pub ask: Ask,
    /// Before it was sent, in the platform's microseconds.
    pub start: u64,
    /// After the answer had come.
    pub end: u64,
    pub status: u16,
    pub etag: Option<String>,
    pub retry_after: Option<u64>,
    pub body: Value,
}

impl ClientAnswer {
    /// The problem's code, or nothing.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// What was said of one key.
    pub fn outcome(&self, key: &str) -> Option<&str> {
        self.body["outcomes"][key].as_str()
    }

    /// Whether a warning with these words names this key.
    pub fn warns_of(&self, words: &str, key: &str) -> bool {
        let warnings = self.body["warnings"].as_array().into_iter().flatten();
        let mut texts = warnings.filter_map(Value::as_str);
        texts.any(|text| text.contains(words) && text.contains(&format!("`{key}`")))
    }

    pub fn is_write(&self) -> bool {
        self.ask.form != Form::Read
    }

    /// Whether the answer to a write says that all of it is in place.
    pub fn is_proved(&self) -> bool {
        let good = ["verified", "unchanged", "cleared"];
        let proved = |(key, _): &(String, String)| {
            self.outcome(key).is_some_and(|outcome| good.contains(&outcome))
        };
        self.status == 200 && self.ask.keys.iter().all(proved)
    }

    /// In a line, for the example of a kind of mistake.
    pub fn describe(&self) -> String {
        let keys: Vec<_> = self.ask.keys.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        let mut text = format!(
            "{:?} {} {} at {:.3} s, answered {} after {} ms",
            self.ask.form,
            self.ask.conversation.rsplit('-').next().unwrap_or_default(),
            keys.join(" "),
            Duration::from_micros(self.start).as_secs_f64(),
            self.status,
            self.end.saturating_sub(self.start) / 1000,
        );
        for (name, is_set) in [
            (", dryRun", self.ask.dry_run),
            (", verify=none", self.ask.no_verify),
            (", If-Match", self.ask.if_match.is_some()),
            (", by UUID", self.ask.by_uuid),
        ] {
            text.push_str(if is_set { name } else { "" });
        }
        for name in ["code", "effect", "outcomes", "warnings", "verification"] {
            if !self.body[name].is_null() {
                text.extend([", ", name, " ", &self.body[name].to_string()]);
            }
        }
        text
    }
}
