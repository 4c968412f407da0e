//! What the simulated platform is like: its credentials, limits, delays and the behaviours that the
//! vendor leaves undocumented. A change takes effect with the next request.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happens to keys that a PATCH does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchSemantics {
    /// They stay: an upsert per key, which everything known about the platform points to.
    #[default]
    Merge,
    /// They are removed.
    Replace,
}

/// What a `null` value in a PATCH does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullHandling {
    /// The whole PATCH is refused with 400.
    #[default]
    Reject,
    /// The key is removed.
    Delete,
    /// The key is left as it is.
    Ignore,
    /// The key gets the empty string.
    StoreEmpty,
}

/// What an empty string in a PATCH does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyHandling {
    /// It is stored and read back as an empty string.
    #[default]
    Store,
    /// The key is removed.
    Delete,
}

/// What a PATCH on an ended conversation meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterEnd {
    /// It is taken as on a live one.
    #[default]
    Accept,
    /// It is refused with 400.
    Reject,
}

/// All settings of the simulator; each can change while it runs.
///
/// As JSON, durations are texts such as `"300ms"`; names that do not exist are refused.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorSettings {
    /// The one OAuth client that exists.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Status of the answer to wrong credentials; reports disagree between 400 and 401.
    pub invalid_client_status: u16,
    /// How long an issued token lives, and what `expires_in` says.
    #[serde(with = "duration_text")]
    pub token_lifetime: Duration,
    /// Time between handling a request of the API and answering it.
    #[serde(with = "duration_text")]
    pub latency: Duration,
    /// Reads show a write of the API only this long after it was applied.
    #[serde(with = "duration_text")]
    pub lag: Duration,
    /// Each write takes up to this much longer to show, at random.
    #[serde(with = "duration_text")]
    pub lag_spread: Duration,
    /// Requests that one token may make a minute, counted in a sliding window of `rate_window`; 429
    /// beyond.
    pub requests_per_minute: Option<u32>,
    /// Length of that window; it holds its share of the minute, rounded down.
    #[serde(with = "duration_text")]
    pub rate_window: Duration,
    /// Requests to the token endpoint in a window of a minute; its own 400 beyond.
    pub token_requests_per_minute: Option<u32>,
    /// Most bytes that a participant's map may take as compact JSON; 400 beyond.
    pub size_limit: Option<usize>,
    /// What happens to keys that a PATCH does not name.
    pub semantics: PatchSemantics,
    /// What a `null` value does.
    pub null: NullHandling,
    /// What an empty string does.
    pub empty: EmptyHandling,
    /// What a PATCH on an ended conversation meets.
    pub after_end: AfterEnd,
    /// Permissions that the OAuth client lacks: 403 for what needs them.
    pub missing_permissions: Vec<String>,
    /// How many seconds the platform's clock, as the `Date` of its answers, is ahead of the true time.
    pub clock_skew_seconds: i64,
    /// Also serve `/conversations/voice/{c}/participants/{p}`, which the real platform does not have.
    pub voice_paths: bool,
    /// How many records the ledger and the list of calls each keep; the oldest go first.
    pub keep_records: usize,
    /// Start of the sequence that tokens and correlation ids are drawn from; read only at the start.
    pub seed: u64,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            client_id: "demo".to_owned(),
            client_secret: "demo-secret".to_owned(),
            invalid_client_status: 400,
            token_lifetime: Duration::from_hours(24),
            latency: Duration::ZERO,
            lag: Duration::ZERO,
            lag_spread: Duration::ZERO,
            requests_per_minute: None,
            rate_window: Duration::from_mins(1),
            token_requests_per_minute: None,
            size_limit: Some(10_240),
            semantics: PatchSemantics::default(),
            null: NullHandling::default(),
            empty: EmptyHandling::default(),
            after_end: AfterEnd::default(),
            missing_permissions: Vec::new(),
            clock_skew_seconds: 0,
            voice_paths: false,
            // Enough for hours of tests, and bounded for a simulator left running under load.
            keep_records: 50_000,
            seed: 0,
        }
    }
}

impl SimulatorSettings {
    /// These settings with the named ones changed; none is changed when one cannot be read.
    pub fn changed(&self, changes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut all {
            fields.extend(changes);
        }
        let settings: Self = serde_json::from_value(all)?;
        if !(400..500).contains(&settings.invalid_client_status) {
            let message = "`invalid_client_status` must be a status from 400 to 499";
            return Err(serde::de::Error::custom(message));
        }
        Ok(settings)
    }

    /// As JSON, without the secret.
    pub fn shown(&self) -> Value {
        let mut all = serde_json::to_value(self).unwrap_or_default();
        all["client_secret"] = Value::from("***");
        all
    }
}

impl fmt::Debug for SimulatorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings {}", self.shown())
    }
}

/// Durations as people write them: `"1s 500ms"`.
pub(super) mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&humantime::format_duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text)
            .map_err(|problem| D::Error::custom(format!("`{text}` is no duration: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(value: &Value) -> Map<String, Value> {
        value.as_object().expect("tests pass objects").clone()
    }

    #[test]
    fn named_settings_change_and_the_others_stay() {
        let settings = SimulatorSettings::default();
        let changed = settings
            .changed(changes(&json!({"lag": "300ms", "null": "delete", "size_limit": null})))
            .expect("all are known");
        let expected = SimulatorSettings {
            lag: Duration::from_millis(300),
            null: NullHandling::Delete,
            size_limit: None,
            ..settings
        };
        assert_eq!(changed, expected);
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused() {
        let settings = SimulatorSettings::default();
        let error = settings.changed(changes(&json!({"lagg": "1s"}))).expect_err("a typo");
        assert!(error.to_string().contains("unknown field `lagg`"), "{error}");
        let error = settings.changed(changes(&json!({"lag": "soon"}))).expect_err("no duration");
        assert!(error.to_string().contains("`soon` is no duration"), "{error}");
        let error =
            settings.changed(changes(&json!({"invalid_client_status": 7}))).expect_err("no status");
        assert!(error.to_string().contains("400 to 499"), "{error}");
    }

    #[test]
    fn the_secret_is_not_printed() {
        let settings =
            SimulatorSettings { client_secret: "hush".to_owned(), ..SimulatorSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
