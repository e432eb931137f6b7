//! The headers of a dead letter, written and read back.
//!
//! Kafka Streams' names of KIP-1034 come first, so that existing tools understand a letter; what
//! they cannot say stands in ours. Nothing here holds a payload value, key or id: texts are our
//! own templates, hashes one-way.

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use crate::error::{Cause, Place, Stage};
use crate::model::{Header, Offset, Record, TopicPartition, resource_type_label};

use super::DeadLetter;

/// KIP-1034: name of the error.
pub const EXCEPTION: &str = "__streams.errors.exception";
/// KIP-1034: the outermost message.
pub const MESSAGE: &str = "__streams.errors.message";
/// KIP-1034: all messages, outermost first, one a line.
pub const STACKTRACE: &str = "__streams.errors.stacktrace";
/// KIP-1034: topic of the origin.
pub const TOPIC: &str = "__streams.errors.topic";
/// KIP-1034: partition of the origin, decimal text.
pub const PARTITION: &str = "__streams.errors.partition";
/// KIP-1034: offset of the origin, decimal text.
pub const OFFSET: &str = "__streams.errors.offset";

/// What all names of ours begin with.
pub const PREFIX: &str = "rowcast.error.";
/// Stage that refused: `decode`, `transform`, `plan` or `sink`.
pub const STAGE: &str = "rowcast.error.stage";
/// Cause of the refusal, one of [causes.md](causes.md).
pub const CAUSE: &str = "rowcast.error.cause";
/// The database's own code.
pub const SQLSTATE: &str = "rowcast.error.sqlstate";
/// Table that was being filled.
pub const TABLE: &str = "rowcast.error.table";
/// Column that was being filled.
pub const COLUMN: &str = "rowcast.error.column";
/// Rule that was being followed: file and JSON path.
pub const RULE: &str = "rowcast.error.rule";
/// Its FHIRPath expression.
pub const PATH: &str = "rowcast.error.path";
/// An R4 resource type, or `other`.
pub const RESOURCE_TYPE: &str = "rowcast.error.resource_type";
/// Version of the change.
pub const VERSION: &str = "rowcast.error.version";
/// How many changes of the record were refused; the other headers tell of the first.
pub const CHANGES_REFUSED: &str = "rowcast.error.changes_refused";
/// How often it was tried, the last time it came by.
pub const ATTEMPTS: &str = "rowcast.error.attempts";
/// How often a replay was refused.
pub const REPLAYS: &str = "rowcast.error.replays";
/// When it was refused first; RFC 3339, UTC, milliseconds.
pub const FIRST_FAILED_AT: &str = "rowcast.error.first_failed_at";
/// When it was refused last; RFC 3339, UTC, milliseconds.
pub const LAST_FAILED_AT: &str = "rowcast.error.last_failed_at";
/// Identity of the letter: a hash of topology and origin.
pub const ID: &str = "rowcast.error.id";
/// Hash of the configuration that refused it.
pub const CONFIG_HASH: &str = "rowcast.error.config_hash";
/// The origin's broker timestamp; RFC 3339, UTC, milliseconds.
pub const TIMESTAMP: &str = "rowcast.error.timestamp";
/// `true` on a letter without its value, which was too large for the topic. If key and headers were
/// too large too, they are not there either.
pub const POINTER: &str = "rowcast.error.pointer";
/// On a pointer: hex SHA-256 of the value that stays at the origin.
pub const VALUE_SHA256: &str = "rowcast.error.value_sha256";
/// On a pointer: length of that value.
pub const VALUE_BYTES: &str = "rowcast.error.value_bytes";

/// On a letter that was edited: when; RFC 3339, UTC, milliseconds.
pub const EDITED_AT: &str = "rowcast.error.edited_at";
/// On a letter that was edited: hex SHA-256 of the value that was replaced; empty for none.
pub const EDITED_SHA256: &str = "rowcast.error.edited_sha256";
/// On a letter that was edited: why, in the operator's own words.
pub const EDIT_REASON: &str = "rowcast.error.edit_reason";

/// Characters of [`ID`]: 128 bits, in hex.
const ID_LENGTH: usize = 32;

/// Identity of a letter: a hash of topology and origin. A record refused twice, or published twice
/// because a crash came before the commit, has one identity.
#[must_use]
pub fn id(topology: &str, origin: &TopicPartition, offset: Offset) -> String {
    let mut hash = Sha256::new();
    // lengths are part of it, so that no two names run into each other
    for part in [topology, &*origin.topic] {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(origin.partition.to_be_bytes());
    hash.update(offset.0.to_be_bytes());
    let mut id = hex(&hash.finalize());
    id.truncate(ID_LENGTH);
    id
}

/// Whether a text is the identity of a letter.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// That, when and why a letter's value was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Hex SHA-256 of the value before; empty where there was none.
    pub sha256: String,
    /// The operator's own words.
    pub reason: Option<String>,
}

