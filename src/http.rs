//! The HTTP layer: routes, extraction, problem details, and the middleware around them.
//!
//! This layer turns requests into calls of the use cases, and results into responses. It makes no
//! decision about attributes. Every response passes the middleware, also framework rejections and
//! panics. The middleware assigns request ids, writes problems, and logs and counts the request.

mod attributes;
mod auth;
mod body_parser;
mod conversations;
mod echo;
mod etag;
mod extract;
mod flat;
mod health;
mod hidden;
mod idempotency;
mod if_match;
mod live;
mod middleware;
mod negotiate;
pub mod openapi;
mod openapi_files;
mod operations;
mod pages;
mod params;
pub mod paths;
mod peer;
mod prefer;
mod problem;
mod query;
mod request_context;
mod respond;
mod responses;
mod router;
mod state;
mod text_table;
mod trace;
mod violations;

pub use etag::EtagKey;
pub use live::{
    LiveBudget, LiveClient, LiveFeed, LiveLag, LiveOperation, LiveStatus, LiveToken, LiveUpstream,
    LiveWrites,
};
pub use openapi_files::OpenApiFiles;
pub use operations::RouterRunner;
pub use peer::{AddressLimiter, AddressSlot, CertificateSubject, PeerInfo, forwarded};
pub use router::router;
pub use state::{
    AppState, HealthCheck, HttpSettings, OpsState, ReadinessProvider, ReadinessReport,
};
