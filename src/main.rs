//! The `rowcast` command: see `rowcast --help`.

use std::process::ExitCode;

/// Rows are many short texts, made and dropped; with this a record takes a tenth less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rowcast::cli::main()
}