/// A value that stayed at its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Hex SHA-256 of the value.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Pointer {
    /// The one to this value; no value is as good as an empty one.
    #[must_use]
    pub(super) fn to(value: Option<&[u8]>) -> Self {
        let value = value.unwrap_or_default();
        Self { sha256: hash_of(value), bytes: length(value) }
    }
}

/// What a letter's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    /// Identity.
    pub id: String,
    /// Where the record was read first.
    pub origin: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// Who refused.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
    /// Name of the error type.
    pub exception: String,
    /// The messages, outermost first.
    pub messages: Vec<String>,
    /// Where in rules and schema. `resource_type` is a FHIR type, `other`, or absent.
    pub place: Place,
    /// Refused changes of this record, at least 1.
    pub changes_refused: u64,
    /// Attempts the last time it came by.
    pub attempts: u32,
    /// Replays that were refused so far.
    pub replays: u32,
    /// Milliseconds since the epoch.
    pub first_failed_at: i64,
    /// Milliseconds since the epoch.
    pub last_failed_at: i64,
    /// Timestamp of the origin, milliseconds since the epoch, if it had one.
    pub timestamp: Option<i64>,
    /// Hash of the configuration that refused it.
    pub config_hash: String,
    /// Set on a letter without its value.
    pub pointer: Option<Pointer>,
    /// Set on a letter whose value is no more the record's.
    pub edited: Option<Edit>,
}

impl LetterSummary {
    /// What letters are sorted by: the last failure, then the origin.
    #[must_use]
    pub const fn order(&self) -> (i64, &TopicPartition, Offset) {
        (self.last_failed_at, &self.origin, self.offset)
    }
}

/// Reads a letter's headers. `None` if the record is no letter, or not one that makes sense.
#[must_use]
pub fn read(record: &Record) -> Option<LetterSummary> {
    let text = |name: &str| record.header(name);
    let owned = |name: &str| text(name).map(std::sync::Arc::from);
    let cause = Cause::parse(text(CAUSE)?)?;
    let stage = text(STAGE)?;
    let stage = Stage::ALL.into_iter().find(|known| known.as_str() == stage)?;
    let pointer = if text(POINTER) == Some("true") {
        Some(Pointer {
            sha256: text(VALUE_SHA256)?.to_owned(),
            bytes: number(record, VALUE_BYTES)?,
        })
    } else {
        None
    };
    let edited = match instant(record, EDITED_AT) {
        Some(at) => Some(Edit {
            at,
            sha256: text(EDITED_SHA256)?.to_owned(),
            reason: text(EDIT_REASON).map(str::to_owned),
        }),
        None => None,
    };
    Some(LetterSummary {
        id: text(ID).filter(|id| is_id(id))?.to_owned(),
        origin: TopicPartition::new(text(TOPIC)?, number(record, PARTITION)?),
        offset: Offset(number(record, OFFSET)?),
        stage,
        cause,
        exception: text(EXCEPTION)?.to_owned(),
        messages: text(STACKTRACE)?.lines().map(str::to_owned).collect(),
        place: Place {
            resource_type: owned(RESOURCE_TYPE),
            version: number(record, VERSION),
            table: owned(TABLE),
            column: owned(COLUMN),
            rule: owned(RULE),
            path: owned(PATH),
            sqlstate: owned(SQLSTATE),
        },
        changes_refused: number(record, CHANGES_REFUSED)?,
        attempts: number(record, ATTEMPTS)?,
        replays: number(record, REPLAYS)?,
        first_failed_at: instant(record, FIRST_FAILED_AT)?,
        last_failed_at: instant(record, LAST_FAILED_AT)?,
        timestamp: instant(record, TIMESTAMP),
        config_hash: text(CONFIG_HASH)?.to_owned(),
        pointer,
        edited,
    })
}

/// Whether a record says of itself that it is a letter of this topology, be the rest of it
/// intelligible or not: another release may know causes that this one does not.
#[must_use]
pub(super) fn claims_to_be_of(topology: &str, record: &Record) -> bool {
    let origin = || {
        let origin = TopicPartition::new(record.header(TOPIC)?, number(record, PARTITION)?);
        Some(id(topology, &origin, Offset(number(record, OFFSET)?)))
    };
    record.header(ID).is_some_and(|id| Some(id) == origin().as_deref())
}

