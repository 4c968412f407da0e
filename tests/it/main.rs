//! Tests of the whole service, in one binary. `tests/README.md` tells which test shows what.

mod harness;
mod reading;
mod soak;
mod tokens;
mod upstream_faults;
mod verification;
mod writing;
