//! The headers that win over what key and value say.
//!
//! In: a record. Out: the version, operation and origin that its headers state. It never falls
//! back: a header that is there and cannot be read refuses the record.

use crate::model::{Offset, Origin, Record, TopicPartition, Version};

use super::{DecodeError, Seen, VersionFault};

/// The change's version, decimal text.
pub const HEADER_VERSION: &str = "rowcast.version";
/// `upsert` or `delete`.
pub const HEADER_OPERATION: &str = "rowcast.operation";
/// Topic of the change's first record.
pub const HEADER_ORIGIN_TOPIC: &str = "rowcast.origin.topic";
/// Its partition, decimal text.
pub const HEADER_ORIGIN_PARTITION: &str = "rowcast.origin.partition";
/// Its offset, decimal text.
pub const HEADER_ORIGIN_OFFSET: &str = "rowcast.origin.offset";
/// Index of the change in it, decimal text; 0 if absent.
pub const HEADER_ORIGIN_INDEX: &str = "rowcast.origin.index";

/// Timestamp of the change's first record, milliseconds since the epoch, decimal text.
pub const HEADER_ORIGIN_TIMESTAMP: &str = "rowcast.origin.timestamp";

/// What headers state about a change.
pub(super) struct Overrides {
    pub(super) version: Option<Version>,
    pub(super) operation: Option<RequestedOperation>,
    pub(super) origin: Option<Origin>,
    pub(super) timestamp: Option<i64>,
}

/// The operation that a header states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestedOperation {
    Upsert,
    Delete,
}

impl Overrides {
    pub(super) fn read(record: &Record) -> Result<Self, DecodeError> {
        if !record.headers.iter().any(|header| header.name.starts_with("rowcast.")) {
            return Ok(Self { version: None, operation: None, origin: None, timestamp: None });
        }
        let version = present(record, HEADER_VERSION).map(|text| version(text.unwrap_or_default()));
        let operation = present(record, HEADER_OPERATION).map(|text| match text {
            Some("upsert") => Ok(RequestedOperation::Upsert),
            Some("delete") => Ok(RequestedOperation::Delete),
            _ => Err(DecodeError::UnknownFormat { seen: Seen::OperationHeader }),
        });
        Ok(Self {
            version: version.transpose().map_err(|fault| DecodeError::InvalidVersionHeader {
                name: HEADER_VERSION,
                fault,
            })?,
            operation: operation.transpose()?,
            origin: origin(record)?,
            timestamp: timestamp(record)?,
        })
    }
}

/// A version as decimal text: digits only.
pub(super) fn version(text: &str) -> Result<Version, VersionFault> {
    let number: i64 = text.parse().map_err(|_| VersionFault::NoInteger)?;
    Version::new(number).ok_or(VersionFault::Negative)
}

/// `None`: no such header. `Some(None)`: it is null or not text.
#[expect(clippy::option_option, reason = "absent and unreadable are different answers")]
fn present<'r>(record: &'r Record, name: &str) -> Option<Option<&'r str>> {
    record.headers.iter().any(|header| header.name == name).then(|| record.header(name))
}

fn timestamp(record: &Record) -> Result<Option<i64>, DecodeError> {
    let stated = present(record, HEADER_ORIGIN_TIMESTAMP);
    let read = stated.map(|text| text.and_then(|text| text.parse().ok()));
    read.map(|number| number.ok_or(DecodeError::UnknownFormat { seen: Seen::OriginHeaders }))
        .transpose()
}

fn origin(record: &Record) -> Result<Option<Origin>, DecodeError> {
    let names =
        [HEADER_ORIGIN_TOPIC, HEADER_ORIGIN_PARTITION, HEADER_ORIGIN_OFFSET, HEADER_ORIGIN_INDEX];
    if names.iter().all(|name| present(record, name).is_none()) {
        return Ok(None);
    }
    let read = || -> Option<Origin> {
        let topic = record.header(HEADER_ORIGIN_TOPIC).filter(|topic| !topic.is_empty())?;
        let partition: i32 = record.header(HEADER_ORIGIN_PARTITION)?.parse().ok()?;
        let offset: i64 = record.header(HEADER_ORIGIN_OFFSET)?.parse().ok()?;
        let index = match present(record, HEADER_ORIGIN_INDEX) {
            Some(text) => text?.parse().ok()?,
            None => 0,
        };
        (partition >= 0 && offset >= 0).then(|| Origin {
            source: TopicPartition::new(topic, partition),
            offset: Offset(offset),
            index,
        })
    };
    read().map(Some).ok_or(DecodeError::UnknownFormat { seen: Seen::OriginHeaders })
}
