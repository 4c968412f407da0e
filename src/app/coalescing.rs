//! Calls to upstream, shared by the requests that want the same at the same time.
//!
//! The invariant: no request gets an answer to a call that was sent before its cause. A call can be
//! joined until it is sent, or if it was sent after the cause. At most one call for a key is in
//! flight, unless it is slow; the next one collects requests meanwhile. A call runs in its own
//! task, so that a client that hangs up cannot end it for others. It ends when no request waits.

mod run;
mod shared_call;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::shared_call::{CallResult, SharedCall};
pub use self::shared_call::{CoalescedCall, Freshness};
use super::budget_accounts::ReservedCalls;
use crate::error::Error;
use crate::ports::{CallBudget, CallPermit, PriorityClass, RequestContext};
use crate::shutdown::ShutdownSignal;

/// A call's waiters are answered when its time is up; this timeout is for those with an earlier
/// deadline. It is well within the 100 ms that an answer may be late.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

pub trait CallSource: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Send + Sync;
    type Output: Clone + Send + Sync;

    /// Whether permits are reserved before the call. If not, the upstream client waits for them on
    /// the account of the first request: others join only a call that has left, and go on without it
    /// after its deadline.
    const IS_RESERVED: bool;

    fn call(
        &self,
        key: &Self::Key,
        parts: CallParts,
        context: &RequestContext,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;

    /// Keeps an answer, before the requests see it. `is_stale` says that a PATCH was answered since
    /// the call was sent.
    fn keep(&self, _key: &Self::Key, _output: &Self::Output, _is_stale: bool) {}
}

#[derive(Debug)]
pub struct CallParts {
    pub sent: Instant,
    pub retries: bool,
    pub permit: Option<CallPermit>,
    /// The priority of further tries.
    pub class: PriorityClass,
}

/// Shared calls. Cheap to clone.
pub struct Coalescer<S: CallSource>(Arc<CoalescerInner<S>>);

struct CoalescerInner<S: CallSource> {
    source: S,
    call_budget: Arc<dyn CallBudget>,
    shutdown: ShutdownSignal,
    keys: Mutex<CallsByKey<S>>,
    last_id: AtomicU64,
}

type CallsByKey<S> = HashMap<
    <S as CallSource>::Key,
    KeyCalls<<S as CallSource>::Output>,
    foldhash::quality::RandomState,
>;

/// The calls for one key.
struct KeyCalls<T> {
    /// In the order in which they began. At most the last one is not sent yet; new requests join it.
    calls: Vec<SharedCall<T>>,
    /// Publishes every answer, with the time of its call, to the subscriptions.
    latest: Option<watch::Sender<Option<(Instant, T)>>>,
}

struct CallId<K> {
    key: K,
    id: u64,
}

impl<S: CallSource> Clone for Coalescer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: CallSource> Coalescer<S> {
    pub fn new(source: S, call_budget: Arc<dyn CallBudget>, shutdown: ShutdownSignal) -> Self {
        let (keys, last_id) = (Mutex::default(), AtomicU64::default());
        Self(Arc::new(CoalescerInner { source, call_budget, shutdown, keys, last_id }))
    }

    pub fn source(&self) -> &S {
        &self.0.source
    }

    /// Joins a call that can serve, or starts one. Returns what was reserved with it, too.
    pub async fn call(
        &self,
        wanted: CoalescedCall<S::Key>,
        context: &RequestContext,
    ) -> Result<(S::Output, ReservedCalls), Error> {
        let ended = self.join(wanted, context);
        match tokio::time::timeout_at(context.deadline() + DEADLINE_MARGIN, ended).await {
            Ok(Ok(CallResult { result, spent, reserved_calls })) => {
                if let Some(spent) = &spent {
                    context.add_usage_of(spent);
                }
                result.map(|output| (output, reserved_calls))
            }
            Ok(Err(_)) => {
                Err(Error::Internal("the task of a shared call ended without a result".to_owned()))
            }
            Err(_) => Err(Error::DeadlineExceeded("waiting for Genesys Cloud")),
        }
    }

