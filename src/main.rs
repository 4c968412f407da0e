//! The program `attribute-gateway`, a thin layer over the library.

use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use attribute_gateway::cli;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// Concurrent requests interleave their allocations, which glibc serves on its slow path. That would
/// take a tenth of the CPU time of a read.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the exit waits for blocking tasks, such as a read from a disk that hangs.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> std::io::Result<ExitCode> {
    let runtime = runtime()?;
    let code = runtime.block_on(cli::run());
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    Ok(code)
}

/// A single thread if affinity or a container limit allows only one CPU. There, the multi-threaded
/// scheduler would cost a tenth of a request.
fn runtime() -> std::io::Result<Runtime> {
    let is_single = available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let mut builder =
        if is_single { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}
