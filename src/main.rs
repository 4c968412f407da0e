//! The program `attribute-gateway`. Everything it can do is in the library.

use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use attribute_gateway::cli;
use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

/// Requests under way interleave their allocations, which the allocator of the C library serves on its slow
/// path: a tenth of the processor time of a read.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What still blocks when all is done, such as a look at a file on a disk that hangs, is not waited for
/// longer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> std::io::Result<ExitCode> {
    let runtime = runtime()?;
    let code = runtime.block_on(cli::run());
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    Ok(code)
}

/// One thread where only one processor may be used, by affinity or by the limit of a container: being
/// ready to share work among threads costs a tenth of a request.
fn runtime() -> std::io::Result<Runtime> {
    let alone = available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let mut builder =
        if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}
