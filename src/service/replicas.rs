//! What replicas share through Redis: token, call budget, and the right to write to a participant.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use gateway_store::redis::{RedisOptions, RedisStore};
use gateway_store::{SealingKey, StoreLimits};
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::budget_heartbeat::{BudgetHeartbeat, BudgetStatus, HeartbeatParts, leave};
use super::store::{StoreParts, replica_name};
use super::upstream::budget_settings;
use crate::app::{OutagePolicy, WriteCoordinator};
use crate::config::{Config, OauthCredentials, OutageMode};
use crate::genesys::CallLimiter;
use crate::http::HealthCheck;
use crate::ports::StoreLink;
use crate::ports::store::{SharedToken, StoreError};
use crate::telemetry::ServiceMetrics;

/// The shared store of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Replicas {
    store: Arc<RedisStore>,
    link: Arc<StoreLink>,
    status: Arc<Mutex<BudgetStatus>>,
}

impl Replicas {
    /// Prepares the store, if replicas share one, and checks the server. One that does not answer is an
    /// outage, which may end.
    ///
    /// # Errors
    /// If the server has to be changed before it can be used.
    pub async fn open(
        config: &Config,
        credentials: &OauthCredentials,
    ) -> anyhow::Result<Option<Self>> {
        let redis = &config.store.redis;
        let (Some(replica), Some(url)) = (replica_name(&config.store), redis.url.clone()) else {
            return Ok(None);
        };
        let budget = budget_settings(&config.genesys);
        let options = RedisOptions {
            url,
            key_prefix: redis.key_prefix.clone(),
            replica,
            calls: u32::try_from(budget.limit).context("the call budget is too large to share")?,
            window: budget.window,
        };
        let limits =
            StoreLimits { operations: config.store.max_operations.get(), ..StoreLimits::default() };
        let key = SealingKey::derive(credentials.client_secret.expose_secret());
        let store = RedisStore::new(options, key, limits)?;
        let fault = match store.check().await {
            Ok(()) => None,
            Err(StoreError::Unavailable(reason)) => {
                tracing::error!(
                    reason,
                    "the shared store does not answer: the start is like an outage"
                );
                Some(StoreError::Unavailable(reason))
            }
            Err(error) => bail!("cannot start with store.backend = \"redis\": {error}"),
        };
        Ok(Some(Self {
            store: Arc::new(store),
            link: Arc::new(StoreLink::new(fault)),
            status: Arc::default(),
        }))
    }

    /// Answers by idempotency key, and accepted writes.
    pub(super) fn store(&self) -> StoreParts {
        let journal = Arc::clone(&self.store) as Arc<_>;
        StoreParts { answers: Arc::clone(&self.store) as Arc<_>, journal: Some(journal) }
    }

    /// The token of all replicas.
    pub(super) fn token(&self) -> Arc<dyn SharedToken> {
        Arc::clone(&self.store) as Arc<_>
    }

    /// One writer for each participant.
    pub(super) fn writes(&self, config: &Config) -> Arc<WriteCoordinator> {
        let outage = match config.store.redis.on_outage {
            OutageMode::Local => OutagePolicy::Local,
            OutageMode::Refuse => OutagePolicy::Refuse,
        };
        let (leases, link) = (Arc::clone(&self.store) as Arc<_>, Arc::clone(&self.link));
        Arc::new(WriteCoordinator::new(leases, link, outage, config.verify.outstanding.get()))
    }

    /// Starts to lease credits of the call budget, until `stop`.
    pub(super) fn lease_budget(
        &self,
        config: &Config,
        limiter: &CallLimiter,
        metrics: &ServiceMetrics,
        stop: &CancellationToken,
    ) {
        let heartbeat = BudgetHeartbeat::new(HeartbeatParts {
            leases: Arc::clone(&self.store) as Arc<_>,
            link: Arc::clone(&self.link),
            limiter: limiter.clone(),
            metrics: metrics.clone(),
            status: Arc::clone(&self.status),
            calls: budget_settings(&config.genesys).limit,
            expected_replicas: config.store.redis.expected_replicas.get(),
            outstanding: config.verify.outstanding.get(),
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(heartbeat.run()));
    }

    /// Gives the credits back.
    pub(super) async fn leave(&self, limiter: &CallLimiter) {
        leave(&*self.store, limiter).await;
    }

    /// The checks of `/readyz?verbose`. An outage does not make a replica unready: reads go on.
    pub(super) fn checks(&self) -> [HealthCheck; 2] {
        let fault = self.link.fault();
        let BudgetStatus { credits, replicas, is_degraded } = *self.status.lock();
        let detail = if is_degraded {
            format!(
                "a safe share of {credits} calls is used; {replicas} replicas were seen or expected"
            )
        } else {
            format!("{credits} credits held; {replicas} replicas seen")
        };
        [
            HealthCheck {
                name: "store",
                ok: fault.is_none(),
                detail: fault.map_or_else(|| "reachable".to_owned(), |fault| fault.to_string()),
            },
            HealthCheck { name: "store.budget", ok: !is_degraded, detail },
        ]
    }
}
