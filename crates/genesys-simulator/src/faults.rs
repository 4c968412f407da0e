//! Scripted faults: the requests that they hit, and how often. A [`FaultAction`] says what then
//! happens; `routes.rs` carries it out.
//!
//! At most one fault hits a request. Faults are asked in the order they were injected; one that
//! still skips counts the request and passes it on to the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::action::FaultAction;

/// What a request is, as far as faults and counts are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
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
pub enum FaultScope {
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
pub struct FaultMatcher {
    /// Of this kind,
    pub kind: FaultScope,
    /// and on this conversation, if one is named.
    pub conversation: Option<String>,
}

impl FaultMatcher {
    fn matches(&self, kind: RequestKind, conversation: Option<&str>) -> bool {
        let kind_matches = match self.kind {
            FaultScope::Any => true,
            FaultScope::Read => kind == RequestKind::Read,
            FaultScope::Patch => kind == RequestKind::Patch,
            FaultScope::Token => kind == RequestKind::Token,
            FaultScope::Analytics => kind == RequestKind::Analytics,
        };
        kind_matches && self.conversation.as_deref().is_none_or(|id| Some(id) == conversation)
    }
}

/// An action with the requests that it is for.
///
/// In JSON, the fields of the action are on the same level as the others:
/// `{"on": {"kind": "patch"}, "times": 2, "action": "throttle", "retry_after": 3}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct ScriptedFault {
    /// Which requests.
    pub on: FaultMatcher,
    /// How many of them pass first.
    pub skip: u32,
    /// How many it hits after that.
    pub times: u32,
    /// What happens to those.
    #[serde(flatten)]
    pub action: FaultAction,
}

impl ScriptedFault {
    /// Hits the next request of any kind.
    pub fn new(action: FaultAction) -> Self {
        Self { on: FaultMatcher::default(), skip: 0, times: 1, action }
    }

    /// Hits the next read of a conversation.
    pub fn on_read(action: FaultAction) -> Self {
        Self::new(action).on(FaultScope::Read)
    }

    /// Hits the next PATCH.
    pub fn on_patch(action: FaultAction) -> Self {
        Self::new(action).on(FaultScope::Patch)
    }

    /// Hits the next request for a token.
    pub fn on_token(action: FaultAction) -> Self {
        Self::new(action).on(FaultScope::Token)
    }

    /// Hits the next details query.
    pub fn on_analytics(action: FaultAction) -> Self {
        Self::new(action).on(FaultScope::Analytics)
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn on(mut self, kind: FaultScope) -> Self {
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

impl TryFrom<Map<String, Value>> for ScriptedFault {
    type Error = serde_json::Error;

    /// By hand, because a derived `flatten` would let misspelt fields pass.
    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut take = |name: &str| fields.remove(name);
        let on = take("on").map(serde_json::from_value).transpose()?.unwrap_or_default();
        let skip = take("skip").map(serde_json::from_value).transpose()?.unwrap_or(0);
        let times = take("times").map(serde_json::from_value).transpose()?.unwrap_or(1);
        let action: FaultAction = serde_json::from_value(Value::Object(fields))?;
        action.check()?;
        Ok(Self { on, skip, times, action })
    }
}

/// The faults still to come.
#[derive(Default)]
pub(super) struct FaultScript {
    armed: Vec<ArmedFault>,
}

struct ArmedFault {
    fault: ScriptedFault,
    random: fastrand::Rng,
}

impl FaultScript {
    pub(super) fn inject(&mut self, fault: ScriptedFault) {
        let seed = if let FaultAction::Random { seed, .. } = fault.action { seed } else { 0 };
        self.armed.push(ArmedFault { fault, random: fastrand::Rng::with_seed(seed) });
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The faults that can still hit, with their remaining counts.
    pub(super) fn left(&self) -> impl Iterator<Item = &ScriptedFault> {
        self.armed.iter().map(|armed| &armed.fault)
    }

    /// What is to happen to this request, and counts it.
    pub(super) fn strike(
        &mut self,
        kind: RequestKind,
        conversation: Option<&str>,
    ) -> Option<FaultAction> {
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
        let mut script = FaultScript::default();
        script.inject(ScriptedFault::on_patch(FaultAction::Hang).skip(1).times(2));
        let mut strike = |kind| script.strike(kind, None);
        assert_eq!(strike(RequestKind::Read), None);
        assert_eq!(strike(RequestKind::Patch), None);
        assert_eq!(strike(RequestKind::Patch), Some(FaultAction::Hang));
        assert_eq!(strike(RequestKind::Patch), Some(FaultAction::Hang));
        assert_eq!(strike(RequestKind::Patch), None);
        assert_eq!(script.left().count(), 0);
    }

    #[test]
    fn one_fault_hits_at_a_time_in_order() {
        let mut script = FaultScript::default();
        script.inject(ScriptedFault::new(FaultAction::Hang).conversation("c"));
        script.inject(ScriptedFault::new(FaultAction::Html));
        script.inject(ScriptedFault::new(FaultAction::GarbageJson));
        assert_eq!(script.strike(RequestKind::Read, Some("c")), Some(FaultAction::Hang));
        assert_eq!(script.strike(RequestKind::Read, Some("c")), Some(FaultAction::Html));
        assert_eq!(script.strike(RequestKind::Token, None), Some(FaultAction::GarbageJson));
    }

    #[test]
    fn random_faults_repeat_with_their_seed_at_their_rate() {
        let run = |seed| {
            let mut script = FaultScript::default();
            let among = vec![FaultAction::Hang, FaultAction::Html];
            script.inject(
                ScriptedFault::new(FaultAction::Random { percent: 30, seed, among }).always(),
            );
            (0..1000).map(|_| script.strike(RequestKind::Read, None)).collect::<Vec<_>>()
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
        let fault: ScriptedFault = serde_json::from_value(text.clone()).expect("well formed");
        let after = Duration::from_millis(1500);
        let expected = ScriptedFault::on_patch(FaultAction::ApplyLate { after })
            .conversation("c")
            .skip(1)
            .times(2);
        assert_eq!(fault, expected);
        assert_eq!(json!(fault), text);
    }

    #[test]
    fn misspelt_faults_are_refused() {
        let refused = |value: Value| {
            serde_json::from_value::<ScriptedFault>(value).expect_err("misspelt").to_string()
        };
        let text = refused(json!({"action": "throttle", "retry_aftre": 3}));
        assert!(text.contains("unknown field `retry_aftre`"), "{text}");
        let text = refused(json!({"action": "explode"}));
        assert!(text.contains("unknown variant `explode`"), "{text}");
        let text = refused(json!({"action": "status", "code": 99}));
        assert!(text.contains("`99` is no status"), "{text}");
    }
}
