//! The data actions in `deploy/data-actions`, each run against the service through an emulation of
//! what the vendor documents of its data action service: contracts, templates, translation maps.
//!
//! The emulation (`template`, `parser`, `macros`, `contract`, `translation`, `action`) was written from
//! the vendor's documents alone, before the files, and knows none of them. It is stricter than the
//! platform where the documents leave room; `emulation` shows what it refuses.

mod action;
mod contract;
mod emulation;
mod files;
mod macros;
mod negatives;
mod pack;
mod parser;
mod template;
mod translation;
