//! The upstream endpoints for reads and writes.

use std::str::FromStr;

use serde::Deserialize;
use url::Url;

use super::values;

const CONVERSATION: &str = "{conversationId}";
const PARTICIPANT: &str = "{participantId}";

/// The upstream endpoints for reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamRoute {
    Conversations,
    Calls,
    Custom,
}

/// `[genesys.custom]`: path templates of [`UpstreamRoute::Custom`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomRoute {
    #[serde(deserialize_with = "values::parsed")]
    pub participant: PathTemplate,
    #[serde(deserialize_with = "values::parsed")]
    pub attributes: PathTemplate,
    #[serde(default, deserialize_with = "values::optional")]
    pub conversation: Option<PathTemplate>,
}

impl CustomRoute {
    /// Whether each template holds exactly the ids that its endpoint needs.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, template) in
            [("participant", &self.participant), ("attributes", &self.attributes)]
        {
            if !template.0.contains(CONVERSATION) || !template.0.contains(PARTICIPANT) {
                return Err(format!(
                    "custom.{name}: must hold {{conversationId}} and {{participantId}}"
                ));
            }
        }
        let is_wrong =
            |path: &PathTemplate| !path.0.contains(CONVERSATION) || path.0.contains(PARTICIPANT);
        if self.conversation.as_ref().is_some_and(is_wrong) {
            let message = "must hold {conversationId} and no {participantId}";
            return Err(format!("custom.conversation: {message}"));
        }
        Ok(())
    }
}

/// A URL path with `{conversationId}` and `{participantId}` in it, below the base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(String);

impl PathTemplate {
    /// The template as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let path = text.replace("{conversationId}", "id").replace("{participantId}", "id");
        let base = Url::parse("http://host").map_err(|_| "has no base")?;
        // The parser changes the path if it has dots, a query or characters that need escapes.
        let is_plain = base.join(&path).is_ok_and(|url| url.path() == path) && !path.contains("//");
        is_plain.then(|| Self(text.to_owned())).ok_or(
            "must be a path that begins with a single `/`, without dots as a segment, query or \
             placeholders other than {conversationId} and {participantId}",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
