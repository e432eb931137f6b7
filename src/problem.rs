//! One mistake in something the operator wrote: which file, where in it, what is wrong.

use std::fmt;

/// A mistake in a configuration file. The message names paths, keys and kinds, never values:
/// after interpolation a value may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator knows it.
    pub file: String,
    /// JSON pointer into the file, `/sink/url`; empty: the file as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of `file` at `path`.
    #[must_use]
    pub fn new(
        file: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}: {}", self.file, self.path, self.message)
    }
}
