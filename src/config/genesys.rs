//! `[genesys]`: the upstream, its credentials and the budget of calls to it.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::bytes::ByteSize;
use super::mismatch::{KeyMismatch, KeyMismatches};
use super::proxy::HttpProxy;
use super::region::Region;
use super::route::{CustomRoute, PathTemplate, UpstreamRoute};
use super::url::BaseUrl;
use super::values::{self, WordSetting};

/// The upstream: its address, the credentials for it, and how calls are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawGenesys")]
pub struct GenesysConfig {
    /// Id of the OAuth client, if set.
    pub client_id: Option<String>,
    /// Secret of the OAuth client, if set.
    pub client_secret: Option<SecretString>,
    /// The file that the secret was read from, if any; set once all sources are read.
    pub client_secret_file: Option<PathBuf>,
    /// Region of the organisation.
    pub environment: Region,
    /// Base URL of the API, instead of the region's.
    pub api_url: Option<BaseUrl>,
    /// Base URL of the token endpoint, instead of the region's.
    pub login_url: Option<BaseUrl>,
    /// Whether both URLs may be plain http to other machines.
    pub allow_insecure: bool,
    /// PEM file with authorities to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for calls, if any.
    pub proxy: Option<HttpProxy>,
    /// Which endpoints read and write.
    pub route: UpstreamRoute,
    /// What a PATCH carries.
    pub patch_body: PatchBody,
    /// What a PATCH carries for a key to clear.
    pub clear_with: ClearWith,
    /// Budget of calls per minute, at least 1.
    pub requests_per_minute: u64,
    /// Length of the sliding window in which the budget is counted; 100 ms to 1 h.
    pub rate_window: Duration,
    /// How far each class of calls may fill that window.
    pub ceilings: RateCeilings,
    /// Time for one attempt of one call; at most 60 s.
    pub attempt_timeout: Duration,
    /// Time to open a connection; at most 60 s.
    pub connect_timeout: Duration,
    /// First delay before a retry; at most `backoff_cap`.
    pub backoff_base: Duration,
    /// Longest delay before a retry; at most 60 s.
    pub backoff_cap: Duration,
    /// How long before its expiry a token is renewed; 0 to 1 h.
    pub token_refresh_ahead: Duration,
    /// Largest response that is read; 1 KiB to 256 MiB.
    pub max_response_bytes: ByteSize,
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
    /// Writes that have begun.
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub committed: u8,
    /// New writes.
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub writes: u8,
    /// Reads.
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub reads: u8,
    /// Second and further read-backs.
    #[serde(deserialize_with = "values::number::<20, 100, _, _>")]
    pub read_backs: u8,
}

impl RateCeilings {
    /// No class may use more than the class above it, because that class needs the rest.
    fn check(self) -> Vec<KeyMismatch> {
        let steps = [
            ("ceilings.writes", self.writes > self.committed, COMMITTED),
            ("ceilings.reads", self.reads > self.writes, WRITES),
            ("ceilings.read_backs", self.read_backs > self.reads, READS),
        ];
        let wrong = steps.into_iter().filter(|(_, is_wrong, _)| *is_wrong);
        wrong.map(|(key, _, message)| KeyMismatch(key, message)).collect()
    }
}

const COMMITTED: &str = "must not be above genesys.ceilings.committed";
const WRITES: &str = "must not be above genesys.ceilings.writes";
const READS: &str = "must not be above genesys.ceilings.reads";

/// What a PATCH carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchBody {
    /// Only the changed keys.
    Changes,
    /// The whole map, for an upstream that replaces it.
    Full,
}

impl WordSetting for PatchBody {
    const WORDS: &'static [(&'static str, Self)] =
        &[("changes", Self::Changes), ("full", Self::Full)];
}

/// What a PATCH carries for a key to clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearWith {
    /// `""`.
    Empty,
    /// `null`.
    Null,
}

impl WordSetting for ClearWith {
    const WORDS: &'static [(&'static str, Self)] = &[("empty", Self::Empty), ("null", Self::Null)];
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RouteName {
    Conversations,
    Calls,
    Custom,
}

impl WordSetting for RouteName {
    const WORDS: &'static [(&'static str, Self)] =
        &[("conversations", Self::Conversations), ("calls", Self::Calls), ("custom", Self::Custom)];
}

