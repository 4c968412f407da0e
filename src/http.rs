//! The HTTP face of the service: routes, extraction, problem details, and the middleware around them.
//!
//! It turns requests into calls of the use cases and their results into answers, and decides
//! nothing about attributes itself. Every answer passes the middleware, framework rejections and panics
//! included: it gives ids, writes problems, and logs and counts the request.

mod answer;
mod attributes;
mod auth;
mod body;
mod condition;
mod conversations;
mod docs;
mod document;
mod echo;
mod etag;
mod exchange;
mod extract;
mod flat;
mod form;
mod host;
mod middleware;
mod mistakes;
mod negotiate;
pub mod openapi;
mod ops;
mod pages;
mod params;
pub mod paths;
mod peer;
mod percent;
mod prefer;
mod problem;
mod query;
mod router;
mod single_key;
mod state;
mod tags;
mod text;
mod timing;
mod trace;
mod view;
mod wire;

pub use document::Documents;
pub use etag::EtagKey;
pub use peer::{CertificateSubject, Crowd, Peer, Source, forwarded};
pub use router::router;
pub use state::{AppState, Check, HttpSettings, Ops, Readiness, ReadinessReport};
