//! What is sent together, and the place behind it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::application::Batch;
use crate::broker::OutgoingRecord;
use crate::error::{Cause, messages};
use crate::source::DecodeError;

/// What is sent together.
#[derive(Debug, Default)]
pub struct Portion {
    /// Its records.
    pub batch: Batch,
    /// Where each of them came from.
    pub(super) places: Vec<At>,
    /// What is not sent.
    pub refused: Vec<RefusedItem>,
    /// Where to go on behind it.
    pub position: Position,
    /// Errors that a server told about its own export.
    pub server_errors: u64,
    /// How much of the input is behind it: bytes of files, else entries.
    pub done: u64,
    /// How much there is, if that is known.
    pub of: Option<u64>,
}

impl Portion {
    /// Adds a record, or why there is none.
    pub(super) fn add(&mut self, at: At, record: Result<OutgoingRecord, DecodeError>) {
        match record {
            Ok(record) => {
                self.batch.push(record);
                self.places.push(at);
            }
            Err(error) => self.refused.push(RefusedItem::new(at, &error)),
        }
    }

    /// Whether it should be sent. `most`: most records.
    pub(super) const fn is_full(&self, most: usize) -> bool {
        self.batch.is_full() || self.batch.len() >= most || self.refused.len() >= Batch::RECORDS
    }
}

/// A place in the input: what an operator can look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// A file, or what else it is part of.
    pub name: Arc<str>,
    /// Its line, from 1, if it has lines.
    pub line: Option<u64>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Something that is not sent: its place and what is wrong with it, never what it is.
#[derive(Debug, Clone)]
pub struct RefusedItem {
    /// Where it is.
    pub at: At,
    /// What is wrong with it.
    pub cause: Cause,
    /// The same in words.
    pub message: String,
}

impl RefusedItem {
    pub(super) fn new(at: At, error: &DecodeError) -> Self {
        Self { at, cause: error.cause(), message: messages(error).join(": ") }
    }

    pub(super) fn too_large_for_topic(at: At) -> Self {
        let message = "the resource is larger than the topic accepts".to_owned();
        Self { at, cause: Cause::TooLarge, message }
    }
}

/// Where to go on.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// At the beginning.
    #[default]
    Begin,
    /// In the files.
    Files(Cursor),
    /// At a page of one of the searches or histories.
    Page {
        /// Which of them, from 0.
        part: usize,
        /// The page's address; `None`: its first.
        next: Option<Url>,
    },
    /// In the files of an export.
    Export {
        /// The job.
        job: Url,
        /// The export's own time, once it is complete: another one has other files.
        transaction_time: Option<String>,
        /// Where in its files.
        cursor: Cursor,
    },
}

/// The addresses of pages and jobs may hold what was searched for, or be signed.
impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin => f.write_str("Begin"),
            Self::Files(cursor) => f.debug_tuple("Files").field(cursor).finish(),
            Self::Page { part, .. } => {
                f.debug_struct("Page").field("part", part).finish_non_exhaustive()
            }
            Self::Export { cursor, .. } => {
                f.debug_struct("Export").field("cursor", cursor).finish_non_exhaustive()
            }
        }
    }
}

/// A place in files that are read one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Which file, from 0.
    pub file: usize,
    /// Lines of it that are behind.
    pub line: u64,
    /// Bytes of it that are behind, unpacked.
    pub byte: u64,
}

impl Cursor {
    /// The beginning of the file after this one.
    #[must_use]
    pub const fn next_file(self) -> Self {
        Self { file: self.file + 1, line: 0, byte: 0 }
    }
}
