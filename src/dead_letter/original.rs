//! The record that a letter was made of, to be put through the stages again.

use super::headers::{
    ID, LetterSummary, POINTER, Pointer, VALUE_BYTES, VALUE_SHA256, is_ours, read,
};
use crate::model::{Header, Record};

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

/// Whether a record of the ingest topic was a dead letter before: it carries what that says of itself.
#[must_use]
pub fn is_sent_again(record: &Record) -> bool {
    record.headers.iter().any(|header| header.name == ID)
}

impl LetterSummary {
    /// Whether this record, read at the letter's origin, is the one whose value stayed there.
    #[must_use]
    pub fn points_to(&self, record: &Record) -> bool {
        self.pointer.as_ref() == Some(&Pointer::to(record.value.as_deref()))
    }
}

/// What a letter says of itself, to go with its record where that is tried again elsewhere: a further
/// refusal is then one of the same letter. That its value is missing is not part of it.
#[must_use]
pub fn own_headers(letter: &Record) -> Vec<Header> {
    let absent = [POINTER, VALUE_SHA256, VALUE_BYTES];
    let own = |header: &&Header| is_ours(&header.name) && !absent.contains(&&*header.name);
    letter.headers.iter().filter(own).cloned().collect()
}
