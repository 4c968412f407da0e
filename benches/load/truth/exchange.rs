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

/// How often a client asks while gateways are down, and how long it waits in between.
const MOST_TRIES: usize = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Until a client looks again what became of an accepted write.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What is asked.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of a request, free of the others"
)]
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
    /// With it, the client repeats a request that was cut off.
    pub idempotency_key: Option<String>,
    /// The client hands the write over and looks later what became of it.
    pub hand_over: bool,
    /// Which gateway is asked first, if there are several.
    pub replica: usize,
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
            idempotency_key: None,
            hand_over: false,
            replica: 0,
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
        let gateway = &stack.gateways[self.replica % stack.gateways.len()];
        let base = format!("{gateway}/v1/conversations/{}/attributes", self.conversation);
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
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if self.hand_over {
            request = request.header("prefer", "respond-async");
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

    /// Asks, and asks the next gateway where a balancer or a careful client would.
    async fn answer(&mut self, stack: &Stack) -> (u64, reqwest::Result<reqwest::Response>) {
        let mut tries = 0;
        loop {
            let sent = stack.now();
            let answer = self.request(stack).send().await;
            tries += 1;
            let again = |error: &reqwest::Error| {
                stack.gateways.len() > 1
                    && tries < MOST_TRIES
                    && (error.is_connect() || self.idempotency_key.is_some())
            };
            if !answer.as_ref().is_err_and(again) {
                return (sent, answer);
            }
            self.replica += 1;
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Asks, and waits for the answer.
    pub async fn send(mut self, stack: &Stack) -> ClientAnswer {
        let start = stack.now();
        let (sent, answer) = self.answer(stack).await;
        let mut received = ClientAnswer {
            ask: self,
            start,
            sent,
            end: start,
            accepted: None,
            operation: None,
            status: 0,
            etag: None,
            retry_after: None,
            body: Value::Null,
        };
        if let Ok(answer) = answer {
            received.status = answer.status().as_u16();
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            received.etag = header("etag");
            received.operation = header("location");
            received.retry_after = header("retry-after").and_then(|text| text.parse().ok());
            received.body = match answer.bytes().await {
                Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                Err(_) => Value::Null,
            };
        }
        received.end = stack.now();
        received.ask.replica %= stack.gateways.len();
        received
    }
}

/// What was answered. A status of 0 is no answer.
#[derive(Clone, Debug)]
pub struct ClientAnswer {
    pub ask: Ask,
    /// Before it was sent, in the platform's microseconds.
    pub start: u64,
    /// Before it was sent for the last time.
    pub sent: u64,
    /// When the write was accepted, to be made later.
    pub accepted: Option<u64>,
    /// The path of the operation that will tell what became of it.
    pub operation: Option<String>,
    /// After the answer had come.
    pub end: u64,
    pub status: u16,
    pub etag: Option<String>,
    pub retry_after: Option<u64>,
    pub body: Value,
}

impl ClientAnswer {
    /// Waits until an accepted write has ended, and takes the answer that it led to. A status of 0: it does not end.
    pub async fn ended(mut self, stack: &Stack) -> Self {
        self.accepted = Some(self.end);
        self.status = 0;
        let path = self.operation.clone().unwrap_or_default();
        let give_up = tokio::time::Instant::now() + GIVE_UP;
        for number in 0.. {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            if tokio::time::Instant::now() > give_up {
                break;
            }
            let url = format!("{}{path}", stack.gateways[number % stack.gateways.len()]);
            let Ok(answer) = stack.client.get(url).timeout(GIVE_UP).send().await else { continue };
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.unwrap_or_default();
            let shown: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let state = shown["state"].as_str().unwrap_or_default();
            if status == 404 {
                break;
            }
            if !matches!(state, "done" | "failed" | "expired" | "cancelled") {
                continue;
            }
            self.body = shown["result"]["body"].clone();
            self.status =
                shown["result"]["status"].as_u64().and_then(|s| s.try_into().ok()).unwrap_or(599);
            break;
        }
        self.end = stack.now();
        self
    }

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
            "{:?} by gateway {} {} {} at {:.3} s, answered {} after {} ms",
            self.ask.form,
            self.ask.replica,
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
            (", repeated", self.sent != self.start),
            (", handed over", self.accepted.is_some()),
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
