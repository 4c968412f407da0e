//! The upstream endpoints for reads and writes.

use std::str::FromStr;

const CONVERSATION: &str = "conversationId";
const PARTICIPANT: &str = "participantId";

/// The upstream endpoints for reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamRoute {
    /// `/api/v2/conversations/…`, any media.
    Conversations,
    /// `/api/v2/conversations/calls/…`, voice only.
    Calls,
    /// Paths that the operator configured.
    Custom(CustomRoute),
}

/// Path templates of [`UpstreamRoute::Custom`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRoute {
    /// GET of one participant; holds both ids.
    pub participant: PathTemplate,
    /// PATCH of the attributes; holds both ids.
    pub attributes: PathTemplate,
    /// GET of the conversation; holds the conversation id only.
    pub conversation: Option<PathTemplate>,
}

/// A URL path with `{conversationId}` and `{participantId}` in it, below the base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(String);

impl PathTemplate {
    /// The template as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the template holds exactly the ids that the endpoint needs.
    pub(super) fn check(&self, needs_participant: bool) -> Result<(), &'static str> {
        let conversation = self.0.contains(&format!("{{{CONVERSATION}}}"));
        let participant = self.0.contains(&format!("{{{PARTICIPANT}}}"));
        match (needs_participant, conversation, participant) {
            (true, true, true) | (false, true, false) => Ok(()),
            (true, _, _) => Err("must hold {conversationId} and {participantId}"),
            (false, _, _) => Err("must hold {conversationId} and no {participantId}"),
        }
    }
}

impl FromStr for PathTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') || text.contains("//") {
            return Err("must be a path that begins with a single `/`".to_owned());
        }
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("must not have `.` or `..` as a segment".to_owned());
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            path_characters(&rest[..at])?;
            let Some((name, after)) = rest[at..].strip_prefix('{').and_then(|t| t.split_once('}'))
            else {
                return Err("has an unmatched brace".to_owned());
            };
            if ![CONVERSATION, PARTICIPANT].contains(&name) {
                return Err(format!(
                    "must hold only {{conversationId}} and {{participantId}}, not `{{{name}}}`"
                ));
            }
            rest = after;
        }
        path_characters(rest)?;
        Ok(Self(text.to_owned()))
    }
}

fn path_characters(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
    match text.chars().find(|&c| !allowed(c)) {
        Some(other) => {
            Err(format!("must be a path without a query; it must not contain `{other}`"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_for_participants_holds_both_ids() {
        let template: PathTemplate =
            "/v1/{conversationId}/of/{participantId}".parse().expect("a template");
        assert_eq!(template.check(true), Ok(()));
        assert!(template.check(false).is_err());
    }

    #[test]
    fn invalid_templates_are_refused() {
        for text in [
            "",
            "v1/{conversationId}",
            "//evil.com/{conversationId}",
            "/v1/../{conversationId}",
            "/v1/{conversation}",
            "/v1/{conversationId",
            "/v1/conversationId}",
            "/v1/{}",
            "/v1/{{conversationId}}",
            "/v1?id={conversationId}",
            "/v1/ {conversationId}",
            "/ü/{conversationId}",
        ] {
            assert!(text.parse::<PathTemplate>().is_err(), "{text}");
        }
    }
}
