//! What errors of Redis mean.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::ports::StoreError;

/// Time to open a connection. A request that waits longer has better uses for its deadline.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("READONLY"))
}

/// What an error means, and what to do about it. No message contains the URL or a value.
pub(super) fn explain(error: &RedisError) -> StoreError {
    let unavailable = |text: &str| StoreError::Unavailable(text.to_owned());
    let unusable = |text: &str| StoreError::Unusable(text.to_owned());
    if is_read_only(error) {
        return unavailable(
            "Redis is a read-only replica now: point `store.redis.url` to the primary",
        );
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => return refused_password(),
        ErrorKind::InvalidClientConfig => return unusable("`store.redis.url` is invalid"),
        ErrorKind::Io => return explain_io(error),
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
            return StoreError::Unreadable(
                "Redis gave an unexpected answer: check that no other program uses `store.redis.key_prefix`"
                    .to_owned(),
            );
        }
        _ => {}
    }
    match code(error) {
        "FULL" => StoreError::Full,
        "VERSION" => StoreError::Unreadable(
            "another version of the gateway wrote it; run one version, or wait until it expires"
                .to_owned(),
        ),
        "NAME" => unusable("another process has the name `store.redis.replica`: give each its own"),
        "STALE" => unavailable("a heartbeat came too late"),
        "WRONGPASS" | "NOAUTH" => refused_password(),
        "NOPERM" => unusable("the Redis user may not use this command: allow it in the ACL"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            unusable("Redis is a cluster: begin `store.redis.url` with `redis+cluster://`")
        }
        "OOM" => unavailable("the memory of Redis is full: raise `maxmemory`"),
        "MISCONF" => unavailable("Redis cannot write to its disk: see its log"),
        "WRONGTYPE" => StoreError::Unreadable(
            "another program uses keys with `store.redis.key_prefix`: choose another prefix"
                .to_owned(),
        ),
        code => StoreError::Unavailable(format!("Redis answers {code} ({})", error.category())),
    }
}

/// The code of an error. Before Redis 7.0, a script that fails hides the code of its command in the text.
fn code(error: &RedisError) -> &str {
    let code = error.code().unwrap_or_default();
    if code != "ERR" {
        return code;
    }
    let hidden = ["OOM", "MISCONF", "WRONGTYPE", "NOPERM"];
    let words = error.detail().unwrap_or_default().split([' ', '-']);
    words.into_iter().find(|word| hidden.contains(word)).unwrap_or(code)
}

fn refused_password() -> StoreError {
    StoreError::Unusable("Redis refuses the user or password of `store.redis.url`".to_owned())
}

/// Errors of the connection. Those of TLS do not end by waiting.
fn explain_io(error: &RedisError) -> StoreError {
    let text = error.to_string();
    let tls = ["certificate", "corrupt message", "HandshakeFailure", "InvalidContentType", "TLS"];
    if tls.iter().any(|word| text.contains(word)) {
        return StoreError::Unusable(format!(
            "no TLS connection to Redis: {text}; check the certificate, and that the port speaks TLS"
        ));
    }
    StoreError::Unavailable(if error.is_timeout() {
        "Redis does not answer in time; if this lasts, check that the port speaks TLS if, and only if, the \
         URL begins with `rediss`"
            .to_owned()
    } else {
        format!("no connection to Redis: {text}")
    })
}
