//! The token that replicas share.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::{RedisStore, script, with_keys};
use crate::ports::{SharedToken, StoreFuture, StoredToken, TokenState};
use crate::{millis, unreadable};

/// What the sealed token is bound to.
const CONTEXT: &[u8] = b"token";

impl SharedToken for RedisStore {
    fn load(&self) -> StoreFuture<'_, TokenState> {
        Box::pin(async move {
            let keys = [self.name(&["token"]), self.name(&["token:hold-off"])];
            let script = with_keys(script!("load_token.lua"), &keys);
            let (sealed, generation, valid, hold_off): (Vec<u8>, u64, i64, i64) =
                self.link.script(&script).await?;
            // A negative time means that there is no such key.
            let time = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
            let mut state = TokenState { token: None, hold_off: time(hold_off) };
            if !sealed.is_empty() && valid > 0 {
                let text = String::from_utf8(self.key.open(CONTEXT, &sealed)?);
                let token = text.map_err(|_| unreadable("the token is no text"))?.into();
                state.token = Some(StoredToken { token, expires_in: time(valid), generation });
            }
            Ok(state)
        })
    }

    fn lock(&self, hold: Duration) -> StoreFuture<'_, Option<Uuid>> {
        Box::pin(async move {
            let owner = Uuid::new_v4();
            let mut command = redis::cmd("SET");
            command.arg(self.lock_name()).arg(owner.to_string());
            command.arg("NX").arg("PX").arg(millis(hold).max(1));
            let taken: Option<String> = self.link.command(&command).await?;
            Ok(taken.map(|_| owner))
        })
    }

    fn store<'a>(
        &'a self,
        lock: Uuid,
        token: &'a SecretString,
        valid: Duration,
    ) -> StoreFuture<'a, Option<u64>> {
        Box::pin(async move {
            let sealed = self.key.seal(CONTEXT, token.expose_secret().as_bytes())?;
            let keys = [self.name(&["token"]), self.lock_name(), self.name(&["token:generation"])];
            let mut script = with_keys(script!("store_token.lua"), &keys);
            script.arg(lock.to_string()).arg(sealed).arg(millis(valid).max(1));
            let generation: u64 = self.link.script(&script).await?;
            Ok(Some(generation).filter(|generation| *generation > 0))
        })
    }

    fn unlock(&self, lock: Uuid, hold_off: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if !hold_off.is_zero() {
                let mut command = redis::cmd("SET");
                command.arg(self.name(&["token:hold-off"])).arg(1);
                command.arg("PX").arg(millis(hold_off).max(1));
                self.link.command::<()>(&command).await?;
            }
            let mut script = with_keys(script!("lease.lua"), &[self.lock_name()]);
            script.arg(lock.to_string()).arg("release").arg(0);
            self.link.script(&script).await
        })
    }

    fn drop_token(&self, generation: u64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let mut script = with_keys(script!("drop_token.lua"), &[self.name(&["token"])]);
            self.link.script(script.arg(generation)).await
        })
    }
}

impl RedisStore {
    fn lock_name(&self) -> String {
        self.name(&["token:lock"])
    }
}
