//! One simple endpoint in front of Genesys Cloud for the participant attributes of live calls.

pub mod app;
pub mod domain;
pub mod error;
pub mod http;
pub mod ports;
pub mod telemetry;
