//! Tests of the whole service, in one binary. `tests/README.md` tells which test shows what.

mod architecture;
mod bad_input;
mod commands;
mod hanging_up;
mod harness;
mod headers;
mod logging;
mod metrics;
mod openapi;
mod problems;
mod readme;
mod soak;
mod sockets;
mod writing;
