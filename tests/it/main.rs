//! Tests of the whole service, in one binary. `tests/README.md` tells which test shows what.

mod breaker;
mod deadlines;
mod harness;
mod reading;
mod retries;
mod routes;
mod soak;
mod survival;
mod tokens;
mod upstream_faults;
mod verification;
mod writing;
