//! What the parts of the service take from the configuration.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::server::ConnectionLimits;
use super::upstream::backoff;
use crate::app::AppSettings;
use crate::config::{BaseUrl, Config, OauthCredentials, PatchBody};
use crate::domain::AttributeLimits;
use crate::http::{AddressLimiter, EtagKey, HttpSettings, OpenApiFiles, openapi};

pub fn connections(config: &Config) -> ConnectionLimits {
    let handshake = config.server.tls.as_ref().map(|tls| tls.handshake_timeout.get());
    ConnectionLimits {
        connections: config.limits.connections.get(),
        per_address: config.limits.connections_per_address.get(),
        header_bytes: config.limits.header_bytes.get(),
        header_timeout: config.server.header_timeout.get(),
        idle_timeout: config.server.idle_timeout.get(),
        handshake_timeout: handshake.unwrap_or(config.server.header_timeout.get()),
        answer_timeout: config.server.body_timeout.get(),
    }
}

pub fn app(config: &Config) -> AppSettings {
    AppSettings {
        limits: AttributeLimits { total_bytes: config.limits.total_bytes.get() },
        patch_full: config.genesys.patch_body == PatchBody::Full,
        max_reads: config.verify.max_reads.get(),
        settle: config.verify.settle.get(),
        outstanding: config.verify.outstanding.get(),
        conflict_retries: config.writes.conflict_retries.get(),
        backoff: backoff(config),
        warm_for: config.writes.warm_for.get(),
        memory: config.writes.remember_bytes.get(),
        max_age: config.reads.max_age.get(),
        waiting: config.limits.waiting.get(),
        waiting_per_participant: config.limits.waiting_per_participant.get(),
    }
}

/// The limit of concurrent requests per address, which replaces that of connections behind a proxy.
pub fn address_limiter(config: &Config) -> Option<AddressLimiter> {
    let max = config.limits.connections_per_address.get();
    (!config.server.trusted_proxies.is_empty()).then(|| AddressLimiter::new(max))
}

/// The `OpenAPI` document of the API as it is configured.
pub fn documents(config: &Config) -> OpenApiFiles {
    let public_url = config.server.public_url.as_ref().map_or("", BaseUrl::as_str);
    let (for_yaml, for_json, debug) =
        (public_url.to_owned(), public_url.to_owned(), config.debug.enabled);
    OpenApiFiles::new(
        public_url,
        move || openapi::yaml(&for_yaml, debug),
        move || openapi::json(&for_json, debug),
    )
}

pub fn http(config: &Config, credentials: &OauthCredentials) -> Arc<HttpSettings> {
    Arc::new(HttpSettings {
        deadline: config.server.deadline.get(),
        body_limit: config.limits.body_bytes.get(),
        body_timeout: config.server.body_timeout.get(),
        default_participant: config.participants.default.clone(),
        total_bytes: config.limits.total_bytes.get(),
        etag: EtagKey::derive(credentials.client_secret.expose_secret()),
        require_if_match: config.writes.require_if_match,
    })
}
