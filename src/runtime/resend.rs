//! A dead letter's record for the ingest topic again.
//!
//! In: a letter and the record it is of. Out: a record with the same key and value that says where,
//! and when, it was read first, so that an old delete stays old, and that carries what the letter
//! says of itself, so that a further refusal is one of the same letter. It states no version: what a
//! version is made of travels along, and the rules of that may have been mended.

use crate::broker::OutgoingRecord;
use crate::dead_letter::own_headers;
use crate::model::{Header, Record};
use crate::source::{
    HEADER_ORIGIN_OFFSET, HEADER_ORIGIN_PARTITION, HEADER_ORIGIN_TIMESTAMP, HEADER_ORIGIN_TOPIC,
};

/// The record to be appended. `letter`: as it is in the dead-letter topic; `record`: at its origin
/// position; `partitions`: those the origin topic has now.
///
/// It gets the time at which it is appended, not that of its origin: the topic's retention would
/// delete it before it is read.
#[must_use]
pub fn resend(letter: &Record, record: &Record, partitions: i32) -> OutgoingRecord {
    let mut headers = record.headers.clone();
    // one that came from elsewhere says so itself
    if !headers.iter().any(|header| header.name == HEADER_ORIGIN_TOPIC) {
        headers.push(Header::text(HEADER_ORIGIN_TOPIC, &*record.source.topic));
        headers.push(Header::text(HEADER_ORIGIN_PARTITION, record.source.partition.to_string()));
        headers.push(Header::text(HEADER_ORIGIN_OFFSET, record.offset.to_string()));
    }
    if !headers.iter().any(|header| header.name == HEADER_ORIGIN_TIMESTAMP) {
        let timestamp = record.timestamp.map(|timestamp| timestamp.to_string());
        headers.extend(timestamp.map(|text| Header::text(HEADER_ORIGIN_TIMESTAMP, text)));
    }
    headers.extend(own_headers(letter));
    let partition = record.source.partition;
    OutgoingRecord {
        topic: record.source.topic.clone(),
        // where its neighbours are, also if it was not put there by its key
        partition: (partition < partitions).then_some(partition),
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}
