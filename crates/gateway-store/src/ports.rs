//! What the gateway keeps beyond one request and beyond one process, as small traits.
//!
//! A store is either a file of this process or a server that replicas share. Callers cannot tell which,
//! apart from the traits that only replicas need: [`SharedToken`], [`BudgetLeases`] and [`WriteLeases`].
//! Contents are opaque bytes that the store encrypts. It never looks into them.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

/// The future of a call to the store.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Id of a conversation. The store only compares it.
pub type ConversationId = Uuid;

/// Why the store did not do what it was asked. No message contains contents or secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or could not write. Whether the change was made is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The bound on unfinished operations is reached. Nothing was changed.
    #[error("the store holds as many unfinished operations as `store.max_operations` allows")]
    Full,
    /// The store cannot be used with these settings. Waiting does not help.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(String),
}

/// Contents that are encrypted in the store. `Debug` shows only the length.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateBytes(pub Vec<u8>);

impl fmt::Debug for PrivateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateBytes({} bytes)", self.0.len())
    }
}

/// A digest of contents. It is encrypted or hashed again before it is stored.
pub type ContentDigest = [u8; 32];

/// A write that was accepted and is still to be made.
#[derive(Clone, Debug)]
pub struct NewOperation {
    /// Its id; a second append with the same id changes nothing.
    pub id: Uuid,
    /// The name of the client that may see it.
    pub client: String,
    /// The conversation. Its operations are carried out in order of acceptance.
    pub conversation: ConversationId,
    /// Participant, keys, values and options, in a form of the caller's.
    pub request: PrivateBytes,
    /// When it was accepted.
    pub accepted_at: OffsetDateTime,
    /// After this time it must not be sent.
    pub not_after: OffsetDateTime,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// Nothing was sent.
    Queued,
    /// A PATCH was or is about to be sent.
    Sent,
    /// Carried out.
    Done,
    /// Refused or given up.
    Failed,
    /// Not sent before its time was over.
    Expired,
    /// Cancelled by its client.
    Cancelled,
}

/// What an operation led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationResult {
    /// Status of the answer.
    pub status: u16,
    /// Body of the answer.
    pub body: PrivateBytes,
}

/// An operation as it is stored.
#[derive(Clone, Debug)]
pub struct StoredOperation {
    /// What was accepted.
    pub operation: NewOperation,
    /// Its place in the order of all operations.
    pub sequence: u64,
    /// How far it is.
    pub state: OperationState,
    /// Digest of the PATCH that was sent last. With it and without a result, read before sending.
    pub patch_digest: Option<ContentDigest>,
    /// The result, once it has ended.
    pub result: Option<OperationResult>,
}

/// The unfinished operations of one conversation, oldest first.
#[derive(Debug)]
pub struct ClaimedLane {
    /// The conversation.
    pub conversation: ConversationId,
    /// The operations. One that cannot be read stands as its id, to be finished as failed.
    pub operations: Vec<Result<StoredOperation, Uuid>>,
}

/// What came of a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It will not be sent.
    Cancelled,
    /// It was sent or has ended.
    TooLate,
    /// The client has no such operation.
    NotFound,
}

/// Numbers for metrics and `/readyz?verbose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalSummary {
    /// Number of unfinished operations.
    pub unfinished: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<OffsetDateTime>,
    /// How long the last durable write took.
    pub last_sync: Duration,
}

/// Accepted writes, durable before the client hears of them.
pub trait OperationJournal: Send + Sync {
    /// Stores an operation durably and returns its sequence number. After `Unavailable` it may be stored:
    /// append it again, or cancel it.
    fn append(&self, operation: NewOperation) -> StoreFuture<'_, u64>;

    /// Claims conversations that have unfinished operations and no other claim, at most `lanes`. A claim
    /// lapses by itself, so that another process carries on after a crash.
    fn claim(&self, lanes: usize) -> StoreFuture<'_, Vec<ClaimedLane>>;

    /// Extends a claim. `false`: it is lost, so nothing more may be sent.
    fn renew(&self, conversation: ConversationId) -> StoreFuture<'_, bool>;

    /// Gives a claim back. The rest of the conversation can be claimed again after `delay`.
    fn release(&self, conversation: ConversationId, delay: Duration) -> StoreFuture<'_, ()>;

    /// Records durably that a PATCH is about to be sent. `false`: the operation has ended, so do not send.
    fn mark_sent(&self, id: Uuid, patch: ContentDigest) -> StoreFuture<'_, bool>;

    /// Records the end of an operation. `false`: it has ended before.
    fn finish(
        &self,
        id: Uuid,
        state: OperationState,
        result: Option<OperationResult>,
    ) -> StoreFuture<'_, bool>;

    /// An operation of this client; a finished one is kept for an hour.
    fn find<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, Option<StoredOperation>>;

    /// Cancels an operation of this client if it was not sent.
    fn cancel<'a>(&'a self, id: Uuid, client: &'a str) -> StoreFuture<'a, CancelOutcome>;

    /// Numbers for metrics.
    fn summary(&self) -> StoreFuture<'_, JournalSummary>;
}

/// What an idempotency key stands for.
#[derive(Clone, Debug)]
pub struct IdempotencyScope {
    /// The client.
    pub client: String,
    /// Method, path, query and key.
    pub request: String,
}

/// The right to store the answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerClaim {
    /// The stored record.
    pub record: String,
    /// Distinguishes this claim from a later one.
    pub owner: Uuid,
}

