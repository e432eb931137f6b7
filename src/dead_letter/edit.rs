//! A corrected copy of a letter.
//!
//! In: a letter as it was read, and the value that is to take its value's place. Out: the copy to
//! be appended, with the same identity, key, origin and cause, and headers that tell of the edit.
//! It never judges the value.

use bytes::Bytes;

use super::headers::{
    EDIT_REASON, EDITED_AT, EDITED_SHA256, Edit, POINTER, REPLAYS, VALUE_BYTES, VALUE_SHA256,
    edit_headers, hash_of, read,
};
use super::original::original;
use crate::broker::OutgoingRecord;
use crate::model::{Header, Record};

/// A letter with another value.
#[derive(Debug, Clone)]
pub struct EditedLetter {
    /// The copy to be appended: in the partition of the copy it follows.
    pub outgoing: OutgoingRecord,
    /// The record that a replay of it puts through the stages.
    pub record: Record,
}

/// The copy of a letter that has this value. No replay of it was refused yet; a pointer is none any
/// more. `None` if the record is no letter.
#[must_use]
pub fn edit(
    letter: &Record,
    value: Bytes,
    at: i64,
    reason: Option<String>,
) -> Option<EditedLetter> {
    let summary = read(letter)?;
    let sha256 = match (&summary.pointer, &letter.value) {
        (Some(pointer), _) => pointer.sha256.clone(),
        (None, Some(before)) => hash_of(before),
        (None, None) => String::new(),
    };
    let replaced =
        [EDITED_AT, EDITED_SHA256, EDIT_REASON, POINTER, VALUE_SHA256, VALUE_BYTES, REPLAYS];
    let kept = letter.headers.iter().filter(|header| !replaced.contains(&header.name.as_str()));
    let mut headers: Vec<Header> = kept.cloned().collect();
    headers.push(Header::text(REPLAYS, "0"));
    headers.extend(edit_headers(&Edit { at, sha256, reason }));
    let copy = Record { value: Some(value), headers, ..letter.clone() };
    let record = original(&copy)?.record?;
    let outgoing = OutgoingRecord {
        topic: copy.source.topic,
        partition: Some(copy.source.partition),
        key: copy.key,
        value: copy.value,
        headers: copy.headers,
    };
    Some(EditedLetter { outgoing, record })
}
