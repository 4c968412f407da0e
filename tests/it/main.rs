//! Tests of the whole service, in one binary. `tests/README.md` tells which test shows what.

mod architecture;
mod bad_input;
mod breaker;
mod commands;
mod deadlines;
mod foreign_writers;
mod hanging_up;
mod harness;
mod headers;
mod logging;
mod metrics;
mod openapi;
mod problems;
mod reading;
mod readme;
mod retries;
mod routes;
mod soak;
mod sockets;
mod survival;
mod tokens;
mod turns;
mod unusable_answers;
mod upstream_faults;
mod verification;
mod writing;