/// All headers of a letter: the record's own in their order, then ours, each once. What an earlier
/// letter of the same record said is replaced, save origin, timestamp and first failure.
pub(super) fn write(
    topology: &str,
    config_hash: &str,
    letter: &DeadLetter,
    pointer: Option<&Pointer>,
) -> Vec<Header> {
    let DeadLetter { record, refusal, changes_refused, attempts, failed_at } = letter;
    let before = read(record);
    let (origin, offset) = match &before {
        Some(before) => (&before.origin, before.offset),
        None => (&record.source, record.offset),
    };
    let first_failed_at = before.as_ref().map_or(*failed_at, |before| before.first_failed_at);
    let timestamp = before.as_ref().map_or(record.timestamp, |before| before.timestamp);
    // what comes from the retry topic was refused again, but nobody replayed it
    let replayed = u32::from(super::retry::due(record).is_none());
    let replays = before.as_ref().map_or(0, |before| before.replays.saturating_add(replayed));
    let first_message = refusal.messages.first().map_or("", String::as_str);
    let place = &refusal.place;

    let mut headers: Vec<Header> =
        record.headers.iter().filter(|header| !is_ours(&header.name)).cloned().collect();
    let mut put = |name: &str, value: String| headers.push(Header::text(name, value));
    put(EXCEPTION, refusal.exception.to_owned());
    put(MESSAGE, one_line(first_message));
    put(
        STACKTRACE,
        refusal.messages.iter().map(|text| one_line(text)).collect::<Vec<_>>().join("\n"),
    );
    put(TOPIC, origin.topic.to_string());
    put(PARTITION, origin.partition.to_string());
    put(OFFSET, offset.to_string());
    put(ID, id(topology, origin, offset));
    put(STAGE, refusal.stage.to_string());
    put(CAUSE, refusal.cause.to_string());
    for (name, value) in [
        (SQLSTATE, &place.sqlstate),
        (TABLE, &place.table),
        (COLUMN, &place.column),
        (RULE, &place.rule),
        (PATH, &place.path),
    ] {
        if let Some(value) = value {
            put(name, value.to_string());
        }
    }
    if let Some(resource_type) = &place.resource_type {
        put(RESOURCE_TYPE, resource_type_label(resource_type).to_owned());
    }
    if let Some(version) = place.version {
        put(VERSION, version.to_string());
    }
    put(CHANGES_REFUSED, (*changes_refused).max(1).to_string());
    put(ATTEMPTS, attempts.to_string());
    put(REPLAYS, replays.to_string());
    put(FIRST_FAILED_AT, rfc3339(first_failed_at));
    put(LAST_FAILED_AT, rfc3339(*failed_at));
    if let Some(timestamp) = timestamp {
        put(TIMESTAMP, rfc3339(timestamp));
    }
    put(CONFIG_HASH, config_hash.to_owned());
    if let Some(pointer) = pointer {
        put(POINTER, "true".to_owned());
        put(VALUE_SHA256, pointer.sha256.clone());
        put(VALUE_BYTES, pointer.bytes.to_string());
    }
    if let Some(edit) = before.and_then(|before| before.edited) {
        headers.extend(edit_headers(&edit));
    }
    headers
}

/// The headers of a letter whose value was replaced.
pub(super) fn edit_headers(edit: &Edit) -> Vec<Header> {
    let mut headers = vec![
        Header::text(EDITED_AT, rfc3339(edit.at)),
        Header::text(EDITED_SHA256, edit.sha256.clone()),
    ];
    headers.extend(edit.reason.iter().map(|reason| Header::text(EDIT_REASON, one_line(reason))));
    headers
}

/// What takes the place of a value that is too large. A pointer that failed again stays one.
pub(super) fn pointer_to(record: &Record) -> Option<Pointer> {
    match &record.value {
        Some(value) => Some(Pointer::to(Some(value))),
        None => read(record).and_then(|before| before.pointer),
    }
}

/// Hex SHA-256 of a value.
pub(super) fn hash_of(value: &[u8]) -> String {
    hex(&Sha256::digest(value))
}

/// Whether a header is one that a letter carries.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
        || name == super::retry::DUE
        || [EXCEPTION, MESSAGE, STACKTRACE, TOPIC, PARTITION, OFFSET].contains(&name)
}

fn length(value: &[u8]) -> u64 {
    // usize has at most 64 bits on every target we build for
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

fn number<T: std::str::FromStr>(record: &Record, name: &str) -> Option<T> {
    record.header(name)?.parse().ok()
}

pub(super) fn instant(record: &Record, name: &str) -> Option<i64> {
    let text = record.header(name)?;
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.timestamp_millis())
}

pub(super) fn rfc3339(milliseconds: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(milliseconds)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // writing to a String does not fail
        let _ = write!(text, "{byte:02x}");
    }
    text
}
