//! The `rowcast` command: see `rowcast --help`.

fn main() {}