/// The section as written. Conflicts between keys are found when it is converted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGenesys {
    #[serde(deserialize_with = "values::optional_id")]
    client_id: Option<String>,
    #[serde(deserialize_with = "values::optional_secret")]
    client_secret: Option<SecretString>,
    #[serde(deserialize_with = "values::parsed")]
    environment: Region,
    #[serde(deserialize_with = "values::optional")]
    api_url: Option<BaseUrl>,
    #[serde(deserialize_with = "values::optional")]
    login_url: Option<BaseUrl>,
    #[serde(deserialize_with = "values::flag")]
    allow_insecure: bool,
    #[serde(deserialize_with = "values::optional")]
    ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "values::optional")]
    proxy: Option<HttpProxy>,
    #[serde(deserialize_with = "values::choice")]
    route: RouteName,
    custom: RawCustom,
    #[serde(deserialize_with = "values::choice")]
    patch_body: PatchBody,
    #[serde(deserialize_with = "values::choice")]
    clear_with: ClearWith,
    #[serde(deserialize_with = "values::number::<1, {u64::MAX}, _, _>")]
    requests_per_minute: u64,
    #[serde(deserialize_with = "values::duration::<100, 3_600_000, _>")]
    rate_window: Duration,
    ceilings: RateCeilings,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    attempt_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    backoff_base: Duration,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    backoff_cap: Duration,
    #[serde(deserialize_with = "values::duration::<0, 3_600_000, _>")]
    token_refresh_ahead: Duration,
    #[serde(deserialize_with = "values::size::<1_024, 268_435_456, _>")]
    max_response_bytes: ByteSize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCustom {
    #[serde(deserialize_with = "values::optional")]
    participant: Option<PathTemplate>,
    #[serde(deserialize_with = "values::optional")]
    attributes: Option<PathTemplate>,
    #[serde(deserialize_with = "values::optional")]
    conversation: Option<PathTemplate>,
}

impl TryFrom<RawGenesys> for GenesysConfig {
    type Error = KeyMismatches;

    fn try_from(raw: RawGenesys) -> Result<Self, KeyMismatches> {
        let mut wrong = unencrypted(&raw);
        if raw.backoff_base > raw.backoff_cap {
            wrong.push(KeyMismatch("backoff_base", "must not be above genesys.backoff_cap"));
        }
        wrong.extend(raw.ceilings.check());
        let route = match route(raw.route, raw.custom) {
            Ok(route) if wrong.is_empty() => route,
            Ok(_) => return Err(KeyMismatches(wrong)),
            Err(mismatch) => {
                wrong.push(mismatch);
                return Err(KeyMismatches(wrong));
            }
        };
        Ok(Self {
            route,
            client_id: raw.client_id,
            client_secret: raw.client_secret,
            client_secret_file: None,
            environment: raw.environment,
            api_url: raw.api_url,
            login_url: raw.login_url,
            allow_insecure: raw.allow_insecure,
            ca_file: raw.ca_file,
            proxy: raw.proxy,
            patch_body: raw.patch_body,
            clear_with: raw.clear_with,
            requests_per_minute: raw.requests_per_minute,
            rate_window: raw.rate_window,
            ceilings: raw.ceilings,
            attempt_timeout: raw.attempt_timeout,
            connect_timeout: raw.connect_timeout,
            backoff_base: raw.backoff_base,
            backoff_cap: raw.backoff_cap,
            token_refresh_ahead: raw.token_refresh_ahead,
            max_response_bytes: raw.max_response_bytes,
        })
    }
}

/// The URLs that would send credentials unencrypted to other machines.
fn unencrypted(raw: &RawGenesys) -> Vec<KeyMismatch> {
    let urls = [("api_url", &raw.api_url), ("login_url", &raw.login_url)];
    let leaves = |url: &Option<BaseUrl>| url.as_ref().is_some_and(BaseUrl::leaves_unencrypted);
    let wrong = urls.into_iter().filter(|(_, url)| !raw.allow_insecure && leaves(url));
    let message =
        "must be https, unless the host is this machine or genesys.allow_insecure is true";
    wrong.map(|(key, _)| KeyMismatch(key, message)).collect()
}

const PARTICIPANT: &str = "custom.participant";
const ATTRIBUTES: &str = "custom.attributes";
const CONVERSATION: &str = "custom.conversation";

fn route(word: RouteName, custom: RawCustom) -> Result<UpstreamRoute, KeyMismatch> {
    match word {
        RouteName::Conversations => {
            without_templates(&custom).map(|()| UpstreamRoute::Conversations)
        }
        RouteName::Calls => without_templates(&custom).map(|()| UpstreamRoute::Calls),
        RouteName::Custom => {
            if let Some(path) = &custom.conversation {
                path.check(false).map_err(|message| KeyMismatch(CONVERSATION, message))?;
            }
            Ok(UpstreamRoute::Custom(CustomRoute {
                participant: with_both_ids(PARTICIPANT, custom.participant)?,
                attributes: with_both_ids(ATTRIBUTES, custom.attributes)?,
                conversation: custom.conversation,
            }))
        }
    }
}

/// Refuses templates that the selected route would silently ignore.
fn without_templates(custom: &RawCustom) -> Result<(), KeyMismatch> {
    let templates = [
        (PARTICIPANT, &custom.participant),
        (ATTRIBUTES, &custom.attributes),
        (CONVERSATION, &custom.conversation),
    ];
    match templates.iter().find(|(_, path)| path.is_some()) {
        Some((key, _)) => Err(KeyMismatch(key, "is set, but genesys.route is not `custom`")),
        None => Ok(()),
    }
}

fn with_both_ids(
    key: &'static str,
    path: Option<PathTemplate>,
) -> Result<PathTemplate, KeyMismatch> {
    let path = path.ok_or(KeyMismatch(key, "is needed when genesys.route is `custom`"))?;
    path.check(true).map_err(|message| KeyMismatch(key, message))?;
    Ok(path)
}
