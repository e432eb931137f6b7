//! The troubleshooting log: the way of each change, stage by stage, and the SQL that is run.
//!
//! In: what the stages return. Out: events of the target [`TARGET`], off unless asked for. At DEBUG
//! they hold positions, types, versions, tables, counts, causes, SQL text; at TRACE kinds and lengths
//! of what is bound. Values, keys and resource ids only at TRACE and with [`Reveal::Values`]. Who
//! calls asks [`is_on`] once per batch or transaction, so that it costs nothing while it is off.

use tracing::Level;

use crate::error::Refusal;
use crate::model::{Offset, Record, ResourceKey, Reveal, TopicPartition, resource_type_label};

/// The log target.
pub const TARGET: &str = "rowcast::troubleshooting";

/// Whether anybody listens.
#[must_use]
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, Level::DEBUG)
}

/// Whether anybody listens to rows and what is bound.
#[must_use]
pub fn shows_rows() -> bool {
    tracing::enabled!(target: TARGET, Level::TRACE)
}

/// A record and the place of a change in it.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    /// Topic and partition.
    pub partition: &'a TopicPartition,
    /// Offset of the record.
    pub offset: Offset,
    /// Place in the record, from 0; only a bundle has several.
    pub index: u32,
}

/// `topic-0@12`, and `#1` for the second change of a bundle.
impl std::fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)?;
        if self.index > 0 { write!(f, "#{}", self.index) } else { Ok(()) }
    }
}

impl<'a> Position<'a> {
    /// Of a record.
    #[must_use]
    pub const fn of(record: &'a Record) -> Self {
        Self { partition: &record.source, offset: record.offset, index: 0 }
    }
}

/// A record became so many changes: none if it was refused, or is an empty bundle.
pub fn decoded(record: &Record, changes: usize, reveal: Reveal) {
    let (position, bytes) = (Position::of(record), record.size());
    tracing::debug!(target: TARGET, %position, bytes, timestamp = record.timestamp, changes, "decoded");
    if let (Reveal::Values, Some(key)) = (reveal, &record.key) {
        let key = String::from_utf8_lossy(key);
        tracing::trace!(target: TARGET, %position, %key, "the record's key");
    }
}

/// What a change became.
#[derive(Debug, Clone, Copy)]
pub struct Transformed<'a> {
    /// Where it comes from.
    pub position: Position<'a>,
    /// Whose it is.
    pub resource: &'a ResourceKey,
    /// Its version, if it has one.
    pub version: Option<i64>,
    /// `upsert` or `delete`.
    pub operation: &'static str,
    /// Tables with their numbers of rows.
    pub rows: &'a str,
}

/// A change became rows.
pub fn transformed(change: Transformed<'_>, reveal: Reveal) {
    let Transformed { position, resource, version, operation, rows } = change;
    let resource_type = resource_type_label(&resource.resource_type);
    tracing::debug!(target: TARGET, %position, resource_type, version, operation, rows, "transformed");
    if reveal == Reveal::Values {
        let id = &*resource.id;
        tracing::trace!(target: TARGET, %position, resource_type, id, "the resource");
    }
}

/// A row as it was made. `cells` says what may be said of its cells.
pub fn row(position: Position<'_>, table: &str, cells: &str) {
    tracing::trace!(target: TARGET, %position, table, cells, "row");
}

/// A stage refused a record or one of its changes.
pub fn refused(position: Position<'_>, refusal: &Refusal) {
    let Refusal { stage, cause, messages, place, .. } = refusal;
    tracing::debug!(
        target: TARGET, %position, %stage, %cause,
        resource_type = place.resource_type.as_deref().map(resource_type_label),
        version = place.version, table = place.table.as_deref(), column = place.column.as_deref(),
        rule = place.rule.as_deref(), path = place.path.as_deref(),
        sqlstate = place.sqlstate.as_deref(), reason = messages.join(": "), "refused"
    );
}

/// How the database took a change: `written`, `folded`, `stale` or `filtered`.
pub fn applied(position: Position<'_>, outcome: &'static str) {
    tracing::debug!(target: TARGET, %position, outcome, "applied");
}

/// The dead-letter topic has a record's letter.
pub fn dead_lettered(record: &Record, refusal: &Refusal) {
    let (position, cause) = (Position::of(record), refusal.cause);
    tracing::debug!(target: TARGET, %position, %cause, "dead letter");
}

/// The retry topic has a record's letter. `due`: milliseconds since the epoch.
pub fn delayed(record: &Record, refusal: &Refusal, due: i64) {
    let (position, cause) = (Position::of(record), refusal.cause);
    tracing::debug!(target: TARGET, %position, %cause, due, "to be tried again");
}

/// Something must be tried again.
pub fn waits(partition: &TopicPartition, error: &dyn std::error::Error) {
    tracing::debug!(target: TARGET, topic = &*partition.topic, partition = partition.partition, error = error.to_string(), "tried in vain; waits");
}

/// Everything before `next` is settled and the broker knows it.
pub fn committed(partition: &TopicPartition, next: Offset) {
    tracing::debug!(target: TARGET, topic = &*partition.topic, partition = partition.partition, next_offset = next.0, "committed");
}
