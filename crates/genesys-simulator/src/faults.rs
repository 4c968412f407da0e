//! Scripted misbehaviour: which requests it hits and how often. What then happens is an [`Action`],
//! and acting on it is the business of the request's course in `routes.rs`.
//!
//! At most one fault hits a request. Faults are asked in the order they were injected; one that
//! still skips counts the request and passes it on to the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::action::Action;

/// What a request is, as far as faults and counts are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `POST /oauth/token`.
    Token,
    /// A GET of one conversation.
    Read,
    /// A PATCH of attributes.
    Patch,
    /// The details query.
    Analytics,
    /// Anything else.
    Other,
}

/// The kinds that a fault is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Reads of a conversation.
    Read,
    /// The PATCH of attributes.
    Patch,
    /// The token endpoint.
    Token,
    /// The details query.
    Analytics,
    /// Every request.
    #[default]
    Any,
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// Of this kind,
    pub kind: On,
    /// and on this conversation, if one is named.
    pub conversation: Option<String>,
}

impl Matcher {
    fn matches(&self, kind: Kind, conversation: Option<&str>) -> bool {
        let kind_matches = match self.kind {
            On::Any => true,
            On::Read => kind == Kind::Read,
            On::Patch => kind == Kind::Patch,
            On::Token => kind == Kind::Token,
            On::Analytics => kind == Kind::Analytics,
        };
        kind_matches && self.conversation.as_deref().is_none_or(|id| Some(id) == conversation)
    }
}

/// An action with the requests that it is for.
///
/// As JSON the fields of the action stand beside the others:
/// `{"on": {"kind": "patch"}, "times": 2, "action": "throttle", "retry_after": 3}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Fault {
    /// Which requests.
    pub on: Matcher,
    /// How many of them pass first.
    pub skip: u32,
    /// How many it hits after that.
    pub times: u32,
    /// What happens to those.
    #[serde(flatten)]
    pub action: Action,
}

impl Fault {
    /// Hits the next request, whatever it is.
    pub fn new(action: Action) -> Self {
        Self { on: Matcher::default(), skip: 0, times: 1, action }
    }

    /// Hits the next read of a conversation.
    pub fn on_read(action: Action) -> Self {
        Self::new(action).on(On::Read)
    }

    /// Hits the next PATCH.
    pub fn on_patch(action: Action) -> Self {
        Self::new(action).on(On::Patch)
    }

    /// Hits the next request for a token.
    pub fn on_token(action: Action) -> Self {
        Self::new(action).on(On::Token)
    }

    /// Hits the next details query.
    pub fn on_analytics(action: Action) -> Self {
        Self::new(action).on(On::Analytics)
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn on(mut self, kind: On) -> Self {
        self.on.kind = kind;
        self
    }

    /// Only requests on this conversation.
    #[must_use]
    pub fn conversation(mut self, id: impl std::fmt::Display) -> Self {
        self.on.conversation = Some(id.to_string());
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Hits this many.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.times = requests;
        self
    }

    /// Hits all of them.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }
}

impl TryFrom<Map<String, Value>> for Fault {
    type Error = serde_json::Error;

    /// By hand, because a derived `flatten` would let misspelt fields pass.
    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut take = |name: &str| fields.remove(name);
        let on = take("on").map(serde_json::from_value).transpose()?.unwrap_or_default();
        let skip = take("skip").map(serde_json::from_value).transpose()?.unwrap_or(0);
        let times = take("times").map(serde_json::from_value).transpose()?.unwrap_or(1);
        let action: Action = serde_json::from_value(Value::Object(fields))?;
        action.check()?;
        Ok(Self { on, skip, times, action })
    }
}

/// The faults still to come.
#[derive(Default)]
pub(super) struct Script {
    armed: Vec<Armed>,
}

struct Armed {
    fault: Fault,
    random: fastrand::Rng,
}

impl Script {
    pub(super) fn inject(&mut self, fault: Fault) {
        let seed = if let Action::Random { seed, .. } = fault.action { seed } else { 0 };
        self.armed.push(Armed { fault, random: fastrand::Rng::with_seed(seed) });
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The faults that can still hit, with their remaining counts.
    pub(super) fn left(&self) -> impl Iterator<Item = &Fault> {
        self.armed.iter().map(|armed| &armed.fault)
    }

    /// What is to happen to this request, and counts it.
    pub(super) fn strike(&mut self, kind: Kind, conversation: Option<&str>) -> Option<Action> {
        let struck = self.armed.iter_mut().find_map(|armed| {
            let fault = &mut armed.fault;
            if fault.times == 0 || !fault.on.matches(kind, conversation) {
                return None;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return None;
            }
            let action = fault.action.chosen(&mut armed.random)?;
            // `always` is not counted down, or a long soak test would use it up.
            if fault.times < u32::MAX {
                fault.times -= 1;
            }
            Some(action)
        });
        self.armed.retain(|armed| armed.fault.times > 0);
        struck
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_skips_then_hits_then_is_gone() {
        let mut script = Script::default();
        script.inject(Fault::on_patch(Action::Hang).skip(1).times(2));
        let mut strike = |kind| script.strike(kind, None);
        assert_eq!(strike(Kind::Read), None);
        assert_eq!(strike(Kind::Patch), None);
        assert_eq!(strike(Kind::Patch), Some(Action::Hang));
        assert_eq!(strike(Kind::Patch), Some(Action::Hang));
        assert_eq!(strike(Kind::Patch), None);
        assert_eq!(script.left().count(), 0);
    }

    #[test]
    fn one_fault_hits_at_a_time_in_order() {
        let mut script = Script::default();
        script.inject(Fault::new(Action::Hang).conversation("c"));
        script.inject(Fault::new(Action::Html));
        script.inject(Fault::new(Action::GarbageJson));
        assert_eq!(script.strike(Kind::Read, Some("c")), Some(Action::Hang));
        assert_eq!(script.strike(Kind::Read, Some("c")), Some(Action::Html));
        assert_eq!(script.strike(Kind::Token, None), Some(Action::GarbageJson));
    }

    #[test]
    fn random_faults_repeat_with_their_seed_and_hit_as_often_as_told() {
        let run = |seed| {
            let mut script = Script::default();
            let among = vec![Action::Hang, Action::Html];
            script.inject(Fault::new(Action::Random { percent: 30, seed, among }).always());
            (0..1000).map(|_| script.strike(Kind::Read, None)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let hits = run(7).iter().flatten().count();
        assert!((240..360).contains(&hits), "{hits}");
    }

    #[test]
    fn faults_are_written_flat_and_read_back() {
        let text = json!({
            "on": {"kind": "patch", "conversation": "c"}, "skip": 1, "times": 2,
            "action": "apply_late", "after": "1s 500ms",
        });
        let fault: Fault = serde_json::from_value(text.clone()).expect("well formed");
        let after = Duration::from_millis(1500);
        let expected =
            Fault::on_patch(Action::ApplyLate { after }).conversation("c").skip(1).times(2);
        assert_eq!(fault, expected);
        assert_eq!(json!(fault), text);
    }

    #[test]
    fn misspelt_faults_are_refused() {
        let refused = |value: Value| {
            serde_json::from_value::<Fault>(value).expect_err("misspelt").to_string()
        };
        let text = refused(json!({"action": "throttle", "retry_aftre": 3}));
        assert!(text.contains("unknown field `retry_aftre`"), "{text}");
        let text = refused(json!({"action": "explode"}));
        assert!(text.contains("unknown variant `explode`"), "{text}");
        let text = refused(json!({"action": "status", "code": 99}));
        assert!(text.contains("`99` is no status"), "{text}");
    }
}
