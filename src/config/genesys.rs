//! `[genesys]`: the upstream, its credentials and the budget of calls to it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::region::Region;
use super::url::{BaseUrl, HttpProxy};
use super::values::{self, ByteCount, CheckedSection, Count, Millis};

/// The upstream: its address, the credentials for it, and how calls are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesysConfig {
    #[serde(default, deserialize_with = "values::name")]
    pub client_id: Option<String>,
    #[serde(default, deserialize_with = "values::secret::<1, _, _>")]
    pub client_secret: Option<SecretString>,
    #[serde(skip)]
    pub client_secret_file: Option<PathBuf>,
    #[serde(deserialize_with = "values::parsed")]
    pub environment: Region,
    #[serde(default, deserialize_with = "values::optional")]
    pub api_url: Option<BaseUrl>,
    #[serde(default, deserialize_with = "values::optional")]
    pub login_url: Option<BaseUrl>,
    pub allow_insecure: bool,
    pub ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::optional")]
    pub proxy: Option<HttpProxy>,
    pub route: UpstreamRoute,
    pub custom: Option<CustomRoute>,
    pub patch_body: PatchBody,
    pub clear_with: ClearWith,
    pub requests_per_minute: NonZeroU64,
    pub rate_window: Millis<100, 3_600_000>,
    pub ceilings: RateCeilings,
    pub attempt_timeout: Millis<1, 60_000>,
    pub connect_timeout: Millis<1, 60_000>,
    pub backoff_base: Millis<1, 60_000>,
    pub backoff_cap: Millis<1, 60_000>,
    pub token_refresh_ahead: Millis<0, 3_600_000>,
    pub max_response_bytes: ByteCount<1_024, 268_435_456>,
}

impl GenesysConfig {
    /// Base URL of the platform API: the override, or the region's.
    pub fn api_base(&self) -> BaseUrl {
        self.api_url.clone().unwrap_or_else(|| BaseUrl::of_region("api", self.environment))
    }

    /// Base URL of the token endpoint: the override, or the region's.
    pub fn login_base(&self) -> BaseUrl {
        self.login_url.clone().unwrap_or_else(|| BaseUrl::of_region("login", self.environment))
    }
}

/// How far each class of calls may fill the window, in percent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateCeilings {
    pub committed: Count<20, 100>,
    pub writes: Count<20, 100>,
    pub reads: Count<20, 100>,
    pub read_backs: Count<20, 100>,
}

/// What a PATCH carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchBody {
    Changes,
    Full,
}

/// What a PATCH carries for a key to clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClearWith {
    Empty,
    Null,
}

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

/// A URL path with `{conversationId}` and `{participantId}` in it, below the base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(String);

impl PathTemplate {
    /// The template as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds the id of a conversation, and that of a participant.
    fn ids(&self) -> (bool, bool) {
        (self.0.contains("{conversationId}"), self.0.contains("{participantId}"))
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

impl CheckedSection for GenesysConfig {
    fn check(&self) -> Result<(), String> {
        for (key, url) in [("api_url", &self.api_url), ("login_url", &self.login_url)] {
            if !self.allow_insecure && url.as_ref().is_some_and(BaseUrl::leaves_unencrypted) {
                return Err(format!(
                    "{key}: must be https, unless the host is this machine or genesys.allow_insecure \
                     is true"
                ));
            }
        }
        if self.backoff_base.get() > self.backoff_cap.get() {
            return Err("backoff_base: must not be above genesys.backoff_cap".to_owned());
        }
        // No class may use more than the class above it, because that class needs the rest.
        let RateCeilings { committed, writes, reads, read_backs } = self.ceilings;
        for (class, found, above, most) in [
            ("writes", writes, "committed", committed),
            ("reads", reads, "writes", writes),
            ("read_backs", read_backs, "reads", reads),
        ] {
            if found > most {
                return Err(format!(
                    "ceilings.{class}: must not be above genesys.ceilings.{above}"
                ));
            }
        }
        match &self.custom {
            None if self.route == UpstreamRoute::Custom => {
                Err("custom.participant: must be set when genesys.route is `custom`".to_owned())
            }
            Some(_) if self.route != UpstreamRoute::Custom => {
                Err("custom.participant: is set, but genesys.route is not `custom`".to_owned())
            }
            custom => custom.as_ref().map_or(Ok(()), CustomRoute::check),
        }
    }
}

impl CustomRoute {
    /// Whether each template holds exactly the ids that its endpoint needs.
    fn check(&self) -> Result<(), String> {
        let both = "must hold {conversationId} and {participantId}";
        if self.participant.ids() != (true, true) {
            return Err(format!("custom.participant: {both}"));
        }
        if self.attributes.ids() != (true, true) {
            return Err(format!("custom.attributes: {both}"));
        }
        if self.conversation.as_ref().is_some_and(|path| path.ids() != (true, false)) {
            let message = "must hold {conversationId} and no {participantId}";
            return Err(format!("custom.conversation: {message}"));
        }
        Ok(())
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