/// What is known of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// No answer is stored. Carry the request out, then call `complete` or `abandon`.
    New {
        /// The right to store the answer.
        claim: AnswerClaim,
        /// An earlier try ended without an answer, so its effect is unknown: read first.
        interrupted: bool,
    },
    /// The first request is still being carried out.
    InProgress,
    /// The stored answer.
    Finished(PrivateBytes),
    /// The key was used with another body.
    Mismatch,
}

/// Answers to requests with an `Idempotency-Key`, kept for a day and bounded for each client.
pub trait IdempotencyStore: Send + Sync {
    /// Looks the key up, and claims it if it is new.
    fn begin(
        &self,
        scope: IdempotencyScope,
        fingerprint: ContentDigest,
    ) -> StoreFuture<'_, IdempotencyState>;

    /// Stores the answer, unless the claim is lost.
    fn complete(&self, claim: AnswerClaim, answer: PrivateBytes) -> StoreFuture<'_, ()>;

    /// Forgets the key, because the answer must not be repeated.
    fn abandon(&self, claim: AnswerClaim) -> StoreFuture<'_, ()>;
}

/// The token that replicas share.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The token.
    pub token: SecretString,
    /// How long it is still valid.
    pub expires_in: Duration,
    /// Counts the tokens, so that only the one that failed is dropped.
    pub generation: u64,
}

/// What the store knows of the token.
#[derive(Clone, Debug, Default)]
pub struct TokenState {
    /// The token, if there is a valid one.
    pub token: Option<StoredToken>,
    /// How long the token endpoint asked us to stay away.
    pub hold_off: Duration,
}

/// One token for all replicas, which one of them renews.
pub trait SharedToken: Send + Sync {
    /// The current token.
    fn load(&self) -> StoreFuture<'_, TokenState>;

    /// Takes the right to fetch a token, for longer than a fetch can take. Look again after it was given.
    fn lock(&self, hold: Duration) -> StoreFuture<'_, Option<Uuid>>;

    /// Stores a new token, ends the lock, and returns its generation. `None`: the lock has lapsed.
    fn store<'a>(
        &'a self,
        lock: Uuid,
        token: &'a SecretString,
        valid: Duration,
    ) -> StoreFuture<'a, Option<u64>>;

    /// Ends the lock after a failed fetch. All replicas stay away for `hold_off`.
    fn unlock(&self, lock: Uuid, hold_off: Duration) -> StoreFuture<'_, ()>;

    /// Drops the token if it still is of this generation.
    fn drop_token(&self, generation: u64) -> StoreFuture<'_, bool>;
}

/// What a replica reports with each heartbeat.
#[derive(Clone, Debug, Default)]
pub struct BudgetReport {
    /// The credits it holds from now on. Returned ones are subtracted already.
    pub held: u32,
    /// Calls within the window: how long ago they were made, and how many. A call under way has age zero.
    pub used: Vec<(Duration, u32)>,
    /// Calls that wait for credits.
    pub waiting: u32,
    /// The rest of a throttle window that a 429 has opened.
    pub pause: Duration,
    /// Calls in this window that others made with our token, as upstream's headers show.
    pub foreign: u32,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetGrant {
    /// The credits that the replica holds now.
    pub held: u32,
    /// It may spend only so many of them, because others wait for their fair share. The excess is to be
    /// returned as it cools.
    pub spend: u32,
    /// Number of replicas that were seen.
    pub replicas: u32,
    /// All calls are to stop for this time.
    pub pause: Duration,
    /// How long the credits are valid, counted from before the heartbeat was sent.
    pub lease: Duration,
    /// The lease had ended: earlier calls use none of these credits.
    pub restarted: bool,
    /// The store has lost its data: credits are being registered again, and values that were sent earlier
    /// count as unproved.
    pub registering: bool,
}

/// The budget of all replicas, leased in credits. A credit is one call in any window.
pub trait BudgetLeases: Send + Sync {
    /// One heartbeat: reports, asks for what waits, and extends the lease.
    fn exchange(&self, report: BudgetReport) -> StoreFuture<'_, BudgetGrant>;

    /// Gives all credits back at the end of the process.
    fn leave(&self, report: BudgetReport) -> StoreFuture<'_, ()>;
}

/// What the next owner of a write lease must know of the last PATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPatch {
    /// Identifies the PATCH. A remembered map of another PATCH is out of date.
    pub id: Uuid,
    /// The writer's note of what it sent, in a form of the caller's.
    pub note: PrivateBytes,
}

/// The right to write to a participant.
#[derive(Clone, Debug)]
pub struct WriteLease {
    /// The participant that it covers.
    pub participant: String,
    /// Identifies the owner.
    pub owner: Uuid,
    /// Nothing may be sent after this moment. A margin is subtracted already.
    pub send_before: tokio::time::Instant,
    /// The last PATCH of any replica within `verify.outstanding`.
    pub last_patch: Option<LastPatch>,
}

/// One writer for each participant, over all replicas.
pub trait WriteLeases: Send + Sync {
    /// Takes the lease. `None`: another replica holds it; try again soon.
    fn acquire<'a>(&'a self, participant: &'a str) -> StoreFuture<'a, Option<WriteLease>>;

    /// The last PATCH of any replica.
    fn last_patch<'a>(&'a self, participant: &'a str) -> StoreFuture<'a, Option<LastPatch>>;

    /// Records a PATCH before it is sent, and extends the lease. `false`: the lease is lost.
    fn record<'a>(
        &'a self,
        lease: &'a mut WriteLease,
        patch: LastPatch,
        keep: Duration,
    ) -> StoreFuture<'a, bool>;

    /// Ends the lease if it is still held, and first replaces the note of the last PATCH.
    fn release(
        &self,
        lease: WriteLease,
        patch: Option<(LastPatch, Duration)>,
    ) -> StoreFuture<'_, ()>;
}
