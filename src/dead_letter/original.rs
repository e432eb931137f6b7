//! The record that a letter was made of, to be put through the stages again.

use super::headers::{LetterSummary, is_ours, read};
use crate::model::Record;

/// A letter, opened.
#[derive(Debug, Clone)]
pub struct OpenedLetter {
    /// What its headers say.
    pub summary: LetterSummary,
    /// The record as it was read first, at its origin position. `None` for a pointer: its value
    /// stayed at the origin, and replaying it without would look like a delete.
    pub record: Option<Record>,
}

/// Opens a letter. `None` if the record is none.
#[must_use]
pub fn original(letter: &Record) -> Option<OpenedLetter> {
    let summary = read(letter)?;
    let headers = letter.headers.iter().filter(|header| !is_ours(&header.name)).cloned();
    let record = summary.pointer.is_none().then(|| Record {
        source: summary.origin.clone(),
        offset: summary.offset,
        timestamp: summary.timestamp,
        key: letter.key.clone(),
        value: letter.value.clone(),
        headers: headers.collect(),
    });
    Some(OpenedLetter { summary, record })
}
