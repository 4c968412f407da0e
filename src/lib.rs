//! One simple endpoint in front of Genesys Cloud for the participant attributes of live calls.
//!
//! A request comes in through [`http`], becomes a use case of [`app`], and reaches Genesys Cloud
//! through a port that [`genesys`] implements. What attributes mean is in [`domain`], how hard the
//! gateway leans on the upstream in [`policy`]; both are pure. [`service`] puts the parts together,
//! [`cli`] runs them.
//!
//! ```text
//! main -> cli -> service -> { http, app, genesys, audit }
//!                            http    -> app -> { ports, policy, domain }
//!                            genesys -> { ports, policy, domain }
//!                            audit   -> { ports, domain }
//! ```
//!
//! `domain` and `policy` import nothing of ours, and `http` never sees `genesys`. The simulated
//! platform of `demo`, `simulate` and the tests is the crate `genesys-simulator`, which shares no
//! type with this one. [`config`] and [`shutdown`] know nothing of ours; [`error`] speaks of
//! the domain, [`clock`] of policy's moments, and [`telemetry`] and [`audit`] implement ports. A test holds
//! these arrows.

pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod genesys;
pub mod http;
pub mod policy;
pub mod ports;
pub mod service;
pub mod shutdown;
pub mod telemetry;
