//! The store: one contract for all backends, and what is special about each.

mod budget;
mod contract;
mod embedded;
mod replicas;
mod scripted_server;
pub mod server;
mod server_faults;
mod topologies;
mod wait_aof;

use std::time::Duration;

use gateway_store::ports::ConversationId;
use gateway_store::ports::{IdempotencyScope, NewOperation, PrivateBytes};
use gateway_store::{SealingKey, StoreLimits};
use time::OffsetDateTime;
use uuid::Uuid;

/// The lease of claims and unfinished answers in these tests, and the age of finished records.
const SHORT: Duration = Duration::from_millis(400);

/// The client secret of the tests.
const SECRET: &str = "a client secret";

fn key() -> SealingKey {
    SealingKey::derive(SECRET)
}

fn limits() -> StoreLimits {
    StoreLimits::default()
}

/// Limits that a test can wait for.
fn short_limits() -> StoreLimits {
    StoreLimits {
        operations: 3,
        operation_age: SHORT,
        answers_per_client: 3,
        answer_age: SHORT,
        longest_lease: SHORT,
    }
}

/// The conversation with this number.
fn conversation(number: u8) -> ConversationId {
    ConversationId::from_bytes([number; 16])
}

/// An operation on this conversation, with its number as contents.
fn operation(on: u8, number: u8) -> NewOperation {
    let accepted_at = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
    NewOperation {
        id: Uuid::from_bytes([number; 16]),
        client: "crm".to_owned(),
        conversation: conversation(on),
        request: PrivateBytes(format!("private-{number}").into_bytes()),
        accepted_at,
        not_after: accepted_at + Duration::from_mins(10),
    }
}

fn scope(client: &str, request: &str) -> IdempotencyScope {
    IdempotencyScope { client: client.to_owned(), request: request.to_owned() }
}