    pub fn subscribe(&self, key: &S::Key) -> CallSubscription<S> {
        let mut keys = self.keys();
        let latest = &mut keys.entry(key.clone()).or_default().latest;
        let latest = latest.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        CallSubscription { calls: self.clone(), key: key.clone(), latest }
    }

    /// Marks the calls in flight as stale: they serve no [`Freshness::AfterLastWrite`] any more.
    pub fn mark_stale(&self, key: &S::Key) {
        if let Some(calls) = self.keys().get_mut(key) {
            calls.calls.iter_mut().for_each(|call| call.is_stale = call.sent.is_some());
        }
    }

    fn join(
        &self,
        wanted: CoalescedCall<S::Key>,
        context: &RequestContext,
    ) -> oneshot::Receiver<CallResult<S::Output>> {
        let (key, freshness) = (wanted.key.clone(), wanted.freshness);
        let mut keys = self.keys();
        let calls = &mut keys.entry(key.clone()).or_default().calls;
        let serves = |call: &&mut SharedCall<_>| call.serves(freshness, context, S::IS_RESERVED);
        if let Some(call) = calls.iter_mut().find(serves) {
            return call.join(wanted, context);
        }
        let mut call = SharedCall::new(self.next_id());
        let (id, ended) = (call.id, call.join(wanted, context));
        calls.push(call);
        drop(keys);
        self.start(CallId { key, id });
        ended
    }

    fn next_id(&self) -> u64 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed)
    }

    fn keys(&self) -> MutexGuard<'_, CallsByKey<S>> {
        self.0.keys.lock()
    }

    fn with<T>(
        &self,
        call: &CallId<S::Key>,
        work: impl FnOnce(&mut SharedCall<S::Output>) -> T,
    ) -> Option<T> {
        let mut keys = self.keys();
        keys.get_mut(&call.key)?.calls.iter_mut().find(|own| own.id == call.id).map(work)
    }

    /// Takes a call out, so that no request joins it any more.
    fn remove(&self, call: &CallId<S::Key>) -> Option<SharedCall<S::Output>> {
        remove_call::<S>(&mut self.keys(), call)
    }
}

/// Takes a call out, and wakes the one that waits for it.
fn remove_call<S: CallSource>(
    keys: &mut CallsByKey<S>,
    call: &CallId<S::Key>,
) -> Option<SharedCall<S::Output>> {
    let of_key = keys.get_mut(&call.key)?;
    let removed = of_key.calls.extract_if(.., |own| own.id == call.id).next();
    if let Some(next) = of_key.calls.last().filter(|next| next.sent.is_none()) {
        next.changed.notify_one();
    }
    if of_key.is_idle(0) {
        keys.remove(&call.key);
    }
    removed
}

impl<T> Default for KeyCalls<T> {
    fn default() -> Self {
        Self { calls: Vec::new(), latest: None }
    }
}

impl<T> KeyCalls<T> {
    /// Whether it can be removed, if there are at most so many subscriptions.
    fn is_idle(&self, subscriptions: usize) -> bool {
        let count = self.latest.as_ref().map_or(0, watch::Sender::receiver_count);
        self.calls.is_empty() && count <= subscriptions
    }
}

/// Sees the answers that other requests get for a key.
pub struct CallSubscription<S: CallSource> {
    calls: Coalescer<S>,
    key: S::Key,
    latest: watch::Receiver<Option<(Instant, S::Output)>>,
}

impl<S: CallSource> CallSubscription<S> {
    /// The next answer; if `moment` is given, the next to a call that was sent after it.
    pub async fn next(&mut self, moment: Option<Instant>) -> S::Output {
        loop {
            if self.latest.changed().await.is_err() {
                // The sender lives as long as there are subscriptions.
                std::future::pending::<()>().await;
            }
            let latest = self.latest.borrow_and_update().clone();
            if let Some((_, output)) = latest.filter(|(sent, _)| Some(*sent) > moment) {
                return output;
            }
        }
    }
}

impl<S: CallSource> Drop for CallSubscription<S> {
    fn drop(&mut self) {
        let mut keys = self.calls.keys();
        // This subscription still counts.
        if keys.get(&self.key).is_some_and(|calls| calls.is_idle(1)) {
            keys.remove(&self.key);
        }
    }
}
