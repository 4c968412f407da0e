//! `[genesys]`: the upstream, its credentials and the budget of calls to it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::proxy::HttpProxy;
use super::region::Region;
use super::route::{CustomRoute, UpstreamRoute};
use super::url::BaseUrl;
use super::values::{self, CheckedSection};

/// The upstream: its address, the credentials for it, and how calls are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesysConfig {
    #[serde(default, deserialize_with = "values::optional_name")]
    pub client_id: Option<String>,
    #[serde(default, deserialize_with = "values::optional_secret::<1, _>")]
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
    #[serde(deserialize_with = "values::duration::<100, 3_600_000, _>")]
    pub rate_window: Duration,
    pub ceilings: RateCeilings,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub attempt_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub backoff_base: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub backoff_cap: Duration,
    #[serde(deserialize_with = "values::duration::<0, 3_600_000, _>")]
    pub token_refresh_ahead: Duration,
    #[serde(deserialize_with = "values::size::<1_024, 268_435_456, _, _>")]
    pub max_response_bytes: usize,
}

impl GenesysConfig {
    /// Base URL of the platform API: the override, or the region's.
    pub fn api_base(&self) -> BaseUrl {
        let region = || BaseUrl::of_host(format_args!("api.{}", self.environment.domain()));
        self.api_url.clone().unwrap_or_else(region)
    }

    /// Base URL of the token endpoint: the override, or the region's.
    pub fn login_base(&self) -> BaseUrl {
        let region = || BaseUrl::of_host(format_args!("login.{}", self.environment.domain()));
        self.login_url.clone().unwrap_or_else(region)
    }
}

/// How far each class of calls may fill the window, in percent; 20 to 100.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateCeilings {
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub committed: u8,
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub writes: u8,
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub reads: u8,
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub read_backs: u8,
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

impl CheckedSection for GenesysConfig {
    fn check(&self) -> Result<(), String> {
        let urls = [("api_url", &self.api_url), ("login_url", &self.login_url)];
        let leaves = |url: &Option<BaseUrl>| url.as_ref().is_some_and(BaseUrl::leaves_unencrypted);
        if let Some((key, _)) =
            urls.into_iter().find(|(_, url)| leaves(url) && !self.allow_insecure)
        {
            return Err(format!(
                "{key}: must be https, unless the host is this machine or genesys.allow_insecure is \
                 true"
            ));
        }
        if self.backoff_base > self.backoff_cap {
            return Err("backoff_base: must not be above genesys.backoff_cap".to_owned());
        }
        // No class may use more than the class above it, because that class needs the rest.
        let RateCeilings { committed, writes, reads, read_backs } = self.ceilings;
        let classes = [
            ("committed", committed),
            ("writes", writes),
            ("reads", reads),
            ("read_backs", read_backs),
        ];
        if let Some([(above, _), (class, _)]) = classes.array_windows().find(|[a, b]| b.1 > a.1) {
            return Err(format!("ceilings.{class}: must not be above genesys.ceilings.{above}"));
        }
        match (self.route, &self.custom) {
            (UpstreamRoute::Custom, Some(custom)) => custom.check(),
            (UpstreamRoute::Custom, None) => {
                Err("custom.participant: must be set when genesys.route is `custom`".to_owned())
            }
            (_, Some(_)) => {
                Err("custom.participant: is set, but genesys.route is not `custom`".to_owned())
            }
            (_, None) => Ok(()),
        }
    }
}
