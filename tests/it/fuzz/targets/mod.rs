//! What is fuzzed: functions of bytes that panic if something is wrong. The tests next to this folder
//! call them with mutations from a fixed seed, and `fuzz/` calls them guided by coverage.
//!
//! The bytes come from clients (`requests`, `callers`, `certificates`, `addresses`), from upstream
//! (`upstream`), and from operators (`configuration`, `clients`); `texts` are the words that all of them
//! use. Where the whole service is needed, each input has one of its own, so that an input which finds
//! something finds it again.

mod addresses;
mod callers;
mod certificates;
mod clients;
mod configuration;
mod input;
mod requests;
mod service;
mod texts;
mod upstream;

/// A name, which is also that of the folder of its corpus, and what is done with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 8] = [
    ("requests", requests::run),
    ("callers", callers::run),
    ("upstream", upstream::run),
    ("configuration", configuration::run),
    ("clients", clients::run),
    ("addresses", addresses::run),
    ("certificates", certificates::run),
    ("texts", texts::run),
];
