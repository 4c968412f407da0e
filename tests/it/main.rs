//! Tests of the whole service, in one binary. `tests/README.md` tells which test shows what.

mod harness;
mod soak;
mod writing;
