//! The program `attribute-gateway`. Everything it can do is in the library.

use std::process::ExitCode;

use attribute_gateway::cli;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run().await
}
