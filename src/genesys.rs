//! The typed client of the Genesys Cloud platform API; implements
//! [`crate::ports::ConversationsPort`].
//!
//! This module hides the details of the platform: paths, JSON shapes, error bodies, tokens,
//! throttling. Facts about the platform are cited where they are used. What the vendor does not
//! publish is configuration.

mod client;
mod error;
mod layers;
mod limiter;
mod random;
mod retry_after;
mod stack;
mod token;
mod transport;
mod wire;

pub(crate) use client::{GenesysClient, RoutePaths, is_platform_error};
pub(crate) use layers::rate_limit::CallLimiters;
pub(crate) use layers::retry::RetryPolicy;
pub(crate) use layers::send::user_agent;
pub(crate) use layers::throttle::UpstreamThrottle;
pub use limiter::CallLimiter;
pub use random::JitterSource;
pub(crate) use stack::{StackParts, api_stack, token_stack};
pub(crate) use token::{ClientCredentials, SecretSource, TokenCache, TokenSettings, TokenStatus};
pub use transport::{HttpClientSettings, HttpTransport, in_process};
