//! One simple endpoint in front of Genesys Cloud for the participant attributes of live calls.

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod genesys;
pub mod http;
pub mod policy;
pub mod ports;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
