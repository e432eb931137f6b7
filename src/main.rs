//! The `rowcast` command: see `rowcast --help`.

use std::process::ExitCode;

/// Rows are many short texts, made and dropped: a fifth of the transform's time is the difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rowcast::cli::main()
}
