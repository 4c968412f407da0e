//! What the server must be, checked before it is relied on.

use std::collections::HashMap;

use super::connection::RedisLink;
use super::durable::Durability;
use crate::ports::StoreError;

/// The first version with all commands that the scripts use.
const LEAST_VERSION: (u32, u32) = (6, 2);

/// The first version with `WAITAOF`.
const WAITAOF_VERSION: (u32, u32) = (7, 2);

/// Checks the server, and tells how it makes changes durable.
pub(super) async fn check(link: &RedisLink) -> Result<Durability, StoreError> {
    let text: String = link.command(redis::cmd("INFO").arg("everything")).await?;
    let facts: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    // A managed server may hide its settings.
    let settings: HashMap<String, String> =
        link.command(redis::cmd("CONFIG").arg("GET").arg("*")).await.unwrap_or_default();
    judge(&facts, &settings, link.is_cluster()).map_err(StoreError::Unusable)
}

fn judge(
    facts: &HashMap<&str, &str>,
    settings: &HashMap<String, String>,
    may_be_cluster: bool,
) -> Result<Durability, String> {
    let fact = |name: &str| facts.get(name).copied().unwrap_or_default();
    let version = version(fact("redis_version"));
    if version < LEAST_VERSION {
        let found = fact("redis_version");
        return Err(format!("Redis is version {found}: use 6.2 or later, or Valkey"));
    }
    if fact("role") != "master" {
        return Err("Redis is a read-only replica: point `store.redis.url` to the primary".into());
    }
    if fact("cluster_enabled") == "1" && !may_be_cluster {
        return Err("Redis is a cluster: begin `store.redis.url` with `redis+cluster://`".into());
    }
    let evicts = !matches!(fact("maxmemory_policy"), "noeviction" | "");
    if evicts && fact("maxmemory") != "0" {
        return Err("Redis may drop keys: set `maxmemory-policy noeviction`".into());
    }
    if fact("aof_enabled") != "1" {
        return Err("Redis loses accepted writes in a crash: set `appendonly yes`".into());
    }
    match settings.get("appendfsync").map(String::as_str) {
        Some("always") => Ok(Durability::Always),
        Some("no") => Ok(Durability::Missing(
            "Redis never syncs its file: set `appendfsync everysec` or `always`",
        )),
        _ if version >= WAITAOF_VERSION => Ok(Durability::WaitAof),
        _ => Ok(Durability::Missing(
            "this version of Redis has no WAITAOF: set `appendfsync always`, or use Redis 7.2 or Valkey",
        )),
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 6] = [
        ("redis_version", "7.0.15"),
        ("role", "master"),
        ("cluster_enabled", "0"),
        ("maxmemory", "0"),
        ("maxmemory_policy", "noeviction"),
        ("aof_enabled", "1"),
    ];

    fn judged(changed: &[(&'static str, &'static str)], fsync: &str) -> Result<Durability, String> {
        let facts = GOOD.iter().chain(changed).copied().collect();
        let settings = [("appendfsync".to_owned(), fsync.to_owned())].into();
        judge(&facts, &settings, false)
    }

    #[test]
    fn good_servers_are_taken() {
        assert_eq!(judged(&[], "always"), Ok(Durability::Always));
        assert_eq!(judged(&[("redis_version", "7.2.4")], "everysec"), Ok(Durability::WaitAof));
        assert_eq!(judged(&[("redis_version", "8.0.1")], ""), Ok(Durability::WaitAof));
        // Without a limit nothing is evicted.
        assert_eq!(
            judged(&[("maxmemory_policy", "allkeys-lru")], "always"),
            Ok(Durability::Always)
        );
    }

    #[test]
    fn others_are_refused_with_what_to_change() {
        let evicting = [("maxmemory", "1000"), ("maxmemory_policy", "allkeys-lru")];
        for (changed, fsync, hint) in [
            (&[("redis_version", "6.0.16")][..], "always", "6.2 or later"),
            (&[("redis_version", "")], "always", "6.2 or later"),
            (&[("role", "slave")], "always", "read-only replica"),
            (&[("cluster_enabled", "1")], "always", "redis+cluster"),
            (&evicting, "always", "maxmemory-policy noeviction"),
            (&[("aof_enabled", "0")], "always", "appendonly yes"),
        ] {
            let refused = judged(changed, fsync).expect_err(hint);
            assert!(refused.contains(hint), "{refused}");
        }
    }

    #[test]
    fn a_server_that_loses_a_second_is_taken_without_asynchronous_writes() {
        for (version, fsync, hint) in
            [("7.0.15", "everysec", "appendfsync always"), ("7.2.4", "no", "appendfsync everysec")]
        {
            let taken = judged(&[("redis_version", version)], fsync);
            assert!(
                matches!(taken, Ok(Durability::Missing(why)) if why.contains(hint)),
                "{taken:?}"
            );
        }
    }
}
