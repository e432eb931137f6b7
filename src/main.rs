//! The `rowcast` command: see `rowcast --help`.

use std::process::ExitCode;

/// Each batch takes and gives back tens of megabytes. This keeps freed pages for some seconds, so that
/// the next batch finds them again and the system need not clear them anew.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    rowcast::cli::main()
}
