//! What commands write on stdout, which is data, and on stderr, which is for people.
//!
//! In: text. Out: the same, or the end of the command, and never a panic as of `println!`. Who reads
//! stdout may have enough (`rowcast schema | head -1`): then the command ends without a word. The
//! signal that ends other programs then stays ignored, since it would also end this one when a broker
//! or a database closes a connection. Messages that nobody reads any more are lost, and nothing else.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stderr, stdout};

use super::Failure;

/// Prints a line of data.
///
/// # Errors
/// Nobody reads stdout any more, or it takes no more: a full disk.
pub(super) fn line(line: impl Display) -> Result<(), Failure> {
    text(format_args!("{line}\n"))
}

/// Prints data that ends its own lines.
///
/// # Errors
/// As [`line`].
pub(super) fn text(text: impl Display) -> Result<(), Failure> {
    let mut out = stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| failed(&error))
}

/// What it means that stdout takes no more.
pub(super) fn failed(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::unread(),
        _ => Failure::failed(format!("stdout: {error}")),
    }
}

/// Says a line to people.
pub(super) fn message(message: impl Display) {
    // one write, so that lines of several threads stay whole
    let _ = stderr().write_all(format!("{message}\n").as_bytes());
}

/// Asks people: the answer stands in the same line.
pub(super) fn question(question: impl Display) {
    let _ = stderr().write_all(question.to_string().as_bytes());
}
