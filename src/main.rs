//! The `rowcast` command: see `rowcast --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rowcast::cli::main()
}
